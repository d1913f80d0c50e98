"""tools.py - more programs, and rarer ways of theirs, do what they do on a disk.
"""
from program_kit import PYTHON, TREE, program
from harness import main

# --- copied, moved, put in place ---------------------------------------------

program("cp -al, --parents, -u, -T, -L, --remove-destination, --attributes-only",
        TREE + r"""
cp -al t u; test u/big -ef t/big && echo links; stat -c %h t/big
mkdir b; cp --parents t/sub/f3 b; find b | sort; cp --remove-destination t/run u/big
stat -c %h t/big; (cp --reflink=always t/big c 2>/dev/null) || echo no reflink
cp -rx --preserve=all t v; cp -rTn t v; cp -dR t/sub/soft s; readlink s
cp -L t/sub/soft sl; cat sl; cp --attributes-only --preserve=mode t/run ao
stat -c '%a %s' ao; cp /dev/null ao; cp --preserve=timestamps t/sub/f4 tt
stat -c %y tt; rm c""")

program("mv across directories and over files that are open", TREE + r"""
mkdir a b; for i in 1 2 3; do echo $i > a/$i; done; mv a/* b; mv -t a b/1 b/2
exec 5<b/3; echo new > x; mv x b/3; cat <&5; cat b/3; exec 5<&-; mv a b/; mv b/a ./c
(mv c c/d 2>&1) | grep -o 'subdirectory.*'; echo p > p; echo q > q; mv -b p q; ls q*
mv t/sub "t/a b/sub"; mv "t/a b" t/ab
(cd t/ab/sub; mv ../text .; mv f3 ../../..; pwd -P | grep -o 't/ab/sub$'); mv -u f3 t/run
head -2 t/run; find . | sort""")

program("find -execdir, -links, -prune, -path, -delete", TREE + r"""
find t -name 'f?' -exec sh -c 'mv "$1" "$1.txt"' _ {} \;
find t -name '*.txt' -execdir cp {} {}.bak \; ; find t -name '*.bak' | sort
find t -type f -mmin -5 | wc -l; find t -path t/sub -prune -o -type f -print | sort
find t -size 0 -type f; find -L t -samefile t/run | sort; find t -perm -111 | sort
find t -name sub -delete 2>/dev/null || find t/sub | wc -l; find t -delete; ls""")

program("install -b, -C, -o, -s, -t; ln -r, -T, -b, -L; mktemp -d in TMPDIR", TREE +
        r"""
install -m 4755 -o 3 -g 4 t/run i; stat -c '%a %u %g' i; install -b -m 600 t/big i
install -C -m 600 t/big i; ls i*; install -d -m 2770 -o 5 d/e; stat -c '%a %u' d d/e
install -t d t/run t/big; ls -l d | tail -n +2 | cut -c1-10; install -p t/sub/f4 k
stat -c %y k; cp /bin/true tr; install -s tr tr2; ./tr2; ln -sf a l; ln -sf b l
readlink l; ln -srf t/run d/rel; readlink d/rel; ln -sfT d dd; ln -sfT t dd
readlink dd; ln -b t/run k; ls k*; ln -L t/sub/soft hl; stat -c %h hl
D=$(mktemp -d); case $D in "$PWD"/tmp.*) echo in TMPDIR;; esac; stat -c %a $D
mktemp -p $D --suffix=.c > n; (rmdir $D 2>/dev/null) || echo full; rm -r $D n""",
        "install strip")

program("set-id bits, sticky directories and umask for users that are not root",
        r"""
as() { setpriv --reuid $1 --regid $1 --clear-groups sh -c "$2"; }
mkdir -m 1777 s; chmod 755 .; cp /bin/true st; chmod 4755 st; stat -c %a st
as 4001 'echo x > s/a; chmod 600 s/a; mkdir s/d; stat -c "%u %g %a" s/a s/d'
as 4002 'rm -f s/a 2>/dev/null || echo sticky; cat s/a 2>/dev/null || echo no
mv s/a s/b 2>/dev/null || echo no mv; (echo y > s/d/z) 2>/dev/null || echo no d
(echo n > n) 2>/dev/null || echo no dir; chown 4002 st 2>/dev/null || echo no chown
touch st 2>/dev/null || echo no touch; ls s'
for how in 'echo >> st' ': > st' 'truncate -s 3 st' 'fallocate -l 99 st' \
'dd if=/dev/zero of=st count=1 conv=notrunc oflag=direct status=none'; do
chmod 6777 st; as 4002 "$how"; stat -c %a st; done
chmod 6755 st; chown 4002 st; stat -c %a st; mkdir g; chgrp 77 g; chmod 2775 g
: > g/f; mkdir g/h; stat -c '%g %a' g/f g/h""", "setpriv fallocate")


