/*
 * base/process_os.c - see process.h; /proc says most of it.
 */
#include "base/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum err process_take_standard_files(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		/* The wrong way round: EBADF, as if it were closed. */
		int flags = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags) != fd)
			return ERR_IO;
	}
	return OK;
}

static uint64_t count_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n > 3 ? n - 3 : 0; /* without ".", ".." and the directory */
}

/*
 * The fields of /proc/self/stat that come after the name, which may hold
 * anything but is closed by the last parenthesis: from the third on.
 */
static void read_stat(struct process_figures *f)
{
	char text[1024], *p;
	unsigned long long start = 0;
	long threads = 0, rss = 0;
	struct timespec wall, boot;
	FILE *file = fopen("/proc/self/stat", "r");
	size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	if (file)
		fclose(file);
	text[n] = 0;
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1,
			 " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u "
			 "%*u %*d %*d %*d %*d %ld %*d %llu %*u %ld",
			 &threads, &start, &rss) != 3)
		return;
	f->threads = (uint64_t)threads;
	f->rss_bytes = (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE);
	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	f->start_s = (double)(wall.tv_sec - boot.tv_sec) +
		     (double)start / (double)sysconf(_SC_CLK_TCK);
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

void process_figures(struct process_figures *f)
{
	struct rusage usage;
	struct rlimit limit;

	*f = (struct process_figures){ .files = count_files() };
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		f->cpu_s = seconds(usage.ru_utime) + seconds(usage.ru_stime);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		f->files_max = limit.rlim_cur;
	read_stat(f);
}

void process_sign_file(const char *path)
{
	FILE *file = fopen(path, "r+e");

	if (!file)
		return;
	if (ftruncate(fileno(file), 0) == 0)
		fprintf(file, "%d\n", (int)getpid());
	fclose(file);
}

/* Others may own the directory: nothing but a file is read, nor waited for. */
static FILE *open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	FILE *file = NULL;
	struct stat st;

	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode))
		file = fdopen(fd, "r");
	if (fd >= 0 && !file)
		close(fd);
	return file;
}

bool process_of_file_is_ending(const char *path)
{
	char name[32], text[1024], *p, state = 0;
	FILE *file = open_file(path);
	int pid = 0;
	size_t n;

	if (!file)
		return false;
	if (fscanf(file, "%9d", &pid) != 1)
		pid = 0;
	fclose(file);
	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	file = pid > 0 ? fopen(name, "re") : NULL;
	if (!file)
		return false;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = 0;
	p = strrchr(text, ')');
	return p && sscanf(p + 1, " %c", &state) == 1 &&
	       (state == 'Z' || state == 'X');
}
