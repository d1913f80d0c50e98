/*
 * tests/fuzz/replay.c - a fuzz target as a plain program: each file given, or
 * in a directory given, is one input. Linked with a target instead of
 * libFuzzer, so that any compiler and any sanitizer can run the corpus.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/check.h"

enum { PATH_BYTES = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int runs;

static void run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p;
	long n;

	CHECK(f);
	CHECK(fseek(f, 0, SEEK_END) == 0);
	n = ftell(f);
	CHECK(n >= 0);
	rewind(f);
	p = malloc(n ? (size_t)n : 1);
	CHECK(p);
	CHECK(fread(p, 1, (size_t)n, f) == (size_t)n);
	fclose(f);
	(void)LLVMFuzzerTestOneInput(p, (size_t)n);
	free(p);
	runs++;
}

static void run_directory(const char *path)
{
	char name[PATH_BYTES];
	DIR *dir = opendir(path);
	struct dirent *d;

	CHECK(dir);
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, d->d_name);
		run_file(name);
	}
	closedir(dir);
}

int main(int argc, char **argv)
{
	struct stat st;

	for (int i = 1; i < argc; i++) {
		CHECK(stat(argv[i], &st) == 0);
		if (S_ISDIR(st.st_mode))
			run_directory(argv[i]);
		else
			run_file(argv[i]);
	}
	printf("%d inputs\n", runs);
	return runs ? 0 : 1;
}