# --- bytes, descriptors, times ------------------------------------------------

program("split, csplit, shuf -o, sort -m and -T, tac, od, comm", r"""
seq 20000 > f; split -b 10K -d f p.; cat p.* | cmp - f; split -n l/5 f q.
cat q.* | cmp - f; split --filter='gzip -n > $FILE.gz' -l 7000 f z.; zcat z.*.gz | cmp - f
csplit -s -k f /100/ '{3}'; ls | wc -l; sort -S 64K -T . -R f > g
sort -n -S 64K -T . g -o g; cmp f g; shuf -o g f; sort -n g -o g; tee a b < f > c
cmp a b; cmp b c; paste f f | tail -1; od -An -tx1 -N 16 f
sort -m f f | uniq -c | tail -1; head -c 33333 f > h; tail -c +33334 f >> h; cmp f h
cat f >> h; wc -l h; tac f > r; tac r | cmp - f""", "gzip split csplit shuf tac")

program("dd: fsync, dsync, sync, excl, nocreat, swab, counts and seeks in bytes",
        r"""
q() { dd status=none "$@"; }
seq 50000 | q of=a bs=64K iflag=fullblock conv=fsync
q if=a of=b bs=4096 count=16 oflag=direct conv=fdatasync
q if=a of=c bs=1000 oflag=dsync count=20; q if=a of=c bs=100 oflag=append conv=notrunc
q if=a of=d bs=512 oflag=sync,direct count=4
q if=a of=e iflag=skip_bytes,count_bytes skip=12345 count=6789 bs=4K
q if=a of=e oflag=seek_bytes seek=77777 bs=1 count=5 conv=notrunc
(q if=a of=new conv=nocreat 2>/dev/null) || echo nocreat
(q if=a of=e conv=excl 2>/dev/null) || echo excl
q if=a bs=4096 iflag=direct skip=2 count=3 of=g
q if=g of=h conv=swab,sync ibs=1000 obs=3000; q if=/dev/zero of=i bs=1M seek=20 count=0
q if=i of=j bs=64K conv=sparse; q if=a of=a bs=512 seek=1 count=1 conv=notrunc
md5sum *; [ $(stat -c %b j) -lt 100 ] && echo sparse""")

program("one file by many descriptors and processes", r"""
exec 3>o 4>o 5>>o; echo three >&3; echo 4 >&4; echo five >&5; echo 3again >&3; cat o
exec 3>&- 4>&- 5>&-; mkfifo go; (echo a; cat go; echo b) > c & echo c >> c
echo on > go; wait; cat c; yes | head -c 100000 > y; wc -c y; (seq 5; seq 6 >&2) > out 2>&1
cat out; exec 6<>rw; echo 12345 >&6; exec 6<>rw; printf ab >&6; cat <&6; cat rw
exec 6>&-; seq 3 | while read x; do echo $x >> w.$x; done; { echo x; head -c 3 y; } > z
cat z; [ -w z ] && [ -r z ] && [ -O z ] && [ ! -x z ] && [ -s z ] && echo flags
exec 3>>log; echo 1 >&3; cp log log.1; truncate -s 0 log; echo after >&3; cat log log.1
exec 4>log; echo A >&4; echo B >&4; : > log; echo C >&4; od -c log""")

program("times that programs keep: gzip, touch -d, date -r, make", TREE + r"""
touch -d '2015-03-04 05:06:07.123456789' t/run; chmod 741 t/run; gzip t/run
stat -c '%a %y' t/run.gz; gunzip t/run.gz; stat -c '%a %y' t/run | cut -c1-24
date -u -r t/run +%s; touch -d @1000000000 x; touch -r x -d '+1 day' y
date -u -r y +%s; printf 'y: x\n\techo build\n' > Makefile; make -s y
touch -d @1000100000 x; make -s y; touch -r x y; make -s y; cp -p x z
[ ! x -nt z ] && [ ! x -ot z ] && echo equal
touch -m -d '1970-01-01 00:00:01' x; stat -c %Y x""", "gzip make")


# --- archives, and trees that are kept equal ----------------------------------

