/*
 * What a configuration file may say, and what is answered when it says
 * something else: exact lines, because they are what an operator reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/seed.h"
#include "conf/conf.h"
#include "tests/lib/fail_alloc.h"

static char dir[64];

static void write_file(const char *name, const char *text, size_t n)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void remove_file(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
}

static int make_dir(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/raftcask-conf-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	remove_file("a.conf");
	return rmdir(dir);
}

/* Load text as a.conf; errors have the directory's name taken off. */
static enum err load(const char *text, struct conf **c, char *errors,
		     size_t bytes)
{
	char path[128];
	struct buf b = BUF_INIT;
	size_t skip = strlen(dir) + 1, n = 0;
	enum err err;

	write_file("a.conf", text, strlen(text));
	snprintf(path, sizeof(path), "%s/a.conf", dir);
	assert_int_equal(conf_new(c), OK);
	err = conf_load(*c, vfs_os(), path, false, &b);
	assert_int_equal(buf_add(&b, "", 1), OK);
	for (const char *p = (char *)b.p; *p; p++) {
		if (strncmp(p, dir, skip - 1) == 0)
			p += skip;
		assert_true(n + 1 < bytes);
		errors[n++] = *p;
	}
	errors[n] = '\0';
	buf_done(&b);
	return err;
}

#define SIZE_ADVICE "write \"64M\" (K M G T), or \"100\" for bytes\n"
#define TIME_ADVICE "write \"250ms\" (ms s m h d)\n"

