/*
 * A real daemon is killed with SIGKILL under concurrent writers, with small
 * files so that merges go on all the time, and started again: every write that
 * was acknowledged is there, byte for byte, no deleted key is back, and of the
 * one write that each writer had under way either all or nothing happened.
 *
 * CYCLES= lengthens it (default 12), SEED= replays the choices (not the
 * timing). $BUILD has the daemon.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>

#include "base/bytes.h"
#include "base/seed.h"
#include "tests/lib/tmpdir.h"

enum {
	WRITERS = 6,
	KEYS = 60, /* of each writer */
	VALUE_BYTES_MAX = 300000,
	READY_MS_MAX = 60000,
};

/* What a key holds: number 0 is "absent", else the write that made it. */
struct key {
	uint64_t acked; /* the last write that was answered            */
	uint64_t open;	/* the one whose answer never came, if in_doubt */
	bool in_doubt;
};

struct writer {
	int number;
	struct key key[KEYS];
	uint64_t count; /* writes so far, all cycles */
	uint64_t acked;
	struct seed seed;
	CURL *curl;
	pthread_t thread;
};

static char *dir;
static char url[64];
static pid_t daemon_pid;
static _Atomic bool writing;
static struct writer writers[WRITERS];
static CURL *reader; /* the main thread's connection */

static void pause_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

/* ------------------------------------------------------------- the daemon */

static void write_config(void)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/conf", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f,
		"node: { data_dir = \"%s/data\"; };\n"
		"http: { listen = [ \"127.0.0.1:0\" ]; };\n"
		"storage: { max_file_size = \"1M\"; min_free_disk = \"1M\";\n"
		"  merge: { dead_ratio = 0.1; dead_bytes = \"64K\";\n"
		"           small_file = \"256K\"; rate = \"0\"; }; };\n",
		dir);
	assert_int_equal(fclose(f), 0);
}

/* The URL from the line that says ready, or false. */
static bool read_ready(const char *log)
{
	char line[2048];
	FILE *f = fopen(log, "r");
	bool found = false;

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		char *from = strstr(line, " ready ");

		from = from ? strstr(from, "http=\"") : NULL;
		if (from) {
			from += 6;
			snprintf(url, sizeof(url), "%.*s",
				 (int)strcspn(from, "\" \n"), from);
			found = true;
		}
	}
	fclose(f);
	return found;
}

static void show(const char *log)
{
	FILE *f = fopen(log, "r");
	char line[2048];

	while (f && fgets(line, sizeof(line), f))
		fputs(line, stderr);
	if (f)
		fclose(f);
}

static void start_daemon(void)
{
	const char *build = getenv("BUILD");
	char program[512], log[256], config[256];
	int status;

	snprintf(program, sizeof(program), "%s/raftcaskd",
		 build ? build : "build");
	snprintf(log, sizeof(log), "%s/log", dir);
	snprintf(config, sizeof(config), "%s/conf", dir);
	unlink(log);
	daemon_pid = fork();
	assert_true(daemon_pid >= 0);
	if (daemon_pid == 0) {
		if (!freopen(log, "w", stderr))
			_exit(126);
		execl(program, program, "--config", config, (char *)NULL);
		_exit(127);
	}
	for (int ms = 0; !read_ready(log); ms += 5) {
		if (waitpid(daemon_pid, &status, WNOHANG) == daemon_pid ||
		    ms > READY_MS_MAX) {
			show(log);
			fail_msg("the daemon did not start");
		}
		pause_ms(5);
	}
}

static void kill_daemon(int signal, int want)
{
	int status;

	assert_int_equal(kill(daemon_pid, signal), 0);
	assert_int_equal(waitpid(daemon_pid, &status, 0), daemon_pid);
	if (signal == SIGKILL)
		assert_true(WIFSIGNALED(status));
	else
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == want);
	daemon_pid = 0;
}

/* -------------------------------------------------------------- exchanges */

static size_t take_body(char *p, size_t size, size_t n, void *ctx)
{
	return buf_add(ctx, p, size * n) ? 0 : size * n;
}

/* The status of the answer, 0 when none came whole. */
static long call(CURL *curl, const char *method, const char *path,
		 struct bytes body, struct buf *answer)
{
	struct curl_slist *headers = NULL;
	char full[256];
	long status = 0;

	curl_easy_reset(curl);
	snprintf(full, sizeof(full), "%s%s", url, path);
	headers = curl_slist_append(headers,
				    "Content-Type: application/octet-stream");
	headers = curl_slist_append(headers, "Expect:");
	curl_easy_setopt(curl, CURLOPT_URL, full);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 30000L);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	if (strcmp(method, "GET") != 0) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)body.n);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS,
				 body.n ? (const char *)body.p : "");
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	}
	answer->n = 0;
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	if (curl_easy_perform(curl) == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	return status;
}

/* The value that write number of writer w stored: its length and bytes. */
static size_t make_value(int w, uint64_t number, uint8_t *value)
{
	struct seed s;
	size_t n;

	seed_init(&s, number * WRITERS + (uint64_t)w);
	n = seed_below(&s, 64) == 0 ? seed_below(&s, VALUE_BYTES_MAX)
				    : seed_below(&s, 6000);
	for (size_t i = 0; i < n; i++)
		value[i] = (uint8_t)(number + i * 7 + (i >> 8));
	return n;
}

static void make_path(const struct writer *w, int k, char path[64])
{
	snprintf(path, 64, "/_/kv/w%d/key-%d?raw", w->number, k);
}

/* ---------------------------------------------------------------- writers */

static void write_once(struct writer *w, uint8_t *value, struct buf *answer)
{
	int k = (int)seed_below(&w->seed, KEYS);
	bool put = seed_below(&w->seed, 10) < 7;
	struct key *key = &w->key[k];
	uint64_t number = ++w->count;
	size_t n = put ? make_value(w->number, number, value) : 0;
	char path[64];
	long status;

	make_path(w, k, path);
	key->open = put ? number : 0;
	key->in_doubt = true;
	status = call(w->curl, put ? "PUT" : "DELETE", path, bytes_of(value, n),
		      answer);
	if (status / 100 == 2) {
		key->acked = key->open;
		key->in_doubt = false;
		w->acked++;
	} else if (status != 0 && status != 504) {
		key->in_doubt = false; /* refused: nothing was done */
	}
	if (status == 0 || status == 504)
		atomic_store(&writing, false);
}

static void *write_many(void *arg)
{
	struct writer *w = arg;
	uint8_t *value = malloc(VALUE_BYTES_MAX);
	struct buf answer = BUF_INIT;

	while (atomic_load(&writing)) {
		write_once(w, value, &answer);
		if (w->number == 0 && w->count % 100 == 0)
			call(w->curl, "POST", "/_/merge", bytes_of(NULL, 0),
			     &answer);
	}
	buf_done(&answer);
	free(value);
	return NULL;
}

/* ----------------------------------------------------------- verification */

static bool holds(const struct writer *w, uint64_t number, long status,
		  const struct buf *answer, uint8_t *value)
{
	size_t n;

	if (number == 0)
		return status == 404;
	n = make_value(w->number, number, value);
	return status == 200 && answer->n == n &&
	       (n == 0 || memcmp(answer->p, value, n) == 0);
}

/* Read every key; what a write in doubt came to is known afterwards. */
static uint64_t verify(void)
{
	uint8_t *value = malloc(VALUE_BYTES_MAX);
	struct buf answer = BUF_INIT;
	uint64_t present = 0;
	char path[64];

	for (int i = 0; i < WRITERS * KEYS; i++) {
		struct writer *w = &writers[i / KEYS];
		struct key *key = &w->key[i % KEYS];
		long status;

		make_path(w, i % KEYS, path);
		status = call(reader, "GET", path, bytes_of(NULL, 0), &answer);
		if (key->in_doubt &&
		    holds(w, key->open, status, &answer, value))
			key->acked = key->open;
		else if (!holds(w, key->acked, status, &answer, value))
			fail_msg("%s: status %ld, %zu bytes; wanted write "
				 "%llu%s",
				 path, status, answer.n,
				 (unsigned long long)key->acked,
				 key->in_doubt ? " or the one in doubt" : "");
		key->in_doubt = false;
		present += key->acked != 0;
	}
	buf_done(&answer);
	free(value);
	return present;
}

