/*
 * Any file may be called raftcask.conf: whatever its bytes, loading answers,
 * with faults told by line; what is accepted prints as a file that is accepted
 * again with the same settings.
 *
 * Decodes: conf/load.c conf/value.c conf/print.c
 * Decodes in part: conf/check.c
 */
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "conf/conf.h"

/* libconfig 1.5 leaks the text it holds when a syntax error ends the parse. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so\n";
}

/* A file in memory, reached by its name below /proc. */
static int memory_file(const void *data, size_t n, char path[64])
{
	int fd = memfd_create("conf", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK(write(fd, data, n) == (ssize_t)n);
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

static void fail_on_difference(void *ctx, const char *key, bool reloadable)
{
	CHECK(!"what was printed reads back differently");
}

static void print_and_load(const struct conf *c)
{
	struct buf text = BUF_INIT, errors = BUF_INIT;
	struct conf *again;
	char path[64];
	int fd;

	CHECK(conf_print(c, &text) == OK);
	CHECK(conf_new(&again) == OK);
	fd = memory_file(text.p, text.n, path);
	CHECK(conf_load(again, vfs_os(), path, false, &errors) == OK);
	CHECK(conf_compare(c, again, fail_on_difference, NULL) == OK);
	close(fd);
	conf_free(again);
	buf_done(&errors);
	buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf errors = BUF_INIT, warnings = BUF_INIT;
	struct conf *c;
	char path[64];
	int fd = memory_file(data, n, path);

	CHECK(conf_new(&c) == OK);
	if (conf_load(c, vfs_os(), path, false, &errors) == OK) {
		CHECK(errors.n == 0);
		print_and_load(c);
		if (conf_check(c, &errors, &warnings))
			CHECK(errors.n > 0);
	} else {
		CHECK(errors.n > 0);
	}
	close(fd);
	conf_free(c);
	buf_done(&warnings);
	buf_done(&errors);
	return 0;
}