/* clang-format off */
static const struct {
	const char *text, *errors;
} bad_files[] = {
	{ "storage: { max_filesize = \"1M\"; };",
	  "a.conf:1: unknown key storage.max_filesize; the nearest known name "
	  "is storage.max_file_size\n" },
	{ "\nstroage: { read = \"mmap\"; };",
	  "a.conf:2: unknown key stroage; the nearest known name is storage\n" },
	{ "max_value_size = \"1M\";",
	  "a.conf:1: unknown key max_value_size; the nearest known name is "
	  "http.max_value_size\n" },
	{ "http: {\n max_value_size = 64;\n};",
	  "a.conf:2: http.max_value_size: a size is a string: " SIZE_ADVICE },
	{ "http: { max_value_size = \"64MB\"; };",
	  "a.conf:1: http.max_value_size: \"64MB\" is not a size: "
	  SIZE_ADVICE },
	{ "http: { max_value_size = \"-1\"; };",
	  "a.conf:1: http.max_value_size: \"-1\" is not a size: " SIZE_ADVICE },
	{ "http: { max_value_size = \"99999999999T\"; };",
	  "a.conf:1: http.max_value_size: \"99999999999T\" is not a size: "
	  SIZE_ADVICE },
	{ "http: { max_value_size = \"4G\"; };",
	  "a.conf:1: http.max_value_size: \"4G\" is too large: at most "
	  "\"4294967295\"\n" },
	{ "http: { max_value_size = \"0\"; };",
	  "a.conf:1: http.max_value_size: \"0\" is too small: at least "
	  "\"1\"\n" },
	{ "storage: { max_file_size = \"1023K\"; };",
	  "a.conf:1: storage.max_file_size: \"1023K\" is too small: at least "
	  "\"1M\"\n" },
	{ "cluster: { heartbeat = 100; };",
	  "a.conf:1: cluster.heartbeat: a time is a string: " TIME_ADVICE },
	{ "cluster: { heartbeat = \"100\"; };",
	  "a.conf:1: cluster.heartbeat: \"100\" is not a time: " TIME_ADVICE },
	{ "http: { max_connections = 4294967297; };",
	  "a.conf:1: 4294967297 is too large for an integer\n" },
	{ "http: { max_connections = 0x1000000000; };",
	  "a.conf:1: 0x1000000000 is too large for an integer\n" },
	{ "http: { max_connections = 0; };",
	  "a.conf:1: http.max_connections: 0 is out of range: 1 to "
	  "1000000\n" },
	{ "http: { max_connections = -1; };",
	  "a.conf:1: http.max_connections: \"-1\" is not a whole number\n" },
	{ "http: { max_connections = \"4096\"; };",
	  "a.conf:1: http.max_connections: is a whole number: write it "
	  "without quotes\n" },
	{ "storage: { merge: { dead_ratio = 1.5; }; };",
	  "a.conf:1: storage.merge.dead_ratio: 1.5 is out of range: 0 to 1\n" },
	{ "storage: { merge: { dead_ratio = \"0.5\"; }; };",
	  "a.conf:1: storage.merge.dead_ratio: is a number from 0 to 1: "
	  "write 0.5\n" },
	{ "storage: { merge: { window = \"25:00-06:00\"; }; };",
	  "a.conf:1: storage.merge.window: \"25:00-06:00\" is not a window of "
	  "the day: write \"22:00-06:00\"\n" },
	{ "storage: { merge = \"x\"; };",
	  "a.conf:1: storage.merge is a group: write merge: { ... };\n" },
	{ "storage: { read = \"map\"; };",
	  "a.conf:1: storage.read: \"map\" is not one of \"mmap\", "
	  "\"pread\"\n" },
	{ "storage: { sync = true; };",
	  "a.conf:1: storage.sync: is a string: write it in double quotes\n" },
	{ "mount: { allow_other = \"yes\"; };",
	  "a.conf:1: mount.allow_other: is true or false, without quotes\n" },
	{ "mount: { file_mode = 644; };",
	  "a.conf:1: mount.file_mode: a mode is a string: write \"0644\"\n" },
	{ "mount: { file_mode = \"0888\"; };",
	  "a.conf:1: mount.file_mode: \"0888\" is not a mode: write it octal, "
	  "\"0644\"\n" },
	{ "http: { listen = \"127.0.0.1:8080\"; };",
	  "a.conf:1: http.listen: is an array of addresses: write "
	  "[ \"127.0.0.1:8080\" ]\n" },
	{ "http: { listen = [ ]; };",
	  "a.conf:1: http.listen: needs at least one address\n" },
	{ "http: { listen = [ \"127.0.0.1\" ]; };",
	  "a.conf:1: http.listen: \"127.0.0.1\" has no port: write "
	  "\"HOST:PORT\"\n" },
	{ "http: { listen = [ \"127.0.0.256:80\" ]; };",
	  "a.conf:1: http.listen: \"127.0.0.256:80\" is not an address: write "
	  "\"127.0.0.1:8080\" or \"[::1]:8080\"\n" },
	{ "http: { listen = [ \"::1:80\" ]; };",
	  "a.conf:1: http.listen: \"::1:80\" is not an address: write "
	  "\"127.0.0.1:8080\" or \"[::1]:8080\"\n" },
	{ "http: { listen = [ \"localhost:65536\" ]; };",
	  "a.conf:1: http.listen: \"localhost:65536\" has no port from 0 to "
	  "65535\n" },
	{ "node: { name = \"\"; };",
	  "a.conf:1: node.name: must not be empty\n" },
	{ "node: { name = \"a b\"; };",
	  "a.conf:1: node.name: \"a b\" may only have letters, digits, '.', "
	  "'_' and '-'\n" },
	{ "node: { name = \"n1\"; name = \"n2\"; };",
	  "a.conf:1: duplicate setting name\n" },
	{ "node: { name = \"n1\" \n\n nome }", "a.conf:3: syntax error\n" },
	{ "@include \"other.conf\"",
	  "a.conf:1: @include is not taken: put the file into conf.d\n" },
	{ "cluster: { members = ( { name = \"n1\"; peer = \"h:1\"; } ); };",
	  "a.conf:1: cluster.members: a member needs name, peer and http\n" },
	{ "cluster: { members = ( { name = \"n1\"; peer = \"h:1\"; "
	  "http = 1; port = 2; } ); };",
	  "a.conf:1: cluster.members: http: an address is a string: write "
	  "\"127.0.0.1:8080\"\n"
	  "a.conf:1: cluster.members: unknown key port: a member has name, "
	  "peer and http\n" },
	{ "cluster: { members = (\n"
	  "{ name = \"n\"; peer = \"h:1\"; http = \"h:2\"; },\n"
	  "{ name = \"n\"; peer = \"h:3\"; http = \"h:4\"; }\n ); };",
	  "a.conf:3: cluster.members: the name n is there twice\n" },
	{ "log: { level = \"loud\"; };\nhttp: { max_value_size = 1; };\nfoo = 1;",
	  "a.conf:1: log.level: \"loud\" is not one of \"error\", \"warn\", "
	  "\"info\", \"debug\"\n"
	  "a.conf:2: http.max_value_size: a size is a string: " SIZE_ADVICE
	  "a.conf:3: unknown key foo; the nearest known name is mount.uid\n" },
};
/* clang-format on */

