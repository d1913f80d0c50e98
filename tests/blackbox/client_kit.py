"""client_kit.py - calling raftcask as a script does."""
import json
import os
import subprocess

from harness import BUILD, CLIENT, equal, make_directory

ENV = {k: v for k, v in os.environ.items() if k != "RAFTCASK_URL"}


def url(node):
    return "http://%s:%d" % (node.host, node.port)


def run(*arguments, stdin=b"", env=None, timeout=60, cwd=None):
    """(exit status, stdout, stderr as text)"""
    r = subprocess.run([CLIENT, *arguments], input=stdin, timeout=timeout,
                       capture_output=True, env=dict(ENV, **(env or {})),
                       cwd=cwd or BUILD)
    return r.returncode, r.stdout, r.stderr.decode("utf-8", "replace")


def succeed(*arguments, stdin=b"", **more):
    status, out, err = run(*arguments, stdin=stdin, **more)
    equal((status, err), (0, ""), arguments)
    return out


def as_json(*arguments, **more):
    return json.loads(succeed("-o", "json", *arguments, **more))


class Scratch:
    """A directory that is gone after a with block."""

    def __enter__(self):
        self.root = make_directory()
        return self

    def __exit__(self, *_):
        subprocess.run(["rm", "-rf", self.root])

    def path(self, name):
        return os.path.join(self.root, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()
