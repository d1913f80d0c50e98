# raftcask - see README.md. One file; sources by wildcard; one object tree per
# flavour under build/. DESTDIR, prefix, CC, CFLAGS belong to the packager.

prefix ?= /usr/local
DESTDIR ?=
CC ?= gcc
CFLAGS ?= -O2 -g
CLANG ?= clang

B := build
STD := -std=gnu11 -D_GNU_SOURCE -I. -I$(B)/gen -pthread -fno-strict-aliasing \
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wvla -Wno-unused-parameter -Werror=implicit -Werror=return-type \
	-Werror=switch
STD += $(shell pkg-config --cflags fuse3 2>/dev/null || \
	echo -I/usr/include/fuse3)
VERSION := $(shell cat VERSION)
STD += -DRAFTCASK_VERSION='"$(VERSION)"'
LIBS_CORE := -lm
LIBS_DAEMON := -lmicrohttpd -ljson-c -lconfig -lgnutls \
	$(shell pkg-config --libs fuse3 2>/dev/null || echo -lfuse3)
LIBS_CTL := -lcurl -ljson-c -lgnutls
LIBS_TEST := -lcmocka $(LIBS_DAEMON) $(LIBS_CTL)

# Allocations of the code under test pass through tests/lib/fail_alloc.c.
comma := ,
WRAP := $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc aligned_alloc \
	posix_memalign strdup strndup) -Wl,-u,__wrap_malloc

LIBS_bench := -Wl,--as-needed -llmdb -lleveldb -lrocksdb