static void every_fault_has_its_line_and_its_advice(void **state)
{
	char errors[2048];
	struct conf *c;

	for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++) {
		assert_int_equal(
			load(bad_files[i].text, &c, errors, sizeof(errors)),
			ERR_INVALID);
		assert_string_equal(errors, bad_files[i].errors);
		conf_free(c);
	}
}

static const char good_file[] =
	"# comment 99999999999 @include\n"
	"node: { name = \"a-1.x_\"; data_dir = \"/d \\\"q\\\" \\\\\"; };\n"
	"http: { listen = [ \"127.0.0.1:0\", \"[::1]:80\", \"localhost:1\" ];\n"
	"  max_value_size = \"100\"; max_connections = 0x10; };\n"
	"/* 99999999999 */ cluster: { partitions = 8; heartbeat = \"2s\";\n"
	"  election_timeout = \"1m\"; members = (\n"
	"   { name = \"a-1.x_\"; peer = \"h.example:1\"; http = \"[::1]:2\"; } "
	"); };\n"
	"storage: { read = \"pread\"; sync = \"interval\"; "
	"max_file_size = \"1M\";\n"
	"  merge: { window = \"22:00-06:30\"; dead_ratio = 1; rate = \"0\"; "
	"small_file = \"3K\"; }; };\n"
	"mount: { file_mode = \"4755\"; }; log: { level = \"debug\"; };\n"
	"security: { insecure = true; };\n";

static void values_arrive_in_natural_units(void **state)
{
	char errors[2048];
	struct conf *c;

	assert_int_equal(load(good_file, &c, errors, sizeof(errors)), OK);
	assert_string_equal(errors, "");
	assert_string_equal(c->node_name, "a-1.x_");
	assert_string_equal(c->data_dir, "/d \"q\" \\");
	assert_int_equal(c->http_listen.count, 3);
	assert_string_equal(c->http_listen.addr[1].host, "::1");
	assert_int_equal(c->http_listen.addr[1].port, 80);
	assert_int_equal(c->http_value_bytes_max, 100);
	assert_int_equal(c->http_connections_max, 16);
	assert_int_equal(c->partitions, 8);
	assert_int_equal(c->heartbeat_ms, 2000);
	assert_int_equal(c->election_timeout_ms, 60000);
	assert_int_equal(c->members.count, 1);
	assert_string_equal(c->members.member[0].peer.host, "h.example");
	assert_int_equal(c->read, CONF_READ_PREAD);
	assert_int_equal(c->sync, CONF_SYNC_INTERVAL);
	assert_int_equal(c->file_bytes_max, 1 << 20);
	assert_int_equal(c->merge_window.start_min, 22 * 60);
	assert_int_equal(c->merge_window.end_min, 6 * 60 + 30);
	assert_true(c->merge_dead_ratio == 1.0);
	assert_int_equal(c->merge_rate_bytes, 0);
	assert_int_equal(c->merge_small_bytes, 3072);
	assert_int_equal(c->mount_file_mode, 04755);
	assert_int_equal(c->log_level, 3);
	conf_free(c);
}

static void a_missing_file_is_an_error_unless_it_is_optional(void **state)
{
	const char *path = "/nonexistent/a.conf";
	struct buf errors = BUF_INIT;
	struct conf *c;

	assert_int_equal(conf_new(&c), OK);
	assert_int_equal(conf_load(c, vfs_os(), path, true, &errors), OK);
	assert_int_equal(errors.n, 0);
	assert_int_equal(conf_load(c, vfs_os(), path, false, &errors),
			 ERR_NOT_FOUND);
	assert_int_equal(buf_add(&errors, "", 1), OK);
	assert_string_equal(errors.p,
			    "/nonexistent/a.conf: cannot be read: not found\n");
	buf_done(&errors);
	conf_free(c);
}

static void a_nul_byte_or_too_many_lines_are_refused(void **state)
{
	char path[128], *text;
	struct buf errors = BUF_INIT;
	struct conf *c;

	write_file("a.conf", "a\0b", 3);
	snprintf(path, sizeof(path), "%s/a.conf", dir);
	assert_int_equal(conf_new(&c), OK);
	assert_int_equal(conf_load(c, vfs_os(), path, false, &errors),
			 ERR_INVALID);
	text = malloc(70000);
	assert_non_null(text);
	memset(text, '\n', 70000);
	write_file("a.conf", text, 70000);
	free(text);
	assert_int_equal(conf_load(c, vfs_os(), path, false, &errors),
			 ERR_INVALID);
	conf_free(c);
	buf_done(&errors);
}

static void conf_d_overrides_in_name_order_and_flags_override_all(void **state)
{
	static const char *const names[] = { "conf.d/20.conf", "conf.d/10.conf",
					     "conf.d/30.conf.old" };
	static const char *const texts[] = {
		"node: { name = \"twenty\"; };",
		"node: { name = \"ten\"; data_dir = \"/t\"; };",
		"this is not read"
	};
	char errors[1024], want[256], sub[80];
	struct buf b = BUF_INIT, out = BUF_INIT;
	struct conf *c;

	snprintf(sub, sizeof(sub), "%s/conf.d", dir);
	assert_int_equal(mkdir(sub, 0700), 0);
	for (int i = 0; i < 3; i++)
		write_file(names[i], texts[i], strlen(texts[i]));
	assert_int_equal(load("node: { name = \"x\"; };\n"
			      "http: { listen = [ \"[::1]:1\" ]; };",
			      &c, errors, sizeof(errors)),
			 OK);
	assert_string_equal(c->node_name, "twenty");
	assert_string_equal(c->data_dir, "/t");
	for (int i = 2; i < 4; i++) {
		snprintf(want, sizeof(want), "127.0.0.1:%d", i);
		assert_int_equal(
			conf_set_flag(c, "--http", "http.listen", want, &b),
			OK);
	}
	assert_int_equal(c->http_listen.count, 2);
	assert_int_equal(conf_set_flag(c, "--http", "http.listen", "x", &b),
			 ERR_INVALID);
	assert_int_equal(c->http_listen.count, 2);
	assert_int_equal(conf_print(c, &out), OK);
	assert_int_equal(buf_add(&out, "", 1), OK);
	snprintf(want, sizeof(want), "\tname = \"twenty\";  # %s/%s:1\n", dir,
		 names[0]);
	assert_non_null(strstr((char *)out.p, want));
	assert_non_null(strstr((char *)out.p,
			       "\tlisten = [ \"127.0.0.1:2\", \"127.0.0.1:3\" "
			       "];  # flag --http\n"));
	assert_non_null(
		strstr((char *)out.p, "level = \"info\";  # default\n"));
	buf_done(&b);
	buf_done(&out);
	conf_free(c);
	for (int i = 0; i < 3; i++)
		remove_file(names[i]);
	rmdir(sub);
}

static void note_difference(void *ctx, const char *key, bool reloadable)
{
	fail_msg("%s differs", key);
}

static void randomize(struct conf *c, struct seed *s)
{
	c->http_value_bytes_max = 1 + seed_next(s) % 0xffffffffu;
	c->http_value_bytes_max &= ~0ull << seed_below(s, 20);
	c->http_value_bytes_max += c->http_value_bytes_max == 0;
	c->heartbeat_ms = 1 + seed_below(s, 60000);
	c->election_timeout_ms = 10 + seed_below(s, 599990);
	c->merge_dead_ratio =
		(double)seed_below(s, 1u << 30) / (double)(1u << 30);
	c->merge_window.start_min = (uint32_t)seed_below(s, 1441);
	c->merge_window.end_min = (uint32_t)seed_below(s, 1441);
	c->merge_rate_bytes = seed_next(s) >> seed_below(s, 64);
	c->mount_file_mode = (uint32_t)seed_below(s, 010000);
	c->sync = (uint32_t)seed_below(s, 3);
	c->insecure = seed_below(s, 2);
	for (int i = 0; i < 20; i++)
		c->mount_path[i] = (char)(' ' + seed_below(s, 95));
	c->data_dir[0] = (char)(0x80 + seed_below(s, 128));
	c->members.count = (uint32_t)seed_below(s, 3);
	for (uint32_t i = 0; i < c->members.count; i++) {
		struct conf_member *m = &c->members.member[i];

		snprintf(m->name, sizeof(m->name), "n%u", i);
		snprintf(m->peer.host, sizeof(m->peer.host), "h%u.x", i);
		snprintf(m->http.host, sizeof(m->http.host), "::%x", i + 1);
		m->http.port = (uint16_t)seed_below(s, 65536);
	}
}

