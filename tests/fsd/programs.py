"""programs.py - everyday programs do in the mount what they do on a disk."""
from program_kit import PYTHON, TREE, program
from harness import main

# --- the shell, and files as they come --------------------------------------

program("cat, echo, >, >> and here documents", r"""
echo one > f; echo two >> f; cat f; cat f f > g; cat <<! >> g
three
!
: > f; wc -c f g; (echo 4; echo 5) >> f; cat < f; printf x >f; cat f""")

program("noclobber, and a file that the shell still has open", r"""
set -C; echo a > f; (echo b > f) 2>/dev/null || echo kept; set +C
exec 3<f; rm f; cat <&3; exec 4<>g; echo x >&4; mv g h; echo y >&4; cat h""")

program("cp, cp -a with links, modes and times", TREE + r"""
cp -a t u; diff -r t u 2>&1 | grep -v fifo || :
stat -c '%n %a %h %s %F' $(find u -type f -o -type l | grep -v ' ' | sort)
stat -c %Y t/sub/f4 u/sub/f4; test u/big -ef u/sub/deep/hard && echo linked
cp t/big v; cp -u t/big v; cp -b t/run v; cp -l t/run w; cp -s t/run x
cp --backup=numbered t/run v; cp --backup=numbered t/run v; ls""")

program("cp --sparse, --reflink, --preserve, and copying back", r"""
truncate -s 500000 f; printf end >> f
cp --sparse=always f g; cp --sparse=never f h; cp --reflink=auto f i
cmp f g; cmp f h; cmp f i
[ $(stat -c %b g) -lt 900 ] && echo sparse
chmod 640 f; touch -d '2010-01-02 03:04:05.678901234' f
cp -p f j; stat -c '%a %y' j""")

program("mv: files, directories, onto others, to another file system", TREE +
        r"""
mv t/run t/walk; mv t/walk t/sub; mv t/sub t/other; mv t u; ls u u/other
echo x > a; echo y > b; mv a b; cat b; mv -n b u/big; mkdir c; mv c u
mv -T u/c u/empty; mv u/other "u/a b/"; ls "u/a b/other"
out=$(mktemp -d /tmp/mvXXXXXX); mv u "$out/"; find "$out/u" | wc -l
mv "$out/u" back; rmdir "$out"; test back/big -ef "back/a b/other/deep/hard" ||
echo "links between two moves are two files" > /dev/null
find back | sort; mv b b2; mv b2 b""")

program("rm, rmdir -p, mkdir -p and -m", TREE + r"""
rm t/big; rm -f t/nothing; rm -r t/sub; (rmdir t 2>/dev/null) || echo not empty
mkdir -p p/q/r; rmdir -p p/q/r; ls; mkdir -m 700 p; mkdir -m 1777 q
stat -c %a p q; (mkdir p 2>/dev/null) || echo there; rm -rf t""")

program("ls in all its ways", TREE + r"""
ls; ls -a; ls -lR --time-style=+ t | grep -v ^total |
awk '/^d/ { $5 = "" } { print }'; ls -F t; ls -S t/sub/f*
ls -t t/sub | tail -1; ls -d t/*; ls -U t | sort; ls -1 't/a b'""")

program("find with every kind of question", TREE + r"""
find t | sort; find t -type f -size +100k | sort; find t -name 'f1*' | sort
find t -perm 600; find t -newermt 2002-01-01 -name 'f*' | wc -l
find t -type p; find t -type l -printf '%p %l\n'; find t -type f -links 2 | sort
find t -empty | sort; find t -maxdepth 1 | sort; find t -inum 1; find t -samefile t/big | sort
find t -name 'f?' -exec cat {} + | wc; find t -name 'f1*' -delete
find t -depth -type d | sort""")

