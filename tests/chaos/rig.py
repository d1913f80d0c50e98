"""rig.py - a cluster of real daemons, each with a network, a disk, clocks and
a mount of its own, all of which can be spoilt.

A daemon's disk is a small tmpfs; its network a namespace on a bridge; its
monotonic clocks those of a time namespace, another one at each start that is
to be a reboot; syncs, writes and the wall clock pass tests/chaos/shim.c.

Who asks (clients.py, in processes of their own) finds the nodes in the file
`control`, which is replaced as a whole whenever something changes.
"""
import ctypes
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "blackbox"))
from harness import (BUILD, Conn, Failure, Node, die_with_parent,  # noqa: E402
                     libc, wait_for)
from cluster_kit import TORN, Cluster, Member  # noqa: E402

CLONE_NEWNET, CLONE_NEWTIME = 0x40000000, 0x80
MNT_FORCE, MNT_DETACH = 1, 2
DISK_MB = 160
DAEMON = os.environ.get("CHAOS_DAEMON", os.path.join(BUILD, "raftcaskd"))
SETTINGS = {
    "cluster.heartbeat": '"60ms"', "cluster.election_timeout": '"600ms"',
    "storage.max_file_size": '"2M"', "storage.min_free_disk": '"3M"',
    "storage.watch_history": '"1M"', "storage.merge.rate": '"0"',
    "storage.merge.dead_bytes": '"1M"', "storage.merge.dead_ratio": "0.4",
    "storage.merge.small_file": '"512K"'}


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.PIPE)


def unmount(path):
    """Take away whatever is mounted there, nothing if nothing is."""
    while libc.umount2(path.encode(), MNT_FORCE | MNT_DETACH) == 0:
        pass