static void what_is_printed_reads_back_to_the_same_settings(void **state)
{
	const char *env = getenv("SEED");
	uint64_t n = env ? strtoull(env, NULL, 0) : 4411;
	char errors[8192];
	struct seed s;

	print_message("SEED=%llu\n", (unsigned long long)n);
	seed_init(&s, n);
	for (int i = 0; i < 300; i++) {
		struct conf *a, *b;
		struct buf text = BUF_INIT;

		assert_int_equal(conf_new(&a), OK);
		if (i)
			randomize(a, &s);
		assert_int_equal(conf_print(a, &text), OK);
		assert_int_equal(buf_add(&text, "", 1), OK);
		assert_int_equal(
			load((char *)text.p, &b, errors, sizeof(errors)), OK);
		assert_string_equal(errors, "");
		assert_int_equal(conf_compare(a, b, note_difference, NULL), OK);
		assert_true(a->merge_dead_ratio == b->merge_dead_ratio);
		assert_memory_equal(&a->members, &b->members,
				    sizeof(a->members));
		buf_done(&text);
		conf_free(a);
		conf_free(b);
	}
}

static void check_text(const char *text, enum err want, const char *errors_want,
		       const char *warnings_want)
{
	struct buf errors = BUF_INIT, warnings = BUF_INIT;
	char load_errors[256];
	struct conf *c;

	assert_int_equal(load(text, &c, load_errors, sizeof(load_errors)), OK);
	assert_int_equal(conf_check(c, &errors, &warnings), want);
	assert_int_equal(buf_add(&errors, "", 1), OK);
	assert_int_equal(buf_add(&warnings, "", 1), OK);
	if (errors_want[0])
		assert_non_null(strstr((char *)errors.p, errors_want));
	else
		assert_string_equal(errors.p, "");
	if (warnings_want[0])
		assert_non_null(strstr((char *)warnings.p, warnings_want));
	else
		assert_string_equal(warnings.p, "");
	buf_done(&errors);
	buf_done(&warnings);
	conf_free(c);
}

static void nothing_is_asked_for_in_vain(void **state)
{
	check_text("", OK, "", "");
	check_text("mount: { path = \"/mnt\"; };", OK, "", "");
	check_text("security: { tokens = true; };", OK, "", "");
	check_text("security: { allow_origin = \"https://a.b:8\"; };", OK, "",
		   "");
	check_text("security: { allow_origin = \"a.b\"; };", ERR_INVALID,
		   "a.conf:1: security.allow_origin: is an origin", "");
	check_text("security: { allow_origin = \"https://a.b/\"; };",
		   ERR_INVALID, "security.allow_origin: is an origin", "");
	check_text("security: { allow_origin = \"*\"; };", OK, "",
		   "security.allow_origin: \"*\" without tokens");
	check_text("cluster: { heartbeat = \"50ms\"; };", OK, "", "");
	check_text("cluster: { heartbeat = \"5ms\"; };", OK, "",
		   "a.conf:1: cluster.heartbeat: less than 10 ms");
	check_text("cluster: { members = (\n"
		   "{ name = \"n2\"; peer = \"h:1\"; http = \"h:2\"; } ); };",
		   ERR_INVALID, "cluster.members: does not name this node, n1",
		   "");
	check_text("storage: { sync = \"never\"; };", OK, "",
		   "a power cut loses them");
	check_text("cluster: { heartbeat = \"1s\"; };", ERR_INVALID,
		   "must be at least twice cluster.heartbeat", "");
	check_text("cluster: { heartbeat = \"300ms\"; };", OK, "",
		   "less than five heartbeats");
	check_text("security: { peer_cert = \"c\"; peer_ca = \"a\"; };",
		   ERR_INVALID, "security.peer_cert: peer_key is missing", "");
}

#define THREE(host)                                                            \
	"cluster: { members = (\n"                                             \
	"{ name = \"n1\"; peer = \"" host ":1\"; http = \"[::1]:2\"; },\n"     \
	"{ name = \"n2\"; peer = \"" host ":3\"; http = \"h:4\"; },\n"         \
	"{ name = \"n3\"; peer = \"" host ":5\"; http = \"h:6\"; } ); };\n"