program("grep -r, wc, head, tail, cut, sort, uniq, comm, join, paste", TREE +
        r"""
grep -r two t 2>/dev/null | sort; grep -rl 299 t/sub | sort; wc t/sub/f* 
head -c 100 t/sub/f5; tail -c 50 t/sub/f5; tail -n 3 t/sub/f7; tac t/sub/f2 > r
sort -o r r; sort r > s; comm -12 s s | wc -l; join s s > j 2>/dev/null || :; paste r s > p
cut -c1 p | uniq -c > u; nl u; md5sum r s p u; split -l 100 r part.; ls
cat part.* | cmp - r""", "tac")

program("du, df and stat", TREE + r"""
du -sb t/big t/sub/f3; df . | wc -l
df --output=fstype . | wc -l; stat -f -c %l .; stat -c '%n %F %s %h' t/big t/run t/fifo
stat -L -c %F t/sub/soft; [ $(du -k t/big | cut -f1) -ge 290 ] && echo blocks""")

program("ln, ln -s, -sf, -sfn, readlink and realpath", r"""
echo x > f; ln f g; ln -s f s; (ln f g 2>/dev/null) || echo there
ln -sf g s; readlink s; mkdir d; ln -sfn d l; ln -sfn f l; readlink l
ln -s nowhere x; (cat x 2>/dev/null) || echo dangling; readlink -f s
ln -s "$(printf '%0200d' 7)" long; readlink long; realpath d/../s; rm f; cat g
ln -s loop loop; (cat loop 2>&1) | grep -o 'Too many.*'""")

program("chmod, chown, chgrp, umask", TREE + r"""
chmod -R g+w,o-r t; chmod u+s t/run; chmod +t t/sub; chown -R 7:8 t/sub
chgrp 9 t/big; chown -h 5:6 t/sub/soft; (umask 077; mkdir um; echo > um/f)
(umask 0; echo > um/g); stat -c '%n %a %u %g' um um/* t t/run
chown 1:1 t/run; stat -c %a t/run; chmod 0 t/big; cat t/big | wc -c""")

program("touch: now, a date, another file's, one of the times", r"""
touch f; touch -d '1999-12-31 23:59:59.5' f; stat -c '%x %y' f
touch -a -d 2005-05-05 f; stat -c '%x %y' f; touch -m -d 2006-06-06 f
touch -r f g; stat -c '%x %y' g; touch -c none; ls; touch -h -d 2001-01-01 f
mkdir d; touch -d 2003-03-03 d; stat -c %y d; touch d/x
[ $(stat -c %Y d) -gt 1200000000 ] && echo newer; [ g -nt d ] || echo older""")

program("mkfifo: two programs meet in it", r"""
mkfifo p; (seq 1000 > p) & cat p | wc -l; wait; ls -l p | cut -c1""")

program("flock(1) keeps others out", r"""
exec 3>lock; flock 3; (flock -n lock true) || echo taken
flock -u 3; flock -n lock echo free; exec 3>&-
for i in 1 2 3 4 5 6; do (for j in 1 2 3 4 5; do
flock lock sh -c 'n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) > n'
done) & done; wait; cat n""", "flock")

program("tee -a and >> by several writers at once", r"""
for i in 1 2 3 4 5 6 7 8; do (for j in 1 2 3 4 5 6 7 8 9; do
echo "$i line $j" | tee -a log > /dev/null; echo "$i more $j" >> log
done) & done; wait; sort log; rm log""")

program("xargs -P: many files at once", r"""
seq 200 | xargs -P 8 -I N sh -c 'echo N > f.N && mv f.N g.N && cat g.N >> all.$((N % 3))'
ls | wc -l; cat all.* | sort -n | md5sum; rm g.*; cat all.* | sort -n > all; rm all.*
ls""")

program("names of every kind", r"""
n=$(printf '%0255d' 1); echo a > "$n"; cat "$n"
(echo a > "${n}x") 2>&1 | grep -o 'name too long' || :
echo b > 'space and
newline'; echo c > 'per%cent%00'; echo d > 'ü-ö-😀'; printf e > "$(printf '\377\376')"
echo f > '-dash'; echo g > '.hidden'; echo h > 'back\slash"quote'; ls -b | sort
mkdir "$n.d" 2>/dev/null || echo long; cat ./-dash .hidden; ls | wc -l
d=$(printf '%0200d' 2); mkdir -p $d/$d/$d/$d/$d/$d; echo deep > $d/$d/$d/$d/$d/$d/f
find . -name f -exec cat {} \;""")