program("rsync -aHX --inplace --delete, -S, --backup, --remove-source-files", TREE +
        r"""
rm t/fifo; truncate -s 2M t/hole; setfattr -n user.k -v v t/run
setfattr -n user.d -v w t/sub; find t -exec touch -h -d 2021-05-05 {} +
rsync -aHX t/ u/; getfattr -d u/run u/sub; test u/big -ef u/sub/deep/hard && echo hard
rsync -aHXi --delete t/ u/; echo --; seq 5000 >> t/big; echo gone > u/extra
mkdir u/dx; echo y > u/dx/y; touch -d 2021-05-06 t/big
rsync -aHXi --inplace --no-whole-file --delete t/ u/ | sort; cmp t/big u/big
setfattr -x user.k t/run; setfattr -n user.n -v 2 t/run; rsync -aHXi t/ u/
getfattr -d u/run; rsync -aS t/hole v; cmp t/hole v; [ $(stat -c %b v) -lt 100 ] &&
echo sparse; sed -i s/two/zwei/ "t/a b/text"
rsync -ai --backup --suffix=.old t/ u/ | cut -c12- | sort; ls "u/a b"
rsync -a --remove-source-files "t/a b/" mv/; ls mv "t/a b"
rsync -a --partial-dir=.p --delay-updates t/ z/; ls -A z""", "rsync setfattr getfattr")

program("tar: incremental, xattrs, --overwrite, --skip-old-files, --strip", TREE + r"""
rm t/fifo; setfattr -n user.z -v 9 t/run; x="--xattrs --xattrs-include=user.*"
tar $x -cf a.tar t; mkdir u w; tar $x -xpf a.tar -C u; getfattr -d u/t/run
tar -df a.tar -C u && echo no difference; tar -g snap -cf 0.tar t; echo new > t/new
rm t/sub/f1; mv t/sub/f2 t/sub/moved; tar -g snap -cf 1.tar t
tar -g /dev/null -xf 0.tar -C w; tar -g /dev/null -xf 1.tar -C w
diff -r --no-dereference w/t t && echo restored; echo old > w/t/run
tar -xf a.tar -C w --skip-old-files; cat w/t/run; tar -xf a.tar -C w --overwrite
cmp w/t/run t/run; tar -xf a.tar --strip-components=2 -C w t/sub/f3; ls -l w/f3 |
cut -c1-10; tar cf - t | tar tf - | wc -l; rm *.tar snap""", "tar getfattr setfattr")

program("zip -m, -FS, -y; zstd, lz4, xz -T", TREE + r"""
rm t/fifo; zip -qry a.zip t; mkdir u; unzip -qo a.zip -d u; unzip -qo a.zip -d u
readlink u/t/sub/soft; zip -qm a.zip t/sub/f1 t/sub/f2; ls t/sub; zip -qT a.zip
zip -q -FS -r a.zip t; unzip -l a.zip | wc -l; zstd -q t/big -o b.zst
zstd -dqc b.zst | cmp - t/big; lz4 -q t/big b.lz4; lz4 -dqc b.lz4 | cmp - t/big
xz -T2 -k t/big; xz -dc t/big.xz | cmp - t/big; rm a.zip b.zst b.lz4 t/big.xz""",
        "zip unzip zstd lz4 xz")

program("a tree patched, unpatched and patched with backups", TREE + r"""
rm t/fifo; cp -a t o; for f in t/sub/f1*; do sed -i -e 1d -e '$a end' $f; done
sed -i -n -e 2p t/sub/f3; awk '{print NR": "$0}' t/run > t/run.n; mv t/run.n t/run
mv t/sub/f4 t/sub/f4n; diff -ruN --no-dereference o t > p || :; grep -c '^@@' p
cd o; patch -s -p1 < ../p; patch -s -R -p1 < ../p; patch -s -b -p1 < ../p
find . -name '*.orig' | sort; find . -name '*.orig' -delete; cd ..; rm p
diff -r --no-dereference o t && echo equal; sed -i.1 s/x/y/ t/sub/f1?; ls t/sub
sed -i 's/^/> /w log' "t/a b/text"; cat log "t/a b/text" """, "patch awk sed diff")


# --- packages, source, keys --------------------------------------------------

program("dpkg-deb builds, lists and unpacks a package; dpkg installs it", r"""
mkdir -p p/DEBIAN p/usr/share/doc/x p/etc; chmod -R g-s p
printf 'Package: x\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: d\n' \
> p/DEBIAN/control; seq 1000 > p/usr/share/doc/x/f; ln -s f p/usr/share/doc/x/l
dpkg-deb --root-owner-group -b p x.deb > /dev/null; dpkg-deb -c x.deb | awk '{print $1,$2,$6}'
dpkg-deb -x x.deb o; dpkg-deb -R x.deb q; diff -r p q && echo same; find o | sort
mkdir -p adm/updates adm/info inst; touch adm/status
PATH=$PATH:/usr/sbin:/sbin
d() { dpkg --admindir="$PWD/adm" --instdir="$PWD/inst" --log=/dev/null "$@" 2>&1; }
d -i x.deb > /dev/null; d -L x | sort; find inst | sort; d -P x > /dev/null
find inst; rm -rf x.deb adm""", "dpkg-deb dpkg awk")

