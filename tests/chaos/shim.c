/*
 * tests/chaos/shim.c - a disk that is slow or fails, and clocks that jump.
 *
 * Preloaded into a daemon (LD_PRELOAD). The file that $CHAOS_FAULTS names is
 * mapped, and looked at in every call; tests/chaos/rig.py writes it:
 *
 *    off size
 *      0    4  sync_delay_ms  each fdatasync and fsync takes so much longer
 *      4    4  sync_errno     not 0: they fail with it
 *      8    4  write_errno    not 0: pwritev fails with it
 *     12    4  read_errno     not 0: every eighth pread fails with it
 *     16    8  wall_ns        added to CLOCK_REALTIME, signed
 *     24    8  boot_ns        added to CLOCK_BOOTTIME, signed
 *     32    4  write_delay_ms each pwritev takes so much longer
 *
 * Without the variable every call goes through. CLOCK_MONOTONIC is left alone:
 * waits in the kernel go by it. The rig gives a daemon another one with a time
 * namespace.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct faults {
	uint32_t sync_delay_ms, sync_errno, write_errno, read_errno;
	int64_t wall_ns, boot_ns;
	uint32_t write_delay_ms, zero;
};
_Static_assert(sizeof(struct faults) == 40, "as the rig writes it");

static const volatile struct faults none;
static const volatile struct faults *faults = &none;
static _Atomic unsigned reads;

__attribute__((constructor)) static void look(void)
{
	const char *path = getenv("CHAOS_FAULTS");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *at;

	if (fd < 0)
		return;
	at = mmap(NULL, sizeof(struct faults), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (at != MAP_FAILED)
		faults = at;
}

static void wait_ms(uint32_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000,
			      .tv_nsec = ms % 1000 * 1000000L };

	while (ms && nanosleep(&t, &t))
		;
}

static int fail(uint32_t error)
{
	errno = (int)error;
	return -1;
}

int fdatasync(int fd)
{
	wait_ms(faults->sync_delay_ms);
	if (faults->sync_errno)
		return fail(faults->sync_errno);
	return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	wait_ms(faults->sync_delay_ms);
	if (faults->sync_errno)
		return fail(faults->sync_errno);
	return (int)syscall(SYS_fsync, fd);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t off)
{
	wait_ms(faults->write_delay_ms);
	if (faults->write_errno)
		return fail(faults->write_errno);
	return syscall(SYS_pwritev, fd, iov, (unsigned long)count,
		       (unsigned long)off, 0ul);
}

/* A file of the data directory; the configuration lies elsewhere. */
static int is_data(int fd)
{
	char name[64], path[512];
	ssize_t n;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	n = readlink(name, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = 0;
	return strstr(path, "/data/") != NULL;
}

ssize_t pread(int fd, void *p, size_t n, off_t off)
{
	if (faults->read_errno && is_data(fd) && reads++ % 8 == 0)
		return fail(faults->read_errno);
	return syscall(SYS_pread64, fd, p, n, off);
}

int clock_gettime(clockid_t id, struct timespec *t)
{
	static int (*real)(clockid_t, struct timespec *);
	int64_t more = id == CLOCK_REALTIME   ? faults->wall_ns
		       : id == CLOCK_BOOTTIME ? faults->boot_ns
					      : 0;
	int64_t now;
	int rc;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(
			RTLD_NEXT, "clock_gettime");
	rc = real ? real(id, t) : (int)syscall(SYS_clock_gettime, id, t);
	if (rc == 0 && more) {
		now = t->tv_sec * 1000000000ll + t->tv_nsec + more;
		t->tv_sec = now / 1000000000;
		t->tv_nsec = now % 1000000000;
	}
	return rc;
}