LIB_DIRS := base conf engine raft store httpd fsd
NODE_SRC := $(wildcard node/main.c)
HELPER_SRC := node/mount_helper.c
LIB_SRC := $(foreach d,$(LIB_DIRS),$(wildcard $(d)/*.c)) \
	$(filter-out $(NODE_SRC) $(HELPER_SRC),$(wildcard node/*.c))
CTL_SRC := $(wildcard ctl/*.c)
TEST_SRC := $(wildcard tests/*/test_*.c)
TEST_LIB_SRC := $(wildcard tests/lib/*.c)
SCRIPT_SRC := $(wildcard tests/raftscript/*.c)
LINEAR_SRC := $(wildcard tests/linear/*.c)
SIM_SRC := $(filter-out tests/sim/test_%,$(wildcard tests/sim/*.c))
# What takes minutes has a goal of its own.
TEST_SH := $(filter-out tests/packaging/test_deb.sh,\
	$(wildcard tests/*/test_*.sh))
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SRC := $(wildcard bench/bench_*.c)
BENCH_LIB_SRC := $(wildcard bench/lib/*.c)

.DEFAULT_GOAL := all
JOBS ?= $(shell nproc)

.PHONY: help all deps run cluster test check sim chaos mutants bench \
	bench-programs tests asan tests-asan tsan tests-tsan lint \
	analyze fuzz cov tests-cov chaos-mutants install uninstall deb \
	deb-test clean
.DELETE_ON_ERROR:

# The monitor page: its parts, put together, as numbers for a C array.
PAGE := $(B)/gen/httpd/monitor_page.inc
PAGE_PARTS := $(addprefix httpd/monitor/,page.html style.css script.js)
$(PAGE): $(PAGE_PARTS)
	@mkdir -p $(@D)
	sed -e '/^@style@$$/{r httpd/monitor/style.css' -e 'd;}' \
		-e '/^@script@$$/{r httpd/monitor/script.js' -e 'd;}' \
		httpd/monitor/page.html >$(@D)/monitor.html
	od -An -v -t u1 $(@D)/monitor.html | sed 's/[0-9][0-9]*/&,/g' >$@

# flavour: object tree, extra compile flags, extra link flags, compiler
define flavour
$(1)_OBJ = $$(patsubst %.c,$(1)/o/%.o,$$(1))
$(1)/o/%.o: %.c
	@mkdir -p $$(@D)
	$(4) $$(STD) $$(CPPFLAGS) $$(CFLAGS) $(2) -MMD -MP -c -o $$@ $$<
$(1)/o/httpd/page.o: $(PAGE)
$(1)/libraftcask.a: $$(patsubst %.c,$(1)/o/%.o,$$(LIB_SRC))
	@rm -f $$@
	ar rcs $$@ $$^
$(1)/raftcaskd: $$(patsubst %.c,$(1)/o/%.o,$$(NODE_SRC)) $(1)/libraftcask.a
	$(4) $$(LDFLAGS) $(3) -pthread -o $$@ $$^ $$(LIBS_DAEMON) $$(LIBS_CORE)
$(1)/raftcask-mount-helper: $$(patsubst %.c,$(1)/o/%.o,$$(HELPER_SRC)) \
		$(1)/libraftcask.a
	$(4) $$(LDFLAGS) $(3) -pthread -o $$@ $$^ -lconfig $$(LIBS_CORE)
$(1)/raftcask: $$(patsubst %.c,$(1)/o/%.o,$$(CTL_SRC)) $(1)/libraftcask.a
	$(4) $$(LDFLAGS) $(3) -pthread -o $$@ $$^ $$(LIBS_CTL) $$(LIBS_CORE)
$(1)/raftscript: $$(patsubst %.c,$(1)/o/%.o,$$(SCRIPT_SRC)) \
		$(1)/libraftcask.a
	$(4) $$(LDFLAGS) $(3) -pthread -o $$@ $$^ $$(LIBS_CORE)
$(1)/linear: $$(patsubst %.c,$(1)/o/%.o,$$(LINEAR_SRC)) $(1)/libtest.a \
		$(1)/libraftcask.a
	$(4) $$(LDFLAGS) $(3) -pthread -o $$@ $$^ -ljson-c $$(LIBS_CORE)
$(1)/sim: $$(patsubst %.c,$(1)/o/%.o,$$(SIM_SRC)) $(1)/libtest.a \
		$(1)/libraftcask.a
	$(4) $$(LDFLAGS) $(3) -pthread -o $$@ $$^ -lcmocka -ljson-c \
		$$(LIBS_CORE)
$(1)/libtest.a: $$(patsubst %.c,$(1)/o/%.o,$$(TEST_LIB_SRC))
	@rm -f $$@
	ar rcs $$@ $$^
$(1)/t/%: $(1)/o/tests/%.o $(1)/libtest.a $(1)/libraftcask.a
	@mkdir -p $$(@D)
	$(4) $$(LDFLAGS) $(3) -pthread $$(WRAP) -o $$@ -Wl,--start-group $$^ \
		-Wl,--end-group $$(LIBS_TEST) $$(LIBS_CORE)
$(1)/replay/%: $(1)/o/tests/fuzz/%.o $(1)/o/tests/fuzz/replay.o \
		$(1)/libraftcask.a
	@mkdir -p $$(@D)
	$(4) $$(LDFLAGS) $(3) -pthread -o $$@ $$^ $$(LIBS_DAEMON) $$(LIBS_CORE)
-include $$(shell find $(1)/o -name '*.d' 2>/dev/null)
endef

$(eval $(call flavour,$(B),,,$$(CC)))
SAN_ASAN := -O1 -fno-omit-frame-pointer -DDEBUG -fsanitize=address,undefined \
	-fno-sanitize-recover=undefined
SAN_TSAN := -O1 -fno-omit-frame-pointer -DDEBUG -fsanitize=thread
$(eval $(call flavour,$(B)/asan,$(SAN_ASAN),$(SAN_ASAN),$$(CC)))
$(eval $(call flavour,$(B)/tsan,$(SAN_TSAN),$(SAN_TSAN),$$(CLANG)))
# NULL + 0, of views of no bytes, is what clang alone complains of (and C2y
# allows).
SAN_FUZZ := -O1 -fno-omit-frame-pointer -DDEBUG \
	-fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize=pointer-overflow \
	-fno-sanitize-recover=undefined -fprofile-instr-generate \
	-fcoverage-mapping
LINK_FUZZ := -fsanitize=fuzzer,address,undefined -fprofile-instr-generate
$(eval $(call flavour,$(B)/fuzz,$(SAN_FUZZ),$(LINK_FUZZ),$$(CLANG)))
$(eval $(call flavour,$(B)/cov,--coverage -O0,--coverage,$$(CC)))

PROGRAMS := $(if $(NODE_SRC),$(B)/raftcaskd) $(if $(CTL_SRC),$(B)/raftcask)
HELPER := $(B)/raftcask-mount-helper
TESTS := $(patsubst tests/%.c,$(B)/t/%,$(TEST_SRC))
REPLAYS := $(patsubst tests/fuzz/%.c,$(B)/replay/%,$(FUZZ_SRC))

help: ## show the goals
	@sed -e ':a' -e '/\\$$/N; s/\\\n//; ta' Makefile | \
		sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' | \
		while IFS='|' read -r goal text; do \
			printf '%-12s %s\n' "$$goal" "$$text"; done

all: $(PROGRAMS) $(HELPER) $(B)/raftscript ## build the programs into build/

deps: ## install the packages that building and testing need
	packaging/install-deps $(DEPS)

RUN_HTTP ?= 127.0.0.1:8080
run: deps ## build and run one node in the foreground: data/, mounted at mnt/
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@echo
	@exec packaging/run-node $(B)/raftcaskd data $(RUN_HTTP) mnt

cluster: deps ## build and run three nodes on loopback: data/n1.., mnt/n1..
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@exec packaging/run-cluster $(B)/raftcaskd data mnt

test: deps ## install what is missing, build, run every test
	@$(MAKE) --no-print-directory -j$(JOBS) all tests
	@$(MAKE) --no-print-directory check

check: all tests ## run every test with what is installed
	@tests/run $(TESTS) $(TEST_SH)

# The simulator compiled as a whole, for many seeds: a quarter faster.
FAST_SRC := $(filter-out base/log_os.c,\
	$(foreach d,base engine raft store,$(wildcard $(d)/*.c))) \
	$(SIM_SRC) $(wildcard tests/lib/cluster_*.c tests/lib/linear*.c)
$(B)/fast/o/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(STD) $(CPPFLAGS) $(CFLAGS) -O3 -flto -MMD -MP -c -o $@ $<
$(B)/fast/sim: $(patsubst %.c,$(B)/fast/o/%.o,$(FAST_SRC))
	$(CC) $(LDFLAGS) $(CFLAGS) -O3 -flto=auto -pthread -o $@ $^ -lcmocka \
		-ljson-c $(LIBS_CORE)
-include $(shell find $(B)/fast/o -name '*.d' 2>/dev/null)

# One seed decides a whole run: SEED=n [TRACE=1], or SEEDS=n [START=n].
SEEDS ?= 100
START ?= 1
sim: ## simulate clusters under faults, SEEDS= of them (or one SEED= TRACE=1)
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/fast/sim
	@$(B)/fast/sim $(if $(SEED),-s $(SEED) $(if $(TRACE),-t),-s $(START) \
		-n $(SEEDS) -j $(JOBS))

# One seed decides faults and clients; CHAOS= takes more flags of chaos.py.
CHAOS_S ?= 600
chaos: ## a real cluster under all faults for CHAOS_S= seconds (SEED=)
	@$(MAKE) --no-print-directory -j$(JOBS) all $(B)/linear
	@BUILD=$(B) python3 -B tests/chaos/chaos.py --seconds $(CHAOS_S) \
		$(if $(SEED),--seed $(SEED)) $(CHAOS)

bench: ## all beside their peers, one report (BENCH=--quick PARTS="engine")
	packaging/install-deps bench
	@$(MAKE) --no-print-directory -j$(JOBS) all bench-programs
	@bench/run.py $(BENCH) $(PARTS)

bench-programs: $(patsubst bench/%.c,$(B)/bench/%,$(BENCH_SRC))

mutants: export COMPILE = $(CC) $(STD) $(CPPFLAGS) $(CFLAGS)
mutants: export LINK = $(CC) $(LDFLAGS) -pthread -o @OUT@ @OBJECT@ \
	$(patsubst %.c,$(B)/o/%.o,$(SIM_SRC)) $(B)/libtest.a \
	$(B)/libraftcask.a -lcmocka -ljson-c $(LIBS_CORE)
mutants: ## plant known bugs; the simulator must find each (MUTANT=name)
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/sim
	@BUILD=$(B) python3 -B tests/mutants/run.py -n $(or $(SEEDS),400) $(MUTANT)

chaos-mutants: export COMPILE = $(CC) $(STD) $(CPPFLAGS) $(CFLAGS)
chaos-mutants: export LINK = $(CC) $(LDFLAGS) -pthread -o @OUT@ @OBJECT@ \
	$(B)/o/node/main.o $(B)/libraftcask.a $(LIBS_DAEMON) $(LIBS_CORE)
chaos-mutants: ## plant bugs in the daemon; chaos must find each (MUTANT=name)
	@$(MAKE) --no-print-directory -j$(JOBS) all $(B)/linear
	@BUILD=$(B) python3 -B tests/mutants/run.py --chaos \
		-n $(or $(SEEDS),3) $(MUTANT)

asan: tests-asan ## the tests under AddressSanitizer and UBSan
	@BUILD=$(B)/asan UBSAN_OPTIONS=print_stacktrace=1 tests/run -t 600 \
		$(patsubst $(B)/t/%,$(B)/asan/t/%,$(TESTS)) \
		tests/fuzz/test_corpus.sh

tsan: tests-tsan ## the tests under ThreadSanitizer
	@BUILD=$(B)/tsan tests/run -t 600 \
		$(patsubst $(B)/t/%,$(B)/tsan/t/%,$(TESTS))

lint: ## what a machine can see of the style
	@tests/lint

# One test program by hand: make build/t/base/test_crc32c && build/t/...
tests: $(PROGRAMS) $(HELPER) $(TESTS) $(B)/linear $(B)/sim $(REPLAYS)
tests-asan: $(patsubst $(B)/t/%,$(B)/asan/t/%,$(TESTS)) $(B)/asan/raftscript \
	$(patsubst $(B)/%,$(B)/asan/%,$(PROGRAMS) $(HELPER) $(REPLAYS))
tests-tsan: $(patsubst $(B)/t/%,$(B)/tsan/t/%,$(TESTS)) \
	$(patsubst $(B)/%,$(B)/tsan/%,$(PROGRAMS) $(HELPER))

# Benchmarks link every peer; the archive brings in only what each one uses.
$(B)/libbench.a: $(patsubst %.c,$(B)/o/%.o,$(BENCH_LIB_SRC))
	@rm -f $@
	ar rcs $@ $^
$(B)/bench/%: $(B)/o/bench/%.o $(B)/libbench.a $(B)/libraftcask.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -pthread -o $@ $^ $(LIBS_bench) $(LIBS_DAEMON) \
		$(LIBS_CORE)

# Both analyzers: each finds what the other misses. A finding fails the goal.
# gcc 12 takes a pointer to a first member for a leak: leaks are clang's part.
PRODUCT_SRC := $(LIB_SRC) $(NODE_SRC) $(HELPER_SRC) $(CTL_SRC)
$(B)/analyze/%.gcc: %.c
	@mkdir -p $(@D)
	gcc $(STD) $(CPPFLAGS) -O1 -fanalyzer -Werror \
		-Wno-analyzer-malloc-leak -c -MMD -MP -MF $@.d -MT $@ \
		-o $@ $<
$(B)/analyze/%.clang: %.c
	@mkdir -p $(@D)
	$(CLANG) --analyze --analyzer-output text -Xclang -analyzer-werror \
		$(STD) $(CPPFLAGS) -Wno-unused-command-line-argument $<
	@touch $@
$(B)/analyze/httpd/page.gcc $(B)/analyze/httpd/page.clang: $(PAGE)
-include $(shell find $(B)/analyze -name '*.d' 2>/dev/null)

analyze: $(patsubst %.c,$(B)/analyze/%.gcc,$(PRODUCT_SRC)) \
		$(patsubst %.c,$(B)/analyze/%.clang,$(PRODUCT_SRC)) ## static analysis

# Also seeds of the simulator, the corpus, and black-box tests that are cheap
# and reach what programs do only when they run (COV_SH=).
COV_SEEDS ?= 20
COV_SH ?= tests/node/test_damage.sh tests/node/test_daemon.sh \
	tests/blackbox/test_backup.sh
COV_TESTS := $(patsubst $(B)/t/%,$(B)/cov/t/%,$(TESTS))
tests-cov: $(COV_TESTS) $(B)/cov/sim $(B)/cov/raftscript \
	$(patsubst $(B)/%,$(B)/cov/%,$(PROGRAMS) $(HELPER) $(REPLAYS))
cov: tests-cov ## which lines the tests reach, by file
	@find $(B)/cov -name '*.gcda' -delete
	@bad=0; BUILD=$(B)/cov PATIENCE_S=60 tests/run -t 900 $(COV_TESTS) \
		tests/fuzz/test_corpus.sh $(COV_SH) || bad=1; \
	$(B)/cov/sim -q -s 1 -n $(COV_SEEDS) -j $(JOBS) || bad=1; \
	tests/coverage $(B)/cov $(LIB_SRC) && exit $$bad

# Each target runs for FUZZ_SECONDS; what it learns stays below build/fuzz/.
# With 0 the corpus of the tree runs once, for what it reaches.
FUZZ_SECONDS ?= 10
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(FUZZ_SRC))
$(B)/fuzz/fuzz_%: $(B)/fuzz/o/tests/fuzz/fuzz_%.o $(B)/fuzz/libraftcask.a
	$(CLANG) $(LDFLAGS) $(LINK_FUZZ) -pthread -o $@ $^ $(LIBS_DAEMON) \
		$(LIBS_CORE)

fuzz: $(FUZZERS) ## fuzz every decoder for FUZZ_SECONDS each (FUZZ="wire hint")
	@tests/fuzz/fuzz $(FUZZ_SECONDS) $(B)/fuzz $(or $(FUZZ),\
		$(patsubst tests/fuzz/fuzz_%.c,%,$(FUZZ_SRC)))

# Where the parts go. A packager sets prefix=/usr sysconfdir=/etc; the daemon
# looks for its configuration in /etc whatever prefix is.
bindir ?= $(prefix)/bin
libexecdir ?= $(prefix)/libexec
mandir ?= $(prefix)/share/man
completiondir ?= $(prefix)/share/bash-completion/completions
sysconfdir ?= /etc
unitdir ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
D := $(DESTDIR)
MANUALS := $(wildcard docs/man/*.[1-8])
man_of = $(D)$(mandir)/man$(subst .,,$(suffix $(1)))/$(notdir $(1))

install: all ## install programs, manuals, unit below $(DESTDIR)$(prefix)
	install -d $(D)$(bindir) $(D)$(libexecdir) $(D)$(unitdir) \
		$(D)$(sysusersdir) $(D)$(tmpfilesdir) $(D)$(completiondir) \
		$(D)$(sysconfdir)/raftcask/conf.d
	install -m 755 $(PROGRAMS) $(D)$(bindir)
	install -m 755 $(HELPER) $(D)$(libexecdir)
	for m in $(MANUALS); do install -D -m 644 $$m \
		$(D)$(mandir)/man$${m##*.}/$${m##*/} || exit 1; done
	install -m 644 packaging/raftcask.bash $(D)$(completiondir)/raftcask
	sed 's,@BINDIR@,$(bindir),; s,@LIBEXECDIR@,$(libexecdir),' \
		packaging/systemd/raftcask.service.in \
		>$(D)$(unitdir)/raftcask.service
	chmod 644 $(D)$(unitdir)/raftcask.service
	install -m 644 packaging/systemd/raftcask.sysusers \
		$(D)$(sysusersdir)/raftcask.conf
	install -m 644 packaging/systemd/raftcask.tmpfiles \
		$(D)$(tmpfilesdir)/raftcask.conf
	[ -e $(D)$(sysconfdir)/raftcask/raftcask.conf ] || \
		install -m 644 conf/raftcask.conf $(D)$(sysconfdir)/raftcask

uninstall: ## remove what install put there; configuration and data stay
	rm -f $(patsubst $(B)/%,$(D)$(bindir)/%,$(PROGRAMS)) \
		$(patsubst $(B)/%,$(D)$(libexecdir)/%,$(HELPER)) \
		$(foreach m,$(MANUALS),$(call man_of,$(m))) \
		$(D)$(completiondir)/raftcask $(D)$(unitdir)/raftcask.service \
		$(D)$(sysusersdir)/raftcask.conf \
		$(D)$(tmpfilesdir)/raftcask.conf

deb: ## build the Debian packages into build/deb/
	packaging/install-deps deb
	@packaging/build-deb $(B)/deb

deb-test: ## build, judge, install, upgrade, purge the packages in a container
	packaging/install-deps deb debtest
	@BUILD=$(B) tests/run -t 3600 tests/packaging/test_deb.sh

clean: ## remove build/
	rm -rf $(B)

.SECONDARY:
