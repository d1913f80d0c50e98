#!/usr/bin/env python3
"""monitor.py - the monitor page, looked at with a real browser.

Three daemons and one page: what it says is read off the page, as a person would,
and pictures of it are left in build/monitor-*.png."""
import subprocess
import threading
import time
import urllib.request

from browser_kit import Browser, find_browser
from cluster_kit import Cluster
from harness import CLIENT, Node, case, equal, expect, main, wait_for

shared = {}


def cluster():
    if "cluster" not in shared:
        find_browser()  # a skip costs nothing
        shared["cluster"] = Cluster(3, settings={"cluster.partitions": "4"})
    return shared["cluster"]


def browser():
    if "browser" not in shared:
        shared["browser"] = Browser()
    return shared["browser"]


def url(node):
    return "http://%s:%d/_/monitor" % (node.host, node.port)


def look(node):
    b = browser()
    b.open(url(node))
    b.wait("!document.getElementById('view').hidden", "figures are shown")
    return b


def quiet(b):
    b.listen()
    equal(b.errors, [], "nothing on the browser's console")


# The text of one cell of a node's row, by its column's head.
CELL = """(() => {
  const row = [...document.querySelectorAll('#nodes-body tr')].find(
    (r) => r.firstChild.textContent.startsWith('%s'));
  if (!row) return null;
  const cell = row.querySelector('[data-label="%s"]');
  return cell ? cell.textContent : row.firstChild.textContent;
})()"""
HEALTH = "document.getElementById('health-text').textContent"


def row_state(name):
    return ("[...document.querySelectorAll('#nodes-body tr')].filter((r) => "
            "r.firstChild.textContent.startsWith('%s')).map((r) => "
            "r.getAttribute('data-state'))[0]" % name)