# --- bytes in the middle -----------------------------------------------------

program("dd: notrunc, seek, skip, append, direct, sparse", r"""
q() { dd status=none "$@"; }
seq 100000 > f; q if=/dev/zero of=f bs=1 count=10 seek=5000 conv=notrunc
q if=f of=g bs=7777 skip=3 count=5; q if=f of=h bs=4096 seek=9
q if=g of=h oflag=append conv=notrunc bs=1k; q if=f of=i bs=64k conv=fsync
q if=f of=j bs=1M oflag=sync; q if=/dev/zero of=k bs=1k count=0 seek=300
q if=f of=l bs=4096 count=20 oflag=direct; q if=l of=m iflag=direct bs=8192
q if=k of=n conv=sparse bs=4k; q if=f of=o conv=ucase,notrunc bs=512
q if=/dev/null of=f bs=1 seek=1000; md5sum *; (q if=f of=l conv=excl) || echo no""")

program("truncate and fallocate", r"""
seq 50000 > f; truncate -s 1000 f; truncate -s +5 f; truncate -s 200K f
truncate -s -1 f; truncate -r f g; truncate -s 0 g; truncate -c -s 5 none
fallocate -l 100000 h; fallocate -o 50000 -l 100000 h; fallocate -n -l 900000 h
seq 30000 > i; fallocate -p -o 4096 -l 65536 i; fallocate -z -o 1 -l 99 i
fallocate -d f; md5sum *; stat -c '%n %s' *""", "fallocate")

program("tail -f and -F see appends, also after a rotation", r"""
echo first > log; (timeout 60 tail -n +1 -s 0.05 -f log > seen 2>/dev/null) & t=$!
(timeout 60 tail -n +1 -s 0.05 -F log > seen2 2>/dev/null) & u=$!
n() { i=0; while ! grep -q "$1" $2; do sleep 0.02; i=$((i + 1)); [ $i -lt 900 ]
done; }
n first seen; n first seen2; echo second >> log; n second seen; n second seen2
mv log log.1; echo third > log; n third seen2; echo old >> log.1; n old seen
kill $t $u 2>/dev/null || :; pkill -P $t 2>/dev/null || :; pkill -P $u || :
wait 2>/dev/null || :; cat seen seen2""", "pkill timeout")

program("a log rotated by rename and by copy and truncate", r"""
exec 3>>log; echo one >&3; mv log log.1; echo two >&3; exec 3>>log
echo three >&3; cp log log.0; : > log; echo four >&3; gzip -n log.1; zcat log.1.gz
cat log log.0; exec 3>&-""", "gzip")

program("shred, sync, and what is left", r"""
seq 1000 > f; shred -n 1 f; stat -c %s f; shred -u f; ls; seq 10 > g; sync g
sync -d g; sync -f .; cat g""", "shred")

program("sort -o, sed -i, perl -i and ed change a file in place", r"""
seq 20 | sort -R > f; sort -n -o f f; sed -i 's/1/one/' f; sed -i.bak 2d f; ls
chmod 640 f; sed -i 3d f; stat -c %a f; ln -s f s; sed -i --follow-symlinks 4d s
perl -pi -e 's/2/two/' f; perl -pi.orig -e 's/3/three/' f; cat f; ls""",
        "perl sed")

program("mktemp, install, patch and diff", TREE + r"""
d=$(mktemp -d ./tmpXXXXXX); f=$(mktemp -p $d); stat -c %a $d $f; rm -r $d
install -m 711 t/run inst; install -D t/run i/n/s/t; install -d x/y; ls -l inst |
cut -c1-10; cp t/sub/f5 old; sed 's/^77$/seven/' old > new; diff -u old new > p || :
patch -s old p; cmp old new; patch -R -s -b old p; ls; (patch -s -f new p) > /dev/null ||
ls *.rej; rm p *.rej""", "patch")