program("git: worktrees, a rebase with a conflict, bisect, repack, hooks", r"""
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z
export GIT_EDITOR=true; git init -q -b main r; cd r
printf '#!/bin/sh\necho hooked\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit
for i in 1 2 3 4 5 6; do echo $i >> f; seq $((i * 50)) > g$i; git add .
git commit -qm c$i 2>&1; done; git worktree add -q -b wt ../w HEAD~3; cd ../w
echo side >> f; git commit -qam side 2>&1; git rebase -q main > /dev/null 2>&1 || :
git status --short; printf '1\n2\n3\nside\n4\n5\n6\n' > f; git add f
git rebase --continue > /dev/null 2>&1; cat f; git log --format=%s | head -3; cd ../r
git cherry-pick wt > /dev/null 2>&1; git log -1 --format='%s %T'
git worktree remove --force ../w; git worktree list | wc -l
git bisect start HEAD HEAD~5 > /dev/null
git bisect run sh -c '! grep -q 5 f' | grep -c 'is the first bad'
git bisect reset > /dev/null 2>&1
git repack -adfq; git multi-pack-index write; git commit-graph write --reachable
git pack-refs --all; git tag -a v1 -m v1; git describe; git fsck --strict
git sparse-checkout set --no-cone g1; ls; git sparse-checkout disable; ls | wc -l
git gc -q --prune=now; git count-objects -v | grep garbage; git fsck; cd ..; rm -rf r""",
        "git")

program("ssh-keygen keeps its keys to the owner", r"""
ssh-keygen -q -t ed25519 -N '' -f k; stat -c '%n %a' k k.pub; echo data > d
ssh-keygen -y -f k | cut -d' ' -f1; ssh-keygen -q -Y sign -f k -n file d 2>/dev/null
ls d*; rm k* d.sig""", "ssh-keygen")



# --- databases, languages, locks ---------------------------------------------

program("sqlite: readers beside a writer, checkpoint, backup, vacuum into, mmap",
        PYTHON + r"""
import os, sqlite3
a, b = (sqlite3.connect("w.db", timeout=30) for _ in range(2))
print(a.execute("pragma journal_mode=wal").fetchone())
a.execute("create table t(x, y)")
for i in range(200):
    a.execute("insert into t values(?, ?)", (i, "y" * i))
    if i % 7 == 0:
        a.commit()
        print(b.execute("select count(*) from t").fetchone()[0], end=" ")
a.commit(); print(sorted(os.listdir(".")))
print(a.execute("pragma wal_checkpoint(truncate)").fetchone())
print(os.stat("w.db-wal").st_size); a.execute("vacuum into 'v.db'")
c = sqlite3.connect("c.db"); a.backup(c); c.close()
for n in "v.db", "c.db":
    print(sqlite3.connect(n).execute("select count(*), sum(length(y)) from t").fetchone())
print(b.execute("pragma integrity_check").fetchone()); a.close(); b.close()
d = sqlite3.connect("m.db"); d.execute("pragma mmap_size=10000000")
d.execute("create table q(z)"); d.executemany("insert into q values(?)", [("z" * 100,)] * 5000)
d.commit(); print(d.execute("select sum(length(z)) from q").fetchone()); d.close()
print(sorted(os.listdir(".")))
for f in os.listdir("."):
    os.unlink(f)
!
""")