class Writes(threading.Thread):
    """Puts and gets at one node until stopped."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.on = node, True
        self.start()

    def run(self):
        n = 0
        with self.node.conn() as c:
            while self.on:
                n += 1
                c.call("PUT", "/load/k%d" % (n % 50), b"x" * 500)
                c.call("GET", "/load/k%d?raw" % (n % 80))

    def stop(self):
        self.on = False
        self.join()


@case("every node is shown with figures of its own")
def all_nodes():
    b = look(cluster().members[0])
    b.size(1280, 900)
    for m in cluster().members:
        b.wait(row_state(m.name) + " === 'up'", m.name + " is shown as up")
        b.wait("/MiB/.test(%s)" % (CELL % (m.name, "Memory")),
               "memory of " + m.name)
    b.wait("/^All 3 nodes are up/.test(%s)" % HEALTH, "all is well")
    b.wait("document.querySelectorAll('#partitions-body tr').length === 4 && "
           "![...document.querySelectorAll('#partitions-body tr')].some((r) "
           "=> /none/.test(r.textContent))", "four partitions with leaders")
    b.wait("/leads/.test(document.getElementById('events-list').textContent)",
           "elections are among the events")
    quiet(b)


@case("writes show up as rates, counts, times and charts")
def rates():
    b = look(cluster().members[0])
    writes = Writes(cluster().members[1])
    try:
        b.wait("parseFloat(%s) > 0" % (CELL % ("n2", "Sets")),
               "sets of n2 a second")
        b.wait("parseFloat(%s) > 0" % (CELL % ("n2", "Gets")), "gets of n2")
        b.wait("/%%/.test(%s)" % (CELL % ("n2", "Hit rate")), "hit rate")
        for i in range(4):
            b.wait("/L/.test(document.querySelectorAll('#chart-grid > figure')"
                   "[%d].querySelector('svg.box path.s1').getAttribute('d'))"
                   % i, "a line in chart %d" % i)
        b.wait("/p99 [0-9.]+ .?s/.test(document.querySelectorAll("
               "'#chart-grid > figure')[2].querySelector('svg.box')"
               ".getAttribute('aria-label'))", "p99 of writes")
        b.shoot("monitor-light")
    finally:
        writes.stop()
    quiet(b)


@case("a merge and the files are shown")
def files():
    b = look(cluster().members[0])
    with cluster().members[0].conn() as c:
        for i in range(400):
            c.call("PUT", "/merge/k%d" % (i % 20), b"y" * 30000)
    urllib.request.urlopen(urllib.request.Request(
        "http://%s:%d/_/merge" % (cluster().members[0].host,
                                  cluster().members[0].port), b"", {},
        method="POST"), timeout=20).read()
    b.wait("/ended (a|\\d+) merge/.test(document.getElementById('events-list')"
           ".textContent)", "the merge is among the events")
    b.run("document.querySelector('#files details').open = true")
    b.wait("/being written/.test(document.getElementById('files')"
           ".textContent)", "the segment that is written")
    b.wait("/% live/.test(document.getElementById('files').textContent)",
           "share of what lives")
    quiet(b)


@case("a node that is killed is said to be down since when, then up again")
def down():
    b = look(cluster().members[0])
    third = cluster().members[2]
    third.kill9()
    started = time.monotonic()
    b.wait(row_state("n3") + " === 'down'", "n3 is down")
    took = time.monotonic() - started
    b.wait("/^n3 is down since \\d\\d:\\d\\d:\\d\\d\\..*majority/.test(%s)"
           % HEALTH, "it is said in words")
    b.wait("/would stop writes/.test(document.getElementById('health-more')"
           ".textContent)", "what another failure would do")
    b.wait("/lost n3/.test(document.getElementById('events-list')"
           ".textContent)", "it is among the events")
    b.shoot("monitor-down")
    third.spawn()
    b.wait(row_state("n3") + " === 'up'", "n3 is up again")
    b.wait("/^All 3 nodes are up/.test(%s)" % HEALTH, "all is well again")
    print("  said to be down after %.1f s" % took, flush=True)
    quiet(b)


@case("a node that hangs is said not to answer")
def hangs():
    b = look(cluster().members[0])
    b.wait(row_state("n2") + " === 'up'", "n2 is up")
    second = cluster().members[1]
    second.pause()
    try:
        b.wait("['down', 'silent'].includes(%s)" % row_state("n2"),
               "n2 is not shown as well")
    finally:
        second.resume()
    b.wait(row_state("n2") + " === 'up'", "n2 is up again")
    cluster().wait_ready()
    quiet(b)


@case("without a majority the page says so")
def no_majority():
    one, *others = cluster().members
    b = look(one)
    for m in others:
        m.kill9()
    b.wait("/^No majority: 1 of 3 voters is up, 2 are needed/.test(%s)"
           % HEALTH, "no majority")
    b.shoot("monitor-no-majority")
    for m in others:
        m.spawn()
    b.wait("/^All 3 nodes are up/.test(%s)" % HEALTH, "all is well again")
    cluster().wait_ready()
    quiet(b)


@case("the page says when it lost its node, offers others, comes back")
def lost():
    one = cluster().members[0]
    b = look(one)
    b.wait(row_state("n2") + " === 'up'", "n2 is up")
    one.kill9()
    b.wait("!document.getElementById('lost').hidden && /lost its connection"
           "/.test(document.getElementById('lost-what').textContent)",
           "the connection is lost")
    b.wait("/Trying again in \\d+ s/.test(document.getElementById('lost-next')"
           ".textContent)", "when it tries again")
    equal(b.run("[...document.querySelectorAll('#lost-others a')].map((a) => "
                "a.href)"),
          [url(m) for m in cluster().members[1:]], "links to the others")
    b.shoot("monitor-lost")
    one.spawn()
    b.wait("document.getElementById('lost').hidden", "it is back", 60)
    b.wait("/^All 3 nodes are up/.test(%s)" % HEALTH, "all is well again")
    cluster().wait_ready()
    quiet(b)


@case("everything is reached and done with the keyboard")
def keyboard():
    b = look(cluster().members[0])
    b.wait("/Files of n3/.test(document.body.textContent)", "all is there")
    b.run("document.body.focus()")
    reached, unseen = [], []
    for _ in range(25):
        b.press("Tab")
        reached.append(b.run("(document.activeElement.id || document"
                             ".activeElement.textContent || document"
                             ".activeElement.value).slice(0, 20)"))
        if not b.run(
                "(() => { const s = getComputedStyle(document.activeElement."
                "matches('.choice input') ? document.activeElement.parentNode :"
                " document.activeElement); return s.outlineStyle !== 'none' && "
                "parseFloat(s.outlineWidth) >= 2; })()"):
            unseen.append(reached[-1] + "/" + b.run(
                "document.activeElement.outerHTML.slice(0, 80)"))
        if "Files of n3" in reached[-1]:
            break
    expect(reached[0].startswith("Skip"), "the way past the bar is first",
           reached)
    for want in ("Nodes", "Events", "pause", "theme", "help"):
        expect(want in reached, want, "is reached by Tab", reached)
    expect(any("Files of n1" in r for r in reached), "files", reached)
    expect(not unseen, "the focus is not seen at", unseen)
    for key, section in zip("12345", ("nodes", "charts", "storage",
                                      "partitions", "events")):
        b.press(key)
        equal(b.run("document.activeElement.id"), section, "key", key)
    b.press("?", shift=True)
    b.wait("document.getElementById('keys').open", "the list of keys")
    b.press("Escape")
    b.wait("!document.getElementById('keys').open", "it closes")
    b.press("n")
    equal(b.run("document.querySelector('#whose input:checked').value"),
          b.run("document.querySelectorAll('#whose input')[1].value"), "n")
    b.press("p")
    equal(b.run("document.getElementById('pause').getAttribute("
                "'aria-pressed')"), "true", "p pauses")
    b.press("p")
    b.wait("document.getElementById('live-text').textContent === 'live'",
           "and goes on")
    quiet(b)


@case("a screen reader finds landmarks, heads of tables, names of all things")
def reader():
    b = look(cluster().members[0])
    equal(b.run("['header', 'nav', 'main'].map((t) => document"
                ".querySelectorAll('body ' + t).length)"), [1, 1, 1], "landmarks")
    equal(b.run("document.documentElement.lang"), "en", "language")
    expect(b.run("[...document.querySelectorAll('table')].every((t) => "
                 "t.querySelectorAll('thead th[scope=col]').length > 2 && "
                 "[...t.querySelectorAll('tbody tr')].every((r) => "
                 "r.querySelector('th[scope=row]')))"), "heads of tables")
    expect(b.run("[...document.querySelectorAll('section')].every((s) => "
                 "s.getAttribute('aria-label') || document.getElementById("
                 "s.getAttribute('aria-labelledby')))"), "sections have names")
    tree = b.ask("Accessibility.getFullAXTree")["nodes"]
    nameless = [n["role"]["value"] for n in tree if not n.get("ignored") and
                n["role"]["value"] in ("button", "link", "radio", "textbox",
                                       "image", "table", "checkbox") and
                not n.get("name", {}).get("value")]
    equal(nameless, [], "things without a name")
    # Only the sentence is read out by itself, and it does not tick.
    equal(b.run("[...document.querySelectorAll('[aria-live], [role=status], "
                "[role=alert]')].map((e) => e.id)"), ["lost", "health"],
          "what is read out by itself")
    quiet(b)


@case("on a phone nothing has to be scrolled sideways")
def phone():
    b = look(cluster().members[0])
    try:
        b.size(360, 740, mobile=True)
        b.run("document.querySelectorAll('details').forEach((d) => "
              "d.open = true)")
        b.wait(row_state("n3") + " === 'up'", "n3 is up")
        for width in (320, 360, 412, 768):
            b.size(width, 740, mobile=True)
            wide = b.run("""[document.documentElement.scrollWidth,
                [...document.querySelectorAll('#view *')].filter((e) =>
                  !e.closest('svg, .hidden, thead') &&
                  e.getBoundingClientRect().right > innerWidth + 1)
                  .map((e) => e.tagName + ' ' + e.textContent.slice(0, 30))
                  .slice(0, 3)]""")
            equal(wide, [width, []], "width of the page")
        b.size(360, 740, mobile=True)
        b.shoot("monitor-phone")
    finally:
        b.size(1280, 900)
    quiet(b)


def ground(b):
    return b.run("getComputedStyle(document.body).backgroundColor")


@case("dark or light as the system says, or as one chooses; contrast holds")
def theme():
    b = look(cluster().members[0])
    contrast = """(() => {
      const lum = (c) => { const v = c.match(/[\\d.]+/g).slice(0, 3).map((x) => {
        x /= 255; return x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
      }); return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
      const of = (e) => { while (e && getComputedStyle(e).backgroundColor ===
        'rgba(0, 0, 0, 0)') e = e.parentElement; return e ?
        getComputedStyle(e).backgroundColor : 'rgb(255, 255, 255)'; };
      return [...document.querySelectorAll('#view *, header *')].filter((e) =>
        [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) &&
        !e.closest('svg')).map((e) => {
          const a = lum(getComputedStyle(e).color), g = lum(of(e));
          return [(Math.max(a, g) + .05) / (Math.min(a, g) + .05),
            e.textContent.slice(0, 30)]; }).filter(([r]) => r < 4.5);
    })()"""
    b.prefer(prefers_color_scheme="light")
    light = ground(b)
    equal(b.run(contrast), [], "weak contrast in light")
    b.prefer(prefers_color_scheme="dark")
    dark = ground(b)
    expect(light != dark, "the system's wish is followed")
    equal(b.run(contrast), [], "weak contrast in dark")
    b.shoot("monitor-dark")
    b.press("t")
    equal(ground(b), light, "the switch says light")
    b.press("t")
    equal(ground(b), dark, "the switch says dark")
    b.press("t")
    b.prefer(prefers_color_scheme="light")
    equal(ground(b), light, "and back to the system's")
    b.prefer(prefers_reduced_motion="reduce")
    equal(b.run("getComputedStyle(document.documentElement).scrollBehavior"),
          "auto", "no motion where none is wanted")
    equal(b.run("document.getAnimations().length"), 0, "nothing moves")
    b.prefer()
    quiet(b)


@case("a token is asked for, kept in the tab, and never in the address")
def token():
    find_browser()
    node = Node({"security.tokens": "true"})
    made = subprocess.run([CLIENT, "token", "init", "--data-dir", node.data],
                          capture_output=True, text=True, check=True)
    secret = next(w for w in made.stdout.split() if w.startswith("rct_"))
    node.spawn()
    wait_for(node.is_alive, "the node runs")
    b = browser()
    b.open(url(node))
    b.wait("!document.getElementById('ask').hidden", "a token is asked for")
    equal(b.run("document.activeElement.id"), "token", "the cursor is there")
    expect("n1" not in b.run("document.getElementById('view').textContent"),
           "nothing is shown before")
    b.shoot("monitor-token")
    b.type("rct_" + "0" * 64)
    b.press("Enter")
    b.wait("/does not know/.test(document.getElementById('ask-why')"
           ".textContent)", "a wrong one is refused")
    b.type(secret)
    b.press("Enter")
    b.wait("!document.getElementById('view').hidden && /is up/.test(%s)"
           % HEALTH, "figures are shown")
    expect(secret not in b.run("location.href + document.cookie + document"
                               ".documentElement.outerHTML"),
           "the token is nowhere on the page")
    b.open(url(node) + "?again")
    b.wait("!document.getElementById('view').hidden", "the tab remembers")
    quiet(b)


@case("a page of another site cannot read the figures")
def foreign():
    b = browser()
    m = cluster().members[0]
    b.open("data:text/html,<title>other</title>")
    equal(b.run("fetch('http://%s:%d/_/monitor/events').then((r) => r.status, "
                "() => 'refused')" % (m.host, m.port)), "refused", "a stranger")


@case("the end")
def end():
    find_browser()
    if "browser" in shared:
        shared.pop("browser").close()
    if "cluster" in shared:
        shared.pop("cluster").remove()


main()