# --- archives ----------------------------------------------------------------

program("tar: there and back, with links, modes, holes and times", TREE + r"""
truncate -s 400000 t/hole; tar cf a.tar t; mkdir u; tar xpf a.tar -C u
tar df a.tar; diff -r t/sub u/t/sub && echo same; test u/t/big -ef u/t/sub/deep/hard
tar cSzf b.tgz t; mkdir v; tar xSzf b.tgz -C v; cmp t/hole v/t/hole
stat -c %Y u/t/sub/f4; tar rf a.tar u/t/run; tar tf a.tar | sort | tail -3
tar cf - t | (mkdir w; cd w; tar xf -); tar --delete -f a.tar t/big
rm *.tar *.tgz""", "tar gzip")

program("gzip, bzip2, xz and cpio", TREE + r"""
gzip -k t/sub/f6; gunzip -t t/sub/f6.gz; gzip t/sub/f5; zcat t/sub/f5.gz | wc; gunzip t/sub/f5
xz -k t/sub/f9; xz -d -c t/sub/f9.xz | cmp - t/sub/f9; bzip2 t/sub/f8; bunzip2 t/sub/f8.bz2
rm t/sub/*.gz t/sub/*.xz; cp t/run t/runs; gzip -f t/runs; gunzip t/runs; t/runs""",
        "gzip xz bzip2")

program("zip and unzip", TREE + r"""
rm t/fifo; zip -qr a.zip t; unzip -tq a.zip | tail -1; mkdir u; unzip -q a.zip -d u
diff -r t u/t; zip -q -d a.zip t/big; unzip -l a.zip | wc -l; zip -q -u a.zip t/big
rm a.zip""", "zip unzip")

program("rsync -a, a second time, --inplace, --delete, --append", TREE + r"""
rm t/fifo; find t -exec touch -h -d 2020-01-01 {} +
rsync -a t/ u/; rsync -ai t/ u/; echo --; rsync -aH t/ v/; test v/big -ef v/sub/deep/hard
echo more >> t/sub/f7; rsync -ai --inplace t/ u/; seq 9 >> t/big
rsync -ai --append t/ u/; rm t/sub/f1; rsync -ai --delete t/ u/; diff -r t/sub u/sub
rsync -aiX --checksum t/ u/; rsync -a --link-dest="$PWD/u" t/ w/; ls w
rsync -rlpti --partial --timeout=20 t/ x/ | sort""", "rsync")


# --- editors -----------------------------------------------------------------

for copy in ("yes", "no", "auto"):
    program("vim with backupcopy=" + copy, r"""
seq 10 > f; chmod 640 f; ln f g; ln -s f s
v() { vim -u NONE -i NONE -es -c "set backupcopy=%s writebackup" "$@" </dev/null; }
v -c '%%s/5/five/' -c wq f; v -c '1d' -c wq s; cat f; stat -c '%%a %%h' f; cat g
v -c 'set backup patchmode=.orig' -c '$d' -c wq f; v -c 'w! new' -c q f
v -c 'set undofile noswapfile' -c 2d -c wq f; v -c 'wq' dir/none 2>/dev/null || :
ls | sort; cat f; rm -f .*.un~""" % copy, "vim")

# --- building and keeping source ---------------------------------------------