static void members_beyond_loopback_prove_themselves(void **state)
{
	static const char all[] = "cluster: { listen = \"0.0.0.0:7080\"; };\n";
	char text[600];

	check_text(THREE("127.0.0.1"), OK, "", "");
	check_text(THREE("10.0.0.1"), ERR_INVALID,
		   "a.conf:1: cluster.members: 10.0.0.1 is not a loopback "
		   "address: that needs security.peer_cert",
		   "");
	check_text(all, ERR_INVALID,
		   "a.conf:1: cluster.listen: 0.0.0.0 is not a loopback", "");
	snprintf(text, sizeof(text), "%ssecurity: { insecure = true; };", all);
	check_text(text, OK, "", "anyone who reaches it can take part");
	snprintf(text, sizeof(text),
		 "%ssecurity: { cluster_secret_file = \"f\"; };",
		 THREE("10.0.0.1"));
	check_text(text, OK, "", "");
	snprintf(text, sizeof(text),
		 "%ssecurity: { peer_cert = \"c\"; peer_key = \"k\"; peer_ca = "
		 "\"a\"; };",
		 all);
	check_text(text, OK, "", "");
	check_text(
		"cluster: { members = (\n"
		"{ name = \"n1\"; peer = \"localhost:1\"; http = \"h:2\"; },\n"
		"{ name = \"n2\"; peer = \"localhost:1\"; http = \"h:4\"; } "
		"); };",
		ERR_INVALID,
		"cluster.members: n1 and n2 have the same peer address",
		"2 members bear the loss of no more than 1 do");
}

static void clients_are_told_an_address_that_is_served(void **state)
{
	static const char member[] =
		"cluster: { members = ( { name = \"n1\"; peer = "
		"\"127.0.0.1:1\"; http = \"10.0.0.1:2\"; } ); };\n";
	char text[600];

	check_text(member, OK, "",
		   "http.listen: is of loopback addresses alone, while "
		   "cluster.members tells clients that this node serves at "
		   "10.0.0.1:2");
	snprintf(text, sizeof(text),
		 "%shttp: { listen = [ \"127.0.0.1:2\", \"10.0.0.1:2\" ]; };\n"
		 "security: { tls_cert = \"c\"; tls_key = \"k\"; tls_ca = "
		 "\"a\"; };",
		 member);
	check_text(text, OK, "", "");
}

static void beyond_loopback_needs_a_word(void **state)
{
	static const char *const open[] = { "0.0.0.0:1", "[::]:1",
					    "192.168.0.1:1", "example.org:1" };
	static const char *const closed[] = { "127.0.0.1:1", "127.1.2.3:1",
					      "[::1]:1", "localhost:1" };
	char text[256];

	for (int i = 0; i < 4; i++) {
		snprintf(text, sizeof(text), "http: { listen = [ \"%s\" ]; };",
			 open[i]);
		check_text(text, ERR_INVALID, "is not a loopback address", "");
		snprintf(text, sizeof(text),
			 "http: { listen = [ \"%s\" ]; }; security: { "
			 "tls_cert = \"c\"; tls_key = \"k\"; };",
			 open[i]);
		check_text(text, ERR_INVALID, "is not a loopback address", "");
		snprintf(text, sizeof(text),
			 "http: { listen = [ \"%s\" ]; }; security: { "
			 "tls_cert = \"c\"; tls_key = \"k\"; "
			 "tls_ca = \"a\"; };",
			 open[i]);
		check_text(text, OK, "", "");
		snprintf(text, sizeof(text),
			 "http: { listen = [ \"%s\" ]; }; security: { "
			 "tls_cert = \"c\"; tls_key = \"k\"; "
			 "tokens = true; };",
			 open[i]);
		check_text(text, OK, "", "");
		snprintf(text, sizeof(text),
			 "http: { listen = [ \"%s\" ]; }; security: { "
			 "tokens = true; };",
			 open[i]);
		check_text(text, ERR_INVALID, "is not a loopback address", "");
		snprintf(text, sizeof(text),
			 "http: { listen = [ \"%s\" ]; }; "
			 "security: { insecure = true; tokens = true; };",
			 open[i]);
		check_text(text, OK, "", "anyone on the way can read");
		snprintf(text, sizeof(text),
			 "http: { listen = [ \"%s\" ]; }; "
			 "security: { insecure = true; };",
			 open[i]);
		check_text(text, OK, "", "is not a loopback address");
		snprintf(text, sizeof(text), "http: { listen = [ \"%s\" ]; };",
			 closed[i]);
		check_text(text, OK, "", "");
	}
}

