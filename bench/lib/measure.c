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