program("a C project built twice: the second make does nothing", r"""
mkdir src; for i in 1 2 3 4; do echo "int f$i(int x) { return x + $i; }" > src/f$i.c
done; cat > src/main.c <<!
#include <stdio.h>
int f1(int), f2(int), f3(int), f4(int);
int main(void) { printf("%d\n", f1(f2(f3(f4(0))))); return 0; }
!
cat > Makefile <<'!'
o = $(patsubst src/%.c,obj/%.o,$(wildcard src/*.c))
prog: $(o) lib.a
	$(CC) -o $@ $(o)
lib.a: $(o)
	ar rcD $@ $(o)
obj/%.o: src/%.c | obj
	$(CC) -O1 -MMD -c -o $@ $<
obj:
	mkdir obj
!
make -s -j4; ./prog; make; make -q && echo up to date; touch src/f2.c
make -n | grep -c CC || :; make -s; ./prog; strip prog; ./prog; size prog > /dev/null
cp prog busy; rm obj/*.o; ar t lib.a | sort; ls""", "make gcc ar")

program("programs run from the mount, and cannot be written meanwhile", r"""
cp /bin/sleep s; ./s 30 & p=$!
until [ "$(readlink /proc/$p/exe)" = "$PWD/s" ]; do sleep 0.01; done
(echo x > s) 2>&1 | grep -o 'Text file busy'; cp /bin/true t; mv t s
kill $p; ./s && echo replaced; printf '#!/bin/sh\necho script "$1"\n' > r; chmod +x r
./r arg; chmod -x r; (./r) 2>/dev/null || echo no""")

program("git: init, commit, branches, merge, stash, gc, fsck, clone", r"""
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z
git init -q -b main r; cd r; for i in 1 2 3 4 5 6 7 8; do seq $((i * 100)) > f$i; git add .
git commit -qm "c$i"; done; git status --short; git checkout -qb side HEAD~3; echo x > x
git add x; git commit -qm x; git checkout -q main; git merge -q --no-edit side; ls
echo y >> f1; git stash -q; git stash pop -q; git diff --stat; git checkout -q f1
git rebase -q -f HEAD~2; git gc -q; git fsck --full --strict; git log --format=%s
cd ..; git clone -q r s; git clone -q --bare "file://$PWD/r" b.git; cd s; git status --short
git pull -q; git mv f1 g1; git commit -qam mv; git push -q origin HEAD:refs/heads/mv
cd ../r; git log --format=%s mv -1; git worktree add -q ../w side; git reflog expire \
--expire=now --all; git repack -qad; git prune; git fsck; cd ..; rm -rf r s b.git w""",
        "git")


# --- databases ---------------------------------------------------------------

for journal in ("delete", "truncate", "persist", "wal"):
    program("sqlite with journal_mode=" + journal, r"""
sqlite3 db <<!
pragma journal_mode=%s;
create table t(a integer primary key, b text);
create index i on t(b);
begin; with recursive n(x) as (select 1 union all select x + 1 from n where x < 2000)
insert into t select x, 'text ' || x from n; commit;
update t set b = 'changed' where a %% 7 = 0; delete from t where a %% 5 = 0;
begin; delete from t; rollback;
select count(*), sum(a), max(b) from t; pragma integrity_check;
!
for i in 1 2 3 4; do (for j in 1 2 3; do sqlite3 -cmd '.timeout 60000' db \
"insert into t(b) values('w$i.$j')"; done) & done; wait
sqlite3 db "select count(*) from t where b like 'w%%'; vacuum; pragma integrity_check"
sqlite3 db "select * from t where a <= 2000 and b not like 'w%%'" | md5sum; ls | grep -v -e -wal -e -shm -e -journal; rm -f db*
""" % journal, "sqlite3")

