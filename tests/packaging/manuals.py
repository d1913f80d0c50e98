"""Each manual against its program, in both directions: verbs, options, exit
codes, paths and error codes. raftcask.conf(5) has tests/conf/test_manual.c.

The manuals are read as they lie in docs/man, in mdoc.
"""
import glob
import os
import re
import shutil
import subprocess
import sys

BUILD = os.environ.get("BUILD", "build")
failures = 0


def result(name, problems):
    global failures
    if problems:
        failures += 1
        print("not ok " + name)
        for p in problems:
            print("  " + p)
    else:
        print("ok " + name)


def manual(name):
    with open("docs/man/" + name) as f:
        return f.read()


def section(text, name):
    found = re.search(r"^\.Sh %s\n(.*?)(?=^\.Sh |\Z)" % name, text, re.M | re.S)
    return found.group(1) if found else ""


def said(*command):
    return subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=True,
                          text=True).stdout


def options_of_help(text):
    """--long, -x and -x= as they stand in a help text."""
    found = re.findall(r"(?:^|[\s\[|({,])(--?[a-z][a-z-]*)", text, re.M)
    return set(found)


def options_of_manual(text):
    """Fl of a macro line: `.It Fl -if-rev Ar REV`, `Fl sz Ns = ...`."""
    return {"-" + o for o in re.findall(r"\bFl (-?[a-z][a-z-]*)", text)}


def differences(what, ours, theirs, here, there):
    return (["%s %s is in %s, not in %s" % (what, x, here, there)
             for x in sorted(ours - theirs)] +
            ["%s %s is in %s, not in %s" % (what, x, there, here)
             for x in sorted(theirs - ours)])


def exit_codes(name, text, page):
    line = re.search(r"^Exit:((?:.|\n)*?)\.\n", text, re.M)
    ours = set(re.findall(r"\b(\d+) ", line.group(1)))
    theirs = set(re.findall(r"^\.It (\d+)$", section(page, "EXIT STATUS"),
                            re.M))
    result(name + ": exit codes",
           differences("exit code", ours, theirs, "--help", "the manual"))


def daemon():
    text, page = said(BUILD + "/raftcaskd", "--help"), manual("raftcaskd.8")
    body = section(page, "SYNOPSIS") + section(page, "DESCRIPTION")
    described = set(re.findall(r"^\.It Fl (-[a-z-]+)", body, re.M))
    ours = options_of_help(text)
    result("raftcaskd(8): options",
           differences("option", ours, options_of_manual(body), "--help",
                       "the manual") +
           differences("option", ours, {"-" + d for d in described},
                       "--help", "the list of the manual"))
    result("raftcaskd(8): signals", [
        s + " is not told" for s in re.findall("SIG[A-Z]+", text)
        if s not in page])
    exit_codes("raftcaskd(8)", text, page)


def helper():
    text = said(BUILD + "/raftcask-mount-helper", "--help")
    page = manual("raftcask-mount-helper.8")
    result("raftcask-mount-helper(8): options",
           differences("option", options_of_help(text),
                       options_of_manual(page), "--help", "the manual"))


def verbs_of_manual(page):
    """Verb -> its part: from its `.It Ic` to the next one's, or to a .Sh."""
    parts, verb = {}, None
    for line in page.split("\n"):
        found = re.match(r"\.It Ic ([a-z][a-z-]*)( |$)", line)
        if found:
            verb = found.group(1)
        elif line.startswith(".Sh "):
            verb = None
        if verb:
            parts[verb] = parts.get(verb, "") + line + "\n"
    return parts


