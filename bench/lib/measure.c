/*
 * bench/lib/measure.c - see measure.h.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/seed.h"
#include "bench/lib/measure.h"

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void bench_dir_new(char *dir, unsigned bytes)
{
	const char *base = getenv("BENCH_DIR");

	snprintf(dir, bytes, "%s/data-XXXXXX", base ? base : "build/bench");
	if (!mkdtemp(dir)) {
		perror(dir);
		exit(1);
	}
}

void bench_dir_remove(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	char path[4096];

	while (d && (entry = readdir(d))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		if (unlink(path))
			bench_dir_remove(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

uint64_t bench_dir_bytes(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	struct stat st;
	char path[4096];
	uint64_t bytes = 0;

	while (d && (entry = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		if (!stat(path, &st) && S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
	}
	if (d)
		closedir(d);
	return bytes;
}

uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long size = 0, resident = 0;

	if (f && fscanf(f, "%lu %lu", &size, &resident) != 2)
		resident = 0;
	if (f)
		fclose(f);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void bench_key(char key[17], uint64_t number)
{
	memcpy(key, "key-", 4);
	for (int i = 15; i >= 4; i--) {
		key[i] = (char)('0' + number % 10);
		number /= 10;
	}
	key[16] = 0;
}

void bench_fill(void *p, size_t n)
{
	uint8_t *to = p;
	struct seed seed;

	seed_init(&seed, 7);
	for (size_t i = 0; i + 8 <= n; i += 8)
		put_u64(to + i, seed_next(&seed));
}

static const struct bench_part *find_part(const struct bench_part *parts,
					  size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(parts[i].name, name))
			return &parts[i];
	fprintf(stderr, "no part %s\n", name);
	exit(2);
}

void bench_run(int argc, char **argv, const struct bench_part *parts,
	       size_t count, bool *quick)
{
	const struct bench_part *chosen[64];
	size_t n = 0;

	guard_install();
	log_set_level(LOG_WARN);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick"))
			*quick = true;
		else if (n < sizeof(chosen) / sizeof(*chosen))
			chosen[n++] = find_part(parts, count, argv[i]);
	}
	for (size_t i = 0; i < n; i++)
		chosen[i]->run();
	for (size_t i = 0; n == 0 && i < count; i++)
		parts[i].run();
}