class SafeConn(Conn):
    """A connection over TLS."""

    def __init__(self, port, timeout, host, ca):
        super().__init__(port, timeout, host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(ca)
        try:
            self.sock = context.wrap_socket(self.sock)
        except BaseException:
            self.sock.close()
            raise


def dial(node, timeout):
    """A connection to a node as the control file names it."""
    if node["ca"]:
        return SafeConn(node["port"], timeout, node["host"], node["ca"])
    return Conn(node["port"], timeout, node["host"])


class Spoilt(Member):
    """One member whose surroundings can be spoilt."""

    def __init__(self, cluster, number):
        self.mnt = os.path.join(cluster.root, "mnt%d" % number)
        self.disk = os.path.join(cluster.root, "disk%d" % number)
        self.faults = os.path.join(cluster.root, "faults%d" % number)
        self.generation = 0   # how often it was started
        self.clock_s = 0      # what its monotonic clocks are ahead
        self.settings_now = {}
        self.may_fail = False  # its disk fails: it may, and should, end
        self.values = dict.fromkeys(
            ("sync_delay_ms", "sync_errno", "write_errno", "read_errno",
             "wall_ns", "boot_ns", "write_delay_ms"), 0)
        os.mkdir(self.mnt)
        os.mkdir(self.disk)
        super().__init__(cluster, number)
        self.data = os.path.join(self.disk, "data")
        run("mount", "-t", "tmpfs", "-o", "size=%dm" % DISK_MB, "none",
            self.disk)
        self.spoil()

    def configure(self, config):
        super().configure(config)
        if self.prefix:
            self.namespace, self.prefix = self.prefix[-1], ()

    def spoil(self, **values):
        self.values.update(values)
        v = self.values
        data = struct.pack("<IIIIqqII", v["sync_delay_ms"], v["sync_errno"],
                           v["write_errno"], v["read_errno"], v["wall_ns"],
                           v["boot_ns"], v["write_delay_ms"], 0)
        fd = os.open(self.faults, os.O_RDWR | os.O_CREAT, 0o644)
        os.pwrite(fd, data, 0)
        os.close(fd)

    def write_config(self, members):
        settings = self.cluster.settings
        self.cluster.settings = dict(settings, **self.settings_now)
        try:
            super().write_config(members)
        finally:
            self.cluster.settings = settings

    def request(self, method, path, body=None):
        """A reply, None without one."""
        try:
            with self.conn(3) as c:
                return c.call(method, path, body)
        except (Failure, *TORN):
            return None

    def is_ready(self):
        if self.process.poll() is not None:
            return False  # who looks after it will see
        r = self.request("GET", "/_/ready")
        return r is not None and r.status == 200

    def enter(self):
        """In the child, before the daemon is executed."""
        die_with_parent()
        fd = os.open("/run/netns/" + self.namespace, os.O_RDONLY)
        if libc.setns(fd, CLONE_NEWNET):
            os._exit(99)
        os.close(fd)
        if self.clock_s and libc.unshare(CLONE_NEWTIME) == 0:
            fd = os.open("/proc/self/timens_offsets", os.O_WRONLY)
            os.write(fd, b"monotonic %d 0\nboottime %d 0\n" % (
                self.clock_s, self.clock_s))
            os.close(fd)

    def spawn(self):
        self.ended = False
        self.may_fail = any(self.values[k] for k in (
            "sync_errno", "write_errno", "read_errno"))
        self.write_config(self.cluster.members)  # a reload may have broken it
        self.generation += 1
        env = dict(os.environ, CHAOS_FAULTS=self.faults,
                   LD_PRELOAD=self.cluster.preload)
        env.setdefault("ASAN_OPTIONS", "detect_leaks=1")
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        env.setdefault("TSAN_OPTIONS", "halt_on_error=0 exitcode=66")
        with open(self.log, "ab") as log:
            log.write(b"--- start %d of %s\n" % (self.generation,
                                                 self.name.encode()))
            log.flush()
            self.process = subprocess.Popen(
                [DAEMON, "--config", self.config, "--mount", self.mnt],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                cwd=self.root, preexec_fn=self.enter)
        self.cluster.tell()

    def kill9(self):
        """What was killed may hang in the kernel; its next start ends that."""
        self.ended, self.paused = True, False
        self.process.kill()
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.cluster.hung.append(self.process)

    def is_alive(self):
        return not self.ended and super().is_alive()

    def stop(self):
        """SIGTERM; the exit status. It may take what a slow disk takes."""
        self.ended = True
        if self.paused:
            self.resume()
        self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            raise Failure("SIGTERM does not stop %s" % self.name)

    def conn(self, timeout=None):
        return dial(self.where(), timeout or 3)

    def where(self):
        return {"name": self.name, "host": self.host, "port": self.port,
                "mnt": self.mnt, "ca": self.cluster.ca,
                "generation": self.generation}

    def is_mounted(self):
        with open("/proc/self/mounts") as f:
            return any(line.split()[1] == self.mnt for line in f)

    def fill(self, leave):
        """Take all but so many bytes of the disk."""
        path = os.path.join(self.disk, "filler")
        s = os.statvfs(self.disk)
        more = s.f_bavail * s.f_bsize - leave
        if more > 0:
            fd = os.open(path, os.O_RDWR | os.O_CREAT)
            try:
                os.posix_fallocate(fd, os.fstat(fd).st_size, more)
            except OSError:
                pass  # the daemon was quicker
            os.close(fd)

    def make_room(self):
        try:
            os.unlink(os.path.join(self.disk, "filler"))
        except FileNotFoundError:
            pass

    def wipe(self):
        unmount(self.mnt)  # without its LOCK nobody knows whose it was
        self.process.wait(60)  # who hung there goes now, with its ports
        shutil.rmtree(self.data, ignore_errors=True)

    def remove(self):
        super().remove()
        unmount(self.mnt)
        if self.process:
            self.process.wait(30)
        unmount(self.disk)


class Chaos(Cluster):
    """count nodes; control is written for clients."""

    def __init__(self, root, count, partitions, tls, shim):
        self.root, self.tls, self.ca = root, tls, None
        self.control, self.more = os.path.join(root, "control"), {}
        self.preload = shim
        self.told, self.patience, self.witness = None, 1, None
        self.keep_root, self.hung = False, []
        if "/asan/" in DAEMON:
            self.preload = subprocess.run(
                ["gcc", "-print-file-name=libasan.so"], capture_output=True,
                text=True).stdout.strip() + ":" + shim
        settings = dict(SETTINGS)
        if partitions > 1:
            settings["cluster.partitions"] = partitions
        if tls:
            self.make_certificates()
            settings.update({"security." + k: '"%s"' % os.path.join(root, v)
                             for k, v in (
                ("tls_cert", "node.pem"), ("tls_key", "node.key"),
                ("peer_cert", "node.pem"), ("peer_key", "node.key"),
                ("peer_ca", "ca.pem"))})
        self.members = []
        super().__init__(count, True, settings, start=False, root=root,
                         kind=Spoilt)

    def make_certificates(self):
        """An authority, once, and a certificate of it, a new one each time."""
        at = {"cwd": self.root, "check": True, "capture_output": True}
        if not self.ca:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec",
                            "-pkeyopt", "ec_paramgen_curve:prime256v1",
                            "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
                            "-days", "9", "-subj", "/CN=chaos authority"],
                           **at)
        with open(os.path.join(self.root, "ext"), "w") as f:
            f.write("extendedKeyUsage=serverAuth,clientAuth\n")
        subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                        "new.key", "-out", "new.csr", "-subj", "/CN=node"],
                       **at)
        subprocess.run(["openssl", "x509", "-req", "-in", "new.csr", "-CA",
                        "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                        "-days", "9", "-extfile", "ext", "-out", "new.pem"],
                       **at)
        for end in ("key", "pem"):
            os.rename(os.path.join(self.root, "new." + end),
                      os.path.join(self.root, "node." + end))
        self.ca = os.path.join(self.root, "ca.pem")

    def tell(self, **more):
        """Write the control file anew."""
        self.more.update(more)
        whole = dict(self.more, nodes=[m.where() for m in self.members
                                       if m.generation])
        if whole == self.told:
            return
        self.told = whole
        with open(self.control + ".new", "w") as f:
            json.dump(whole, f)
        os.rename(self.control + ".new", self.control)

    def admin(self, method, path, body=None, seconds=30, done=(200,)):
        """One change of the cluster, asked of whoever answers, until it is
        made; the last answer is None when time is up."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for m in self.alive():
                try:
                    with m.conn(5) as c:
                        r = c.call(method, path, body and
                                   json.dumps(body).encode(),
                                   [("Content-Type", "application/json")])
                    if r.status in done:
                        return r
                except (Failure, *TORN):
                    pass
            time.sleep(0.2)
        return None

    def roles(self):
        """{name: role} as the leader knows it, None when nobody leads."""
        for m in self.alive():
            got = m.ask("/_/status")
            if got and got["role"] == "leader":
                return {x["name"]: x["role"] for x in got["members"]
                        if not x.get("leaving")}
        return None

    def until_role(self, name, role):
        """Fails when it takes too long."""
        wait_for(lambda: (self.roles() or {name: "?"}).get(name) == role,
                 "%s is %s" % (name, role or "gone"), 60 * self.patience)

    def until_voter(self, name):
        self.until_role(name, "voter")
        wait_for(self.by_name(name).is_ready, "%s is ready" % name,
                 60 * self.patience)

    def by_role(self, role):
        """A living member that leads, or one that does not; anyone while it
        is not known."""
        leads, others = [], []
        for m in self.alive():
            got = m.ask("/_/status", 1)
            (leads if got and got["role"] == "leader" else others).append(m)
        found = leads if role == "leader" else others
        return found[0] if found else None

    def shape(self, member, rate):
        """All that the member sends: so many kbit/s; None: no limit."""
        ns = ["tc", "-n", member.namespace, "qdisc"]
        if rate is None:
            subprocess.run(ns + ["del", "dev", "eth0", "root"],
                           stderr=subprocess.DEVNULL)
        else:
            subprocess.run(ns + ["replace", "dev", "eth0", "root", "tbf",
                                 "rate", "%dkbit" % rate, "burst", "8k",
                                 "latency", "600ms"],
                           stderr=subprocess.DEVNULL)

    def lose(self, member, share):
        """That share of the packets to other members; 0: none."""
        ip = ["ip", "netns", "exec", member.namespace, "iptables"]
        subprocess.run(ip + ["-F", "OUTPUT"], stderr=subprocess.DEVNULL)
        if share:
            subprocess.run(ip + ["-A", "OUTPUT", "!", "-d",
                                 self.network.net + ".254", "-m", "statistic",
                                 "--mode", "random", "--probability",
                                 "%.2f" % share, "-j", "DROP"],
                           stderr=subprocess.DEVNULL)

    def heal(self):
        super().heal()
        for m in self.members:
            self.shape(m, None)
            if shutil.which("iptables"):
                self.lose(m, 0)
            m.make_room()
            m.spoil(sync_delay_ms=0, sync_errno=0, write_errno=0,
                    read_errno=0, write_delay_ms=0)
