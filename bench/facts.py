"""bench/facts.py - what machine, disk, kernel, peers and commit a run is of."""

import os
import platform
import re
import subprocess
import time

from results import median

PEERS = {
    "LMDB": "liblmdb-dev", "LevelDB": "libleveldb-dev",
    "RocksDB": "librocksdb-dev", "etcd": "etcd-server",
    "redis": "redis-server", "libmicrohttpd": "libmicrohttpd-dev",
    "libfuse": "libfuse3-dev", "wrk": "wrk",
}
SYNC_ROUNDS = 200
SEQUENTIAL_BYTES = 256 << 20
BLOCK_BYTES = 1 << 20


def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True,
                              check=False).stdout.strip()
    except OSError:
        return ""


def file_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def processor():
    name = re.search(r"model name\s*: (.*)", file_text("/proc/cpuinfo"))
    return f"{name.group(1) if name else platform.machine()}, " \
           f"{os.cpu_count()} processors"


def memory():
    total = re.search(r"MemTotal:\s*(\d+)", file_text("/proc/meminfo"))
    return f"{int(total.group(1)) / (1 << 20):.1f} GiB" if total else "?"


def file_system(directory):
    """Type and device of what directory lies on."""
    place, best = os.path.realpath(directory), ("", "?", "?")
    for line in file_text("/proc/self/mounts").splitlines():
        device, where, kind = line.split()[:3]
        inside = place == where or place.startswith(where.rstrip("/") + "/")
        if inside and len(where) >= len(best[0]):
            best = where, kind, device
    return f"{best[1]} on {best[2]}"


def sync_us(path, overwrite):
    """Median time of a 512-byte write and fdatasync, in us."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    took = []
    try:
        if overwrite:
            os.pwrite(fd, bytes(512 * SYNC_ROUNDS), 0)
            os.fsync(fd)
        for i in range(SYNC_ROUNDS):
            start = time.monotonic()
            os.pwrite(fd, b"v" * 512, 512 * i)
            os.fdatasync(fd)
            took.append(time.monotonic() - start)
    finally:
        os.close(fd)
        os.unlink(path)
    return median(took) * 1e6


def disk_seconds(path, size):
    """Seconds to write size bytes with fdatasync, to read them past the cache."""
    block = os.urandom(BLOCK_BYTES)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        start = time.monotonic()
        for _ in range(size // BLOCK_BYTES):
            os.write(fd, block)
        os.fdatasync(fd)
        wrote = time.monotonic() - start
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(fd, 0, os.SEEK_SET)
        start = time.monotonic()
        while os.read(fd, BLOCK_BYTES):
            pass
        return wrote, time.monotonic() - start
    finally:
        os.close(fd)
        os.unlink(path)


def sequential(path):
    """MiB/s of writing and of reading."""
    wrote, read = disk_seconds(path, SEQUENTIAL_BYTES)
    mib = SEQUENTIAL_BYTES / (1 << 20)
    return mib / wrote, mib / read


def commit():
    short = output("git", "rev-parse", "--short=12", "HEAD")
    if not short:
        return "unknown (no git)"
    changed = output("git", "status", "--porcelain", "--untracked-files=no")
    return short + (" and uncommitted changes" if changed else "")


def peers():
    for name, package in PEERS.items():
        version = output("dpkg-query", "-W", "-f", "${Version}", package)
        yield f"{name} {version or 'not installed'}"


def disk(directory):
    path = os.path.join(directory, "disk-probe")
    try:
        append = sync_us(path, False)
        overwrite = sync_us(path, True)
        wrote, read = sequential(path)
    except OSError as why:
        return f"{file_system(directory)}; could not be measured: {why}"
    return (f"{file_system(directory)}; 512 bytes + fdatasync: appended "
            f"{append:.0f} us, over zeros {overwrite:.0f} us; sequential "
            f"write {wrote:,.0f} MiB/s, read {read:,.0f} MiB/s")


def gather(directory, options):
    """[(name, value)] for the head of the report."""
    release = re.search(r'PRETTY_NAME="(.*)"', file_text("/etc/os-release"))
    return [
        ("commit", commit()),
        ("when", time.strftime("%Y-%m-%d %H:%M:%S %Z")),
        ("how", options),
        ("processor", processor()),
        ("memory", memory()),
        ("disk", disk(directory)),
        ("system", f"{release.group(1) if release else '?'}, kernel "
                   f"{platform.release()}"),
        ("peers", ", ".join(peers())),
        ("load at the start", " ".join(f"{n:.2f}" for n in os.getloadavg())),
    ]
