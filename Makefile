# raftcask - see README.md. One file; sources by wildcard; one object tree per
# flavour under build/. DESTDIR, prefix, CC, CFLAGS belong to the packager.

prefix ?= /usr/local
DESTDIR ?=
CC ?= gcc
CFLAGS ?= -O2 -g
CLANG ?= clang

B := build
STD := -std=gnu11 -D_GNU_SOURCE -I. -pthread -fno-strict-aliasing \
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wvla -Wno-unused-parameter -Werror=implicit -Werror=return-type \
	-Werror=switch
VERSION := $(shell cat VERSION)
STD += -DRAFTCASK_VERSION='"$(VERSION)"'
LIBS_CORE := -lm
LIBS_DAEMON := -lmicrohttpd -ljson-c -lconfig
LIBS_CTL := -lcurl -ljson-c
LIBS_TEST := -lcmocka $(LIBS_DAEMON) $(LIBS_CTL)

LIBS_bench := -Wl,--as-needed -llmdb -lleveldb -lrocksdb

LIB_DIRS := base conf engine raft store httpd
LIB_SRC := $(foreach d,$(LIB_DIRS),$(wildcard $(d)/*.c))
NODE_SRC := $(wildcard node/*.c)
CTL_SRC := $(wildcard ctl/*.c)
TEST_SRC := $(wildcard tests/*/test_*.c)
TEST_LIB_SRC := $(wildcard tests/lib/*.c)
BENCH_SRC := $(wildcard bench/bench_*.c)
BENCH_LIB_SRC := $(wildcard bench/lib/*.c)

.DEFAULT_GOAL := all
.PHONY: help all check clean lint deps
.DELETE_ON_ERROR:

# flavour: object tree, extra compile flags, extra link flags, compiler
define flavour
$(1)_OBJ = $$(patsubst %.c,$(1)/o/%.o,$$(1))
$(1)/o/%.o: %.c
	@mkdir -p $$(@D)
	$(4) $$(STD) $$(CPPFLAGS) $$(CFLAGS) $(2) -MMD -MP -c -o $$@ $$<
$(1)/libraftcask.a: $$(patsubst %.c,$(1)/o/%.o,$$(LIB_SRC))
	@rm -f $$@
	ar rcs $$@ $$^
$(1)/raftcaskd: $$(patsubst %.c,$(1)/o/%.o,$$(NODE_SRC)) $(1)/libraftcask.a
	$(4) $$(LDFLAGS) $(3) -pthread -o $$@ $$^ $$(LIBS_DAEMON) $$(LIBS_CORE)
$(1)/raftcask: $$(patsubst %.c,$(1)/o/%.o,$$(CTL_SRC)) $(1)/libraftcask.a
	$(4) $$(LDFLAGS) $(3) -pthread -o $$@ $$^ $$(LIBS_CTL) $$(LIBS_CORE)
$(1)/libtest.a: $$(patsubst %.c,$(1)/o/%.o,$$(TEST_LIB_SRC))
	@rm -f $$@
	ar rcs $$@ $$^
$(1)/t/%: $(1)/o/tests/%.o $(1)/libtest.a $(1)/libraftcask.a
	@mkdir -p $$(@D)
	$(4) $$(LDFLAGS) $(3) -pthread -o $$@ $$^ $$(LIBS_TEST) $$(LIBS_CORE)
-include $$(shell find $(1)/o -name '*.d' 2>/dev/null)
endef

$(eval $(call flavour,$(B),,,$$(CC)))
SAN_ASAN := -O1 -fno-omit-frame-pointer -DDEBUG -fsanitize=address,undefined \
	-fno-sanitize-recover=undefined
SAN_TSAN := -O1 -fno-omit-frame-pointer -DDEBUG -fsanitize=thread
$(eval $(call flavour,$(B)/asan,$(SAN_ASAN),$(SAN_ASAN),$$(CC)))
$(eval $(call flavour,$(B)/tsan,$(SAN_TSAN),$(SAN_TSAN),$$(CLANG)))

PROGRAMS := $(if $(NODE_SRC),$(B)/raftcaskd) $(if $(CTL_SRC),$(B)/raftcask)
TESTS := $(patsubst tests/%.c,$(B)/t/%,$(TEST_SRC))

all: $(PROGRAMS)

# One test program by hand: make build/t/base/test_crc32c && build/t/...
tests: $(PROGRAMS) $(TESTS)
tests-asan: $(patsubst $(B)/t/%,$(B)/asan/t/%,$(TESTS)) \
	$(patsubst $(B)/%,$(B)/asan/%,$(PROGRAMS))
tests-tsan: $(patsubst $(B)/t/%,$(B)/tsan/t/%,$(TESTS)) \
	$(patsubst $(B)/%,$(B)/tsan/%,$(PROGRAMS))

# Benchmarks link every peer; the archive brings in only what each one uses.
$(B)/libbench.a: $(patsubst %.c,$(B)/o/%.o,$(BENCH_LIB_SRC))
	@rm -f $@
	ar rcs $@ $^
$(B)/bench/%: $(B)/o/bench/%.o $(B)/libbench.a $(B)/libraftcask.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -pthread -o $@ $^ $(LIBS_bench) $(LIBS_DAEMON) \
		$(LIBS_CORE)

clean:
	rm -rf $(B)

.SECONDARY:
