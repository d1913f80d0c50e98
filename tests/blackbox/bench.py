"""bench.py - the load generator does what it was told, counts what comes of it,
and sees a value that is not what was written."""
import json
import subprocess
import time

from client_kit import ENV, as_json, run, succeed, url
from cluster_kit import Cluster
from harness import CLIENT, Node, case, equal, expect, main, wait_for


def bench(node, *words):
    return json.loads(succeed("-e", url(node), "bench", "--json", *words))


@case("it writes, reads and deletes what was asked for, and says how fast")
def _():
    node = Node()
    node.start()
    got = bench(node, "-n=500", "-sz=300", "-conns=7", "--verify")
    equal((got["type"], got["requests"], got["conns"], got["bytes"],
           got["failed"], got["missing"], got["wrong"], got["read_back"],
           got["not_there"]), ("W", 500, 7, 300, 0, 0, 0, 500, 0), got)
    expect(0 < got["p50_ms"] <= got["p99_ms"] <= got["p999_ms"] <=
           got["max_ms"], got)
    expect(got["rate"] > 0 and got["mean_ms"] > 0 and got["cpu_us"] > 0, got)
    keys = {k["key"]: k["size"] for k in node.list(prefix="bench/")["keys"]}
    equal(keys, {"bench/%d" % i: 300 for i in range(500)}, "keys")
    stats = node.status()["stats"]
    for threads in ("1", "3"):
        got = bench(node, "-n=2000", "-keys=500", "-t=R", "-sz=300",
                    "-conns=20", "-threads=" + threads, "--verify")
        equal((got["missing"], got["wrong"], got["failed"]), (0, 0, 0), got)
    now = node.status()["stats"]
    expect(now["cmd_get"] - stats["cmd_get"] == 4000, "reads", stats, now)
    got = bench(node, "-n=100", "-keys=1000", "-t=R", "-dist=uniform")
    expect(10 < got["missing"] < 90, "keys that nobody wrote", got)
    for dist in ("seq", "uniform", "zipf"):
        got = bench(node, "-n=1000", "-keys=100", "-t=RW", "-sz=1K",
                    "-dist=" + dist, "-conns=5", "--verify")
        equal((got["wrong"], got["failed"]), (0, 0), dist, got)
    got = bench(node, "-n=500", "-t=D", "-conns=9", "--verify")
    equal((got["wrong"], got["read_back"], got["not_there"]), (0, 500, 500),
          got)
    got = bench(node, "-n=6", "-sz=3M", "-conns=3", "--verify")
    equal((got["wrong"], got["failed"]), (0, 0), got)
    out = succeed("-e", "http://127.0.0.1:1", "bench", "-addr=" + url(node),
                  "-n=10").decode()
    for word in ("rate", "p50", "p99", "p999"):
        expect(word + " " in out, word, "in", out)
    node.remove()


@case("a value that is not what was written is seen; a lost one too")
def _():
    node = Node()
    node.start()
    bench(node, "-n=50", "-sz=200")
    good = node.get("bench/7").body
    node.put("bench/7", good[:150] + bytes([good[150] ^ 1]) + good[151:])
    node.put("bench/8", node.get("bench/9").body)
    status, out, err = run("-e", url(node), "bench", "--json", "-n=50", "-t=R",
                           "-sz=200", "--verify")
    equal((status, json.loads(out)["wrong"]), (1, 2), "wrong", err)
    expect("not as written" in err, err)
    got = bench(node, "-n=50", "-t=R", "-sz=200")  # not looked at
    equal("wrong" in got, False, got)
    node.remove()


@case("connections are spread over all nodes; one that dies is counted")
def _():
    with Cluster() as cluster:
        every = [w for m in cluster.members for w in ("-e", url(m))]
        before = [m.status()["stats"]["cmd_set"] for m in cluster.members]
        succeed(*every, "bench", "-n=900", "-conns=9", "--verify")
        for m, n in zip(cluster.members, before):
            expect(m.status()["stats"]["cmd_set"] - n > 50, m.name,
                   "had its share")
        p = subprocess.Popen([CLIENT, *every, "--timeout", "3s", "bench",
                              "--json", "-n=20000", "-keys=100",
                              "-conns=6"], env=ENV, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        time.sleep(0.5)
        cluster.followers()[0].kill9()
        out, err = p.communicate(timeout=60)
        got = json.loads(out)
        equal(got["requests"], 20000, "all were tried")
        equal(p.returncode, 1 if got["failed"] else 0, err)
        expect(got["failed"] <= 400, "the others went on:", got)


@case("a node that dies for good, or was never there, ends it")
def _():
    node = Node()
    node.start()
    for conns in ("1", "4"):
        p = subprocess.Popen([CLIENT, "-e", url(node), "--timeout", "1s",
                              "bench", "-n=10000000", "-keys=10",
                              "-conns=" + conns], env=ENV,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(lambda: node.list(prefix="bench/")["keys"], "it has begun")
        node.kill9()
        out, err = p.communicate(timeout=30)
        equal(p.returncode, 1, "status")
        expect(b"given up" in err and b"failed" in err, err)
        node.start()
        node.clear()
    url_before = url(node)
    node.remove()
    status, out, err = run("-e", url_before, "bench", "-n=10")
    equal((status, out), (1, b""), "nobody there")
    for bad in ("-sz=0", "-n=x", "-t=Q", "-conns=0", "-dist=normal", "-sz=65M",
                "-keys=-1", "-threads=0", "more"):
        equal(run("bench", bad)[0], 2, bad)


if __name__ == "__main__":
    main()