program("python: os.replace, json, tempfile, shutil, zipfile, shelve, dbm", PYTHON +
        r"""
import dbm.dumb, json, os, pathlib, shelve, shutil, sqlite3, tempfile, zipfile
for i in range(20):
    with open("s.json.new", "w") as f:
        json.dump({"n": i}, f); f.flush(); os.fsync(f.fileno())
    os.replace("s.json.new", "s.json")
print(json.load(open("s.json")))
with tempfile.TemporaryDirectory(dir=".") as d:
    pathlib.Path(d, "x").write_text("x" * 70000)
    with tempfile.NamedTemporaryFile(dir=d) as f:
        f.write(b"abc"); f.seek(0); print(f.read())
    with tempfile.TemporaryFile(dir=d) as f:
        f.write(b"nameless"); f.seek(0); print(f.read())
    shutil.copytree(d, "copy"); shutil.move("copy", "moved")
print(sorted(os.listdir("moved")), sorted(os.listdir(".")))
with zipfile.ZipFile("z.zip", "w") as z:
    z.writestr("a", "A" * 1000)
print(zipfile.ZipFile("z.zip").read("a")[:3]); os.unlink("z.zip")
with dbm.dumb.open("d", "c") as db:
    for i in range(200):
        db[str(i)] = str(i * i)
print(dbm.dumb.open("d")[b"77"])
c = sqlite3.connect("q.db"); c.execute("create table t(x)")
c.executemany("insert into t values(?)", [(i,) for i in range(100)]); c.commit()
print(c.execute("select sum(x) from t").fetchone()); c.close(); os.unlink("q.db")
shutil.rmtree("moved")
!
""")

program("python: mmap shared and private, pread, sendfile, fcntl locks", PYTHON + r"""
import fcntl, mmap, os
fd = os.open("m", os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, 300000)
m = mmap.mmap(fd, 300000)
m[0:5] = b"start"; m[150000:150003] = b"mid"; m[299997:] = b"end"
print(os.pread(fd, 5, 0), os.pread(fd, 3, 150000)); m.flush()
os.pwrite(fd, b"WRITE", 100); print(m[100:105])
p = mmap.mmap(fd, 300000, mmap.MAP_PRIVATE); p[0:5] = b"mine!"
print(m[0:5], p[0:5]); p.close(); m.close()
os.ftruncate(fd, 150001); print(os.pread(fd, 9, 149999)); os.close(fd)
with open("m", "rb") as a, open("n", "wb") as b:
    n = os.sendfile(b.fileno(), a.fileno(), 0, 1 << 20); print(n)
    print(os.copy_file_range(a.fileno(), b.fileno(), 1000, 0, n))
f = open("lock", "w"); fcntl.lockf(f, fcntl.LOCK_EX)
r, w = os.pipe()
if not os.fork():
    try:
        fcntl.lockf(open("lock", "w"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(w, b"got it")
    except OSError:
        os.write(w, b"taken")
    os._exit(0)
os.wait(); print(os.read(r, 10))
os.pwritev(f.fileno(), [b"vector", b"ed"], 3); f.close(); print(open("lock", "rb").read())
fd = os.open("lock", os.O_RDWR | os.O_APPEND); os.pwrite(fd, b"!", 0); os.close(fd)
print(open("lock", "rb").read())
!
""")

program("setfattr and getfattr", r"""
echo x > f; mkdir d; setfattr -n user.a -v 1 f; setfattr -n user.b -v "$(seq 500)" f
setfattr -n user.d -v x d; getfattr -d f | md5sum; getfattr -n user.a --only-values f
setfattr -x user.a f; (getfattr -n user.a f 2>/dev/null) || echo gone; cp -a f g
getfattr -d g | wc -l; mv f h; getfattr --only-values -n user.b h | tail -1
tar --xattrs -cf t.tar h d; rm -r h d; tar --xattrs -xf t.tar; getfattr -d h d | wc -l
rm t.tar""", "setfattr getfattr tar")

program("inotify tells of what is done in the same mount", r"""
inotifywait -m -t 60 -e create,modify,delete,moved_to --format '%e %f' . \
> /tmp/in.$$ 2> /tmp/er.$$ & p=$!
until grep -q established /tmp/er.$$; do sleep 0.02; done; echo x > f; mv f g; rm g; touch end
i=0; until grep -q 'CREATE end' /tmp/in.$$; do sleep 0.02; i=$((i + 1)); [ $i -lt 500 ]
done; kill $p; uniq /tmp/in.$$; rm /tmp/in.$$ /tmp/er.$$ end""", "inotifywait")


if __name__ == "__main__":
    main()