program("python: rotated logs, fileinput in place, a mapping that grows, modes",
        PYTHON + r"""
import fileinput, glob, logging.handlers, mmap, os, pathlib, shelve, shutil
with shelve.open("sh", writeback=True) as s:
    for i in range(50):
        s["k%d" % i] = list(range(i))
with shelve.open("sh") as s:
    print(len(s), sum(map(len, s.values())))
h = logging.handlers.RotatingFileHandler("log", maxBytes=300, backupCount=3)
l = logging.getLogger("q"); l.propagate = False; l.addHandler(h)
for i in range(60):
    l.warning("line %03d of the log", i)
h.close(); print([(n, os.stat(n).st_size) for n in sorted(glob.glob("log*"))])
w = logging.handlers.WatchedFileHandler("wl"); l.handlers = [w]; l.warning("a")
os.rename("wl", "wl.1"); l.warning("b"); w.close()
print(open("wl").read(), open("wl.1").read())
pathlib.Path("in").write_text("one\ntwo\nthree\n")
for line in fileinput.input("in", inplace=True, backup=".bak"):
    print(line.upper(), end="")
print(open("in").read(), open("in.bak").read())
with open("m", "w+b") as f:
    f.truncate(4096); m = mmap.mmap(f.fileno(), 4096); m[0:4] = b"abcd"
    m.resize(20000); m[19996:] = b"wxyz"; m.flush(); m.close()
    f.seek(-4, 2); print(f.tell(), f.read()); f.seek(0); print(f.read(4))
    os.posix_fallocate(f.fileno(), 30000, 10); print(os.fstat(f.fileno()).st_size)
f = open("rw", "w+"); f.write("hello"); f.seek(0); print(f.read()); f.seek(2)
f.write("LL"); f.flush(); print(open("rw").read()); f.truncate(); f.close()
a = open("ap", "a+"); a.write("1"); a.flush(); b = open("ap", "a"); b.write("2")
b.close(); a.write("3"); a.close(); print(open("rw").read(), open("ap").read())
d = os.open(".", os.O_RDONLY); os.mkdir("dd", dir_fd=d)
os.rename("rw", "dd/rw", src_dir_fd=d, dst_dir_fd=d); os.fsync(d); os.close(d)
shutil.make_archive("arc", "zip", "dd"); shutil.unpack_archive("arc.zip", "un")
print(os.listdir("un")); os.unlink("arc.zip")
for n in glob.glob("sh*"):
    os.unlink(n)
!
""")

program("locks: ranges, shared and exclusive, of descriptors, taken over", PYTHON + r"""
import fcntl, os, struct
f = open("l", "w+b"); f.write(b"x" * 100); f.flush()
def child(fn):
    r, w = os.pipe(); pid = os.fork()
    if not pid:
        try:
            out = fn()
        except OSError as e:
            out = "errno %d" % e.errno
        os.write(w, str(out).encode()); os._exit(0)
    os.waitpid(pid, 0); os.close(w); s = os.read(r, 1000).decode(); os.close(r); return s
def one(kind, at=0, n=0):
    return lambda: fcntl.lockf(open("l", "r+b"), kind | fcntl.LOCK_NB, n, at)
fcntl.lockf(f, fcntl.LOCK_EX, 10, 0); fcntl.lockf(f, fcntl.LOCK_SH, 10, 20)
for kind in fcntl.LOCK_EX, fcntl.LOCK_SH:
    print([child(one(kind, at, 1)) for at in (0, 9, 10, 19, 20, 29, 30)])
def who():
    b = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    t = struct.unpack("hhqqi4x", fcntl.fcntl(open("l", "r+b"), fcntl.F_GETLK, b))
    return t[0], t[2], t[3], t[4] == os.getppid()
print(child(who)); open("l").close(); print("after close", child(one(fcntl.LOCK_EX)))
def flock(kind):
    return lambda: fcntl.flock(open("l"), kind | fcntl.LOCK_NB)
a = open("l"); fcntl.flock(a, fcntl.LOCK_SH)
print(child(flock(fcntl.LOCK_SH)), child(flock(fcntl.LOCK_EX)))
fcntl.flock(a, fcntl.LOCK_EX); print(child(flock(fcntl.LOCK_SH)))
os.unlink("l"); open("l", "w").close(); print(child(flock(fcntl.LOCK_EX)))
F_OFD_SETLK = 37; o = open("l", "r+b")
fcntl.fcntl(o, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
print(child(one(fcntl.LOCK_EX))); r, w = os.pipe()
if not os.fork():
    o.close(); os.close(r); h = open("l", "r+b"); os.write(w, b"w")
    fcntl.lockf(h, fcntl.LOCK_EX); h.write(b"got"); h.close(); os._exit(0)
os.read(r, 1); print(open("l").read()); o.close(); os.wait(); print(open("l").read())
!
""")

program("ed makes, changes and writes elsewhere", r"""
seq 9 > f; printf '3d\n$a\nlast\n.\nw\nq\n' | ed -s f; cat f
printf 'g/5/s//five/\nw g\nq\n' | ed -s f; cat g; printf 'a\nnew\n.\nw\nq\n' | ed -s none 2>&1
cat none; printf '1,3m$\nw\n1r g\nW g\nq\n' | ed -s f; cat f g""", "ed")


if __name__ == "__main__":
    main()