def client():
    program = BUILD + "/raftcask"
    text, page = said(program, "--help"), manual("raftcask.1")
    verbs = set(re.findall(r"^  ([a-z][a-z-]*)  ", text, re.M))
    parts = verbs_of_manual(page)
    result("raftcask(1): verbs", differences(
        "verb", verbs, set(parts), "--help", "the manual"))
    rest = text[text.index("\n\n  -"):]
    body = section(page, "SYNOPSIS") + section(page, "DESCRIPTION")
    result("raftcask(1): options of all verbs", differences(
        "option", options_of_help(rest), options_of_manual(body), "--help",
        "the manual"))
    for verb in sorted(verbs & set(parts)):
        ours = options_of_help(said(program, verb, "--help"))
        result("raftcask(1): " + verb, differences(
            "option", ours, options_of_manual(parts[verb]),
            verb + " --help", "the manual"))
    variables = set(re.findall(r"\$(RAFTCASK_[A-Z_]+)", text))
    result("raftcask(1): environment", differences(
        "variable", variables,
        set(re.findall(r"\bRAFTCASK_[A-Z_]+",
                       section(page, "ENVIRONMENT"))),
        "--help", "the manual"))
    exit_codes("raftcask(1)", text, page)


def http():
    page = manual("raftcask-http.7")
    source = ""
    for name in sorted(glob.glob("httpd/*.c")):
        with open(name) as f:
            source += f.read()
    codes = set(re.findall(r'\b[45]\d\d,\s*"([a-z_]+)"', source))
    # A macro's arguments: words and the punctuation between them.
    listed = set(re.findall(r"\b[a-z]+(?:_[a-z]+)*\b", " ".join(
        re.findall(r"^\.Li ([^{].*)$", section(page, "STATUS CODES"),
        re.M)).replace("\\(dq", " ")))
    result("raftcask-http(7): error codes",
           ["%s is answered, not told" % c for c in sorted(codes - listed)] +
           ["%s is told, never answered" % c for c in sorted(listed - codes)
            if "_" in c] +
           ([] if len(codes) > 30 else ["only %d codes found" % len(codes)]))
    with open("httpd/route.c") as f:
        routes = set(re.findall(
            r'(?:^\t\t\{ |bytes_str\()"([a-z]+)"', f.read(), re.M))
    told = set(re.findall(r"/_/([a-z]+)", page))
    result("raftcask-http(7): paths", differences(
        "path", routes, told, "httpd/route.c", "the manual"))


def lint():
    if not shutil.which("mandoc"):
        print("ok manuals are well-formed # SKIP mandoc is not installed")
        return
    run = subprocess.run(["mandoc", "-T", "lint"] + sorted(
        glob.glob("docs/man/*")), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, check=False)
    # Whether other packages' manuals are installed is not ours to say.
    result("manuals are well-formed", [
        line for line in run.stdout.split("\n")
        if line and "referenced manual not found" not in line])


def references():
    pages = {os.path.basename(p) for p in glob.glob("docs/man/*")}
    problems = []
    for page in sorted(pages):
        for name, number in re.findall(r"\.Xr (raftcask\S*) (\d)",
                                       manual(page)):
            if name + "." + number not in pages:
                problems.append("%s refers to %s(%s)" % (page, name, number))
    result("manuals refer to manuals that exist", problems)


def warning():
    """The one thing about the mount that destroys data comes first."""
    text = section(manual("raftcask-fuse.7"), "DESCRIPTION")
    first = text.split(".Pp")[0]
    result("raftcask-fuse(7) begins with locks that exclude no other node", [
        "not said: " + word for word in
        ("Locks do not exclude other nodes", "sqlite", "corrupted")
        if word not in first])


def alerts():
    """Each alert of packaging/prometheus has its section in
    docs/operations.md; that they work is tests/httpd/test_metrics.sh's."""
    with open("packaging/prometheus/raftcask.rules.yml") as f:
        rules = f.read()
    with open("docs/operations.md") as f:
        told = set(re.findall(r"^### (\w+)", f.read(), re.M))
    result("alerts and what to do", differences(
        "alert", set(re.findall(r"- alert: (\w+)", rules)), told,
        "raftcask.rules.yml", "docs/operations.md"))


daemon()
helper()
client()
http()
lint()
references()
warning()
alerts()
sys.exit(1 if failures else 0)