static void note_change(void *ctx, const char *key, bool reloadable)
{
	char *text = ctx;
	size_t n = strlen(text);

	snprintf(text + n, 200 - n, "%s%s ", key, reloadable ? "+" : "-");
}

static void a_reload_knows_what_changed(void **state)
{
	char errors[64], changes[200] = "";
	struct conf *a, *b;

	assert_int_equal(conf_new(&a), OK);
	assert_int_equal(load("log: { level = \"warn\"; }; "
			      "node: { name = \"x\"; };",
			      &b, errors, sizeof(errors)),
			 OK);
	assert_int_equal(conf_compare(a, b, note_change, changes), OK);
	assert_string_equal(changes, "node.name- log.level+ ");
	conf_free(a);
	conf_free(b);
}

/* The shipped file with every "#\tkey = " line in force. */
static void uncomment(char *text)
{
	for (char *p = text; (p = strstr(p, "\n#\t")); p++)
		p[1] = ' ';
}

static void the_shipped_file_explains_every_key_and_its_default(void **state)
{
	struct conf *c, *defaults;
	struct buf text = BUF_INIT;
	char errors[1024];

	assert_int_equal(
		vfs_read_all(vfs_os(), "conf/raftcask.conf", 1 << 20, &text),
		OK);
	assert_int_equal(buf_add(&text, "", 1), OK);
	assert_int_equal(conf_new(&defaults), OK);
	for (int in_force = 0; in_force < 2; in_force++) {
		if (in_force)
			uncomment((char *)text.p);
		assert_int_equal(
			load((char *)text.p, &c, errors, sizeof(errors)), OK);
		assert_string_equal(errors, "");
		assert_int_equal(
			conf_compare(c, defaults, note_difference, NULL), OK);
		for (int i = 0; in_force; i++) {
			struct conf_key_info info;

			if (!conf_key_info((uint32_t)i, &info))
				break;
			if (!c->origin[i].name)
				fail_msg("%s is not explained", info.name);
		}
		conf_free(c);
	}
	conf_free(defaults);
	buf_done(&text);
}

static void without_memory_nothing_breaks(void **state)
{
	struct buf errors = BUF_INIT, warnings = BUF_INIT, out = BUF_INIT;
	char path[128];
	enum err err;

	write_file("a.conf", good_file, strlen(good_file));
	snprintf(path, sizeof(path), "%s/a.conf", dir);
	for (uint64_t nth = 1;; nth++) {
		struct conf *c = NULL;

		errors.n = warnings.n = out.n = 0;
		fail_alloc_at(nth, false);
		err = conf_new(&c);
		if (!err)
			err = conf_load(c, vfs_os(), path, false, &errors);
		if (!err)
			err = conf_check(c, &errors, &warnings);
		if (!err)
			err = conf_print(c, &out);
		conf_free(c);
		buf_done(&errors);
		buf_done(&warnings);
		buf_done(&out);
		if (!fail_alloc_off())
			break;
		assert_int_equal(err, ERR_NOMEM);
	}
	assert_int_equal(err, OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_fault_has_its_line_and_its_advice),
		cmocka_unit_test(values_arrive_in_natural_units),
		cmocka_unit_test(
			a_missing_file_is_an_error_unless_it_is_optional),
		cmocka_unit_test(a_nul_byte_or_too_many_lines_are_refused),
		cmocka_unit_test(
			conf_d_overrides_in_name_order_and_flags_override_all),
		cmocka_unit_test(
			what_is_printed_reads_back_to_the_same_settings),
		cmocka_unit_test(nothing_is_asked_for_in_vain),
		cmocka_unit_test(beyond_loopback_needs_a_word),
		cmocka_unit_test(members_beyond_loopback_prove_themselves),
		cmocka_unit_test(clients_are_told_an_address_that_is_served),
		cmocka_unit_test(a_reload_knows_what_changed),
		cmocka_unit_test(without_memory_nothing_breaks),
		cmocka_unit_test(
			the_shipped_file_explains_every_key_and_its_default),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
