"""browser_kit.py - a headless Chromium, driven over a pipe.

The browser speaks its DevTools protocol on two descriptors (messages end with a
NUL byte), so the standard library is enough. Whatever the page writes to the
console as an error, throws, or is forbidden by its policy is collected: a test
says at its end that there was none."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

from harness import BUILD, PATIENCE_S, Failure, Skip

NAMES = ("chromium", "chromium-browser", "google-chrome")
# A page that fetches in vain is told so on its console, by the browser.
EXPECTED = ("Failed to load resource", "net::ERR_")


class Gone(Failure):
    """The page that was asked gave way to another one."""


def find_browser():
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    raise Skip("no Chromium is installed (package chromium): the monitor "
               "page was not looked at by a browser")


class Browser:
    def __init__(self):
        path = find_browser()
        self.root = tempfile.mkdtemp(prefix="raftcask-browser-")
        to_read, self.to = os.pipe()
        self.back, back_write = os.pipe()
        log = open(os.path.join(self.root, "log"), "w")
        words = [path, "--headless=new", "--no-sandbox", "--disable-gpu",
                 "--no-first-run", "--disable-dev-shm-usage",
                 "--disable-background-networking", "--disable-sync",
                 "--disable-component-update", "--disable-default-apps",
                 "--disable-extensions", "--mute-audio",
                 "--force-color-profile=srgb", "--remote-debugging-pipe",
                 "--user-data-dir=" + os.path.join(self.root, "profile"),
                 "about:blank"]
        # The browser expects its ends at 3 and 4, whatever they are here.
        self.process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" 3<&%d 4>&%d' % (to_read, back_write),
             "sh"] + words, pass_fds=(to_read, back_write), stdout=log,
            stderr=log, start_new_session=True)
        log.close()
        os.close(to_read)
        os.close(back_write)
        self.number, self.rest, self.session = 0, b"", None
        self.errors = []
        try:
            target = self.ask("Target.createTarget", url="about:blank")
            self.session = self.ask("Target.attachToTarget", flatten=True,
                                    targetId=target["targetId"])["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.ask(domain + ".enable")
            self.ask("Emulation.setFocusEmulationEnabled", enabled=True)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        os.close(self.to)
        os.close(self.back)
        try:
            os.killpg(self.process.pid, 9)
        except ProcessLookupError:
            pass
        self.process.wait()
        # What its processes were about to write may still appear.
        for _ in range(50):
            shutil.rmtree(self.root, ignore_errors=True)
            if not os.path.exists(self.root):
                break
            time.sleep(0.05)

    def receive(self, seconds):
        """The next message, or None after so long."""
        end = time.monotonic() + seconds
        while b"\0" not in self.rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.back], [], [], left)[0]:
                return None
            piece = os.read(self.back, 1 << 20)
            if not piece:
                raise Failure("the browser ended by itself")
            self.rest += piece
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def note(self, m):
        method, p = m.get("method"), m.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append("thrown: " + json.dumps(p)[:500])
        elif method == "Runtime.consoleAPICalled" and p["type"] in (
                "error", "warning", "assert"):
            self.errors.append("console: " + json.dumps(p["args"])[:500])
        elif method == "Log.entryAdded" and p["entry"]["level"] in (
                "error", "warning"):
            text = p["entry"]["text"]
            if not any(e in text for e in EXPECTED):
                self.errors.append("log: " + text)

    def ask(self, method, **params):
        self.number += 1
        m = {"id": self.number, "method": method, "params": params}
        if self.session:
            m["sessionId"] = self.session
        os.write(self.to, json.dumps(m).encode() + b"\0")
        end = time.monotonic() + 3 * PATIENCE_S
        while True:
            got = self.receive(end - time.monotonic())
            if got is None:
                raise Failure("the browser does not answer " + method)
            if got.get("id") != self.number:
                self.note(got)
            elif "navigated" in got.get("error", {}).get("message", ""):
                raise Gone(method)
            elif "error" in got:
                raise Failure("%s: %s" % (method, got["error"]))
            else:
                return got["result"]

    def listen(self):
        """Take what the browser has said meanwhile."""
        while True:
            got = self.receive(0)
            if got is None:
                return
            self.note(got)

    def run(self, script):
        """The value of an expression in the page."""
        r = self.ask("Runtime.evaluate", expression=script, awaitPromise=True,
                     returnByValue=True)
        if "exceptionDetails" in r:
            raise Failure("%s: %s" % (script, json.dumps(
                r["exceptionDetails"])[:400]))
        return r["result"].get("value")

    def wait(self, script, what, seconds=None):
        """Until the expression is true; its value."""
        end = time.monotonic() + (seconds or PATIENCE_S)
        while True:
            try:
                value = self.run(script)
            except Gone:
                value = None
            if value:
                return value
            if time.monotonic() > end:
                self.shoot("monitor-failed")
                raise Failure("waited in vain: %s; the page says: %s" % (
                    what, self.text()[:600]))
            time.sleep(0.05)

    def text(self):
        return self.run("document.body ? document.body.innerText : ''") or ""

    def open(self, url):
        self.ask("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href === "
                  + json.dumps(url), url + " is loaded")

    def size(self, width, height, mobile=False):
        self.ask("Emulation.setDeviceMetricsOverride", width=width,
                 height=height, deviceScaleFactor=1, mobile=mobile)

    def prefer(self, **features):
        self.ask("Emulation.setEmulatedMedia", features=[
            {"name": k.replace("_", "-"), "value": v}
            for k, v in features.items()])

    def press(self, key, shift=False):
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
        p = {"key": key, "windowsVirtualKeyCode": codes.get(
            key, ord(key[0].upper())), "modifiers": 8 if shift else 0}
        if len(key) == 1:
            p["text"] = key
        if key == "Enter":
            p["text"] = "\r"
        self.ask("Input.dispatchKeyEvent", type="keyDown", **p)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **p)

    def type(self, text):
        self.ask("Input.insertText", text=text)

    def shoot(self, name, whole=True):
        """A picture of the page: build/NAME.png."""
        p = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            box = self.ask("Page.getLayoutMetrics")["cssContentSize"]
            p["clip"] = dict(x=0, y=0, width=box["width"],
                             height=min(box["height"], 6000), scale=1)
        data = self.ask("Page.captureScreenshot", **p)["data"]
        with open(os.path.join(BUILD, name + ".png"), "wb") as f:
            f.write(base64.b64decode(data))