/* A listing has exactly the keys that single reads find. */
static void verify_listing(uint64_t present)
{
	struct buf answer = BUF_INIT;
	uint64_t listed = 0;

	assert_int_equal(call(reader, "GET", "/_/kv?prefix=w&limit=1000",
			      bytes_of(NULL, 0), &answer),
			 200);
	assert_int_equal(buf_add(&answer, "", 1), OK);
	for (char *p = (char *)answer.p; (p = strstr(p, "\"key\":")); p++)
		listed++;
	assert_int_equal(listed, present);
	buf_done(&answer);
}

static uint64_t number_in_metrics(const char *name)
{
	struct buf answer = BUF_INIT;
	uint64_t number = 0;
	char *p;

	assert_int_equal(
		call(reader, "GET", "/_/metrics", bytes_of(NULL, 0), &answer),
		200);
	assert_int_equal(buf_add(&answer, "", 1), OK);
	for (p = (char *)answer.p; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, name, strlen(name)) == 0 &&
		    p[strlen(name)] == ' ')
			number = strtoull(p + strlen(name), NULL, 10);
	}
	buf_done(&answer);
	return number;
}

static void run_cycle(struct seed *s, uint64_t *merges)
{
	uint64_t present;

	start_daemon();
	present = verify();
	verify_listing(present);
	atomic_store(&writing, true);
	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&writers[i].thread, NULL,
						write_many, &writers[i]),
				 0);
	pause_ms(100 + (long)seed_below(s, 900));
	*merges += number_in_metrics("raftcask_merges_total");
	kill_daemon(SIGKILL, 0);
	atomic_store(&writing, false);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
}

static void no_acknowledged_write_is_lost_and_no_deleted_key_back(void **state)
{
	const char *env = getenv("CYCLES"), *seed_env = getenv("SEED");
	int cycles = env ? atoi(env) : 12;
	uint64_t n = seed_env ? strtoull(seed_env, NULL, 0) : 9001;
	uint64_t acked = 0, merges = 0;
	struct seed s;

	print_message("SEED=%llu CYCLES=%d\n", (unsigned long long)n, cycles);
	seed_init(&s, n);
	for (int i = 0; i < WRITERS; i++) {
		writers[i].number = i;
		writers[i].curl = curl_easy_init();
		seed_init(&writers[i].seed, seed_next(&s));
		assert_non_null(writers[i].curl);
	}
	reader = curl_easy_init();
	assert_non_null(reader);
	write_config();
	for (int i = 0; i < cycles; i++)
		run_cycle(&s, &merges);
	start_daemon();
	verify_listing(verify());
	kill_daemon(SIGTERM, 0);
	start_daemon();
	verify_listing(verify());
	kill_daemon(SIGINT, 0);
	for (int i = 0; i < WRITERS; i++) {
		acked += writers[i].acked;
		curl_easy_cleanup(writers[i].curl);
	}
	curl_easy_cleanup(reader);
	print_message("%llu acknowledged writes, %llu merges\n",
		      (unsigned long long)acked, (unsigned long long)merges);
	assert_true(acked > 0);
	assert_true(merges > 0);
}

static int set_up(void **state)
{
	dir = tmpdir_make();
	return curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int tear_down(void **state)
{
	if (daemon_pid > 0)
		kill(daemon_pid, SIGKILL);
	tmpdir_remove(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			no_acknowledged_write_is_lost_and_no_deleted_key_back),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
