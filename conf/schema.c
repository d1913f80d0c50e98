/*
 * conf/schema.c - every key of the configuration file, one row each.
 *
 * To add a key: a field in struct conf, a row here, a paragraph in
 * conf/raftcask.conf and in the manual (a test compares them). The row's
 * default is text and is parsed by the same code as a file's, so a default
 * that breaks its own range fails at once, in conf_new.
 */
#include "conf/schema.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define KB (1ull << 10)
#define MB (1ull << 20)
#define GB (1ull << 30)

#define FIELD(f) offsetof(struct conf, f), sizeof(((struct conf *)0)->f)

static const char *const choice_read[] = { "mmap", "pread", NULL };
static const char *const choice_sync[] = { "always", "interval", "never",
					   NULL };
static const char *const choice_level[] = { "error", "warn", "info", "debug",
					    NULL };

enum { DAY_MS = 24 * 3600 * 1000 };

/* clang-format off */
const struct conf_key conf_schema[] = {
	{ "node.name", CONF_NAME, FIELD(node_name), "n1", 1, 0, NULL, false,
	  "name of this node, unique in its cluster" },
	{ "node.data_dir", CONF_PATH, FIELD(data_dir), "/var/lib/raftcask",
	  1, 0, NULL, false,
	  "directory of all data; made when absent" },
	{ "http.listen", CONF_ADDRS, FIELD(http_listen), "127.0.0.1:8080",
	  0, 0, NULL, false,
	  "addresses on which HTTP is served" },
	{ "http.max_value_size", CONF_SIZE, FIELD(http_value_bytes_max), "64M",
	  1, 4 * GB - 1, NULL, true,
	  "largest value that is accepted" },
	{ "http.max_connections", CONF_COUNT, FIELD(http_connections_max),
	  "4096", 1, 1000000, NULL, true,
	  "connections at once; more are refused" },
	{ "cluster.listen", CONF_ADDR, FIELD(cluster_listen), "127.0.0.1:7080",
	  0, 0, NULL, false,
	  "address for the other members" },
	{ "cluster.members", CONF_MEMBERS, FIELD(members), "",
	  0, 0, NULL, false,
	  "member list of the first start, the same on all nodes" },
	{ "cluster.partitions", CONF_COUNT, FIELD(partitions), "1",
	  1, 4096, NULL, false,
	  "number of partitions; fixed when the directory is made" },
	{ "cluster.heartbeat", CONF_TIME, FIELD(heartbeat_ms), "100ms",
	  1, 60000, NULL, false,
	  "how often a leader shows that it lives" },
	{ "cluster.election_timeout", CONF_TIME, FIELD(election_timeout_ms),
	  "1s", 10, 600000, NULL, false,
	  "silence of the leader after which another is elected" },
	{ "storage.max_file_size", CONF_SIZE, FIELD(file_bytes_max), "256M",
	  1 * MB, 4 * GB - 1 * MB, NULL, false,
	  "size of one log file" },
	{ "storage.read", CONF_CHOICE, FIELD(read), "mmap",
	  0, 0, choice_read, false,
	  "how values are read" },
	{ "storage.sync", CONF_CHOICE, FIELD(sync), "always",
	  0, 0, choice_sync, false,
	  "when a write is on the disk; all but \"always\" can lose "
	  "acknowledged writes" },
	{ "storage.sync_interval", CONF_TIME, FIELD(sync_interval_ms), "1s",
	  1, 3600000, NULL, false,
	  "with sync = \"interval\": longest time between two syncs" },
	{ "storage.merge.window", CONF_WINDOW, FIELD(merge_window),
	  "00:00-24:00", 0, 0, NULL, true,
	  "local hours in which merges may start" },
	{ "storage.merge.dead_ratio", CONF_RATIO, FIELD(merge_dead_ratio),
	  "0.6", 0, 0, NULL, true,
	  "share of dead bytes that makes a file worth merging" },
	{ "storage.merge.dead_bytes", CONF_SIZE, FIELD(merge_dead_bytes),
	  "128M", 0, UINT64_MAX, NULL, true,
	  "dead bytes that make a file worth merging" },
	{ "storage.merge.small_file", CONF_SIZE, FIELD(merge_small_bytes),
	  "8M", 0, 4 * GB, NULL, true,
	  "merged files below it are joined" },
	{ "storage.merge.rate", CONF_SIZE, FIELD(merge_rate_bytes), "64M",
	  0, UINT64_MAX, NULL, true,
	  "bytes a second that a merge may write; \"0\" is unlimited" },
	{ "storage.min_free_disk", CONF_SIZE, FIELD(min_free_bytes), "256M",
	  0, UINT64_MAX, NULL, true,
	  "below this free space writes are refused; deletes still work" },
	{ "storage.watch_history", CONF_SIZE, FIELD(watch_history_bytes),
	  "64M", 1 * MB, 64 * GB, NULL, false,
	  "memory for past changes that watches can resume from" },
	{ "mount.path", CONF_PATH, FIELD(mount_path), "", 0, 0, NULL, false,
	  "where the keys are mounted as files; empty: nowhere" },
	{ "mount.allow_other", CONF_BOOL, FIELD(mount_allow_other), "true",
	  0, 0, NULL, false,
	  "let other users into the mount" },
	{ "mount.uid", CONF_NAME, FIELD(mount_uid), "root", 1, 0, NULL, false,
	  "owner of files that were written over HTTP" },
	{ "mount.gid", CONF_NAME, FIELD(mount_gid), "root", 1, 0, NULL, false,
	  "group of files that were written over HTTP" },
	{ "mount.file_mode", CONF_MODE, FIELD(mount_file_mode), "0644",
	  0, 07777, NULL, false,
	  "mode of files that were written over HTTP" },
	{ "mount.dir_mode", CONF_MODE, FIELD(mount_dir_mode), "0755",
	  0, 07777, NULL, false,
	  "mode of directories that no one made explicitly" },
	{ "security.tls_cert", CONF_PATH, FIELD(tls_cert), "",
	  0, 0, NULL, true,
	  "certificate for HTTPS" },
	{ "security.tls_key", CONF_PATH, FIELD(tls_key), "", 0, 0, NULL, true,
	  "key of that certificate" },
	{ "security.tls_ca", CONF_PATH, FIELD(tls_ca), "", 0, 0, NULL, true,
	  "authority that clients' certificates must come from" },
	{ "security.peer_cert", CONF_PATH, FIELD(peer_cert), "",
	  0, 0, NULL, true,
	  "certificate for the links between members" },
	{ "security.peer_key", CONF_PATH, FIELD(peer_key), "",
	  0, 0, NULL, true,
	  "key of that certificate" },
	{ "security.peer_ca", CONF_PATH, FIELD(peer_ca), "", 0, 0, NULL, true,
	  "authority that members' certificates must come from" },
	{ "security.cluster_secret_file", CONF_PATH,
	  FIELD(cluster_secret_file), "", 0, 0, NULL, false,
	  "file with a secret that all members share" },
	{ "security.tokens", CONF_BOOL, FIELD(tokens), "false",
	  0, 0, NULL, true,
	  "ask clients for a token" },
	{ "security.allow_origin", CONF_TEXT, FIELD(allow_origin), "",
	  0, 0, NULL, true,
	  "web origin that browsers may call from" },
	{ "security.insecure", CONF_BOOL, FIELD(insecure), "false",
	  0, 0, NULL, false,
	  "serve beyond loopback without authentication and TLS" },
	{ "log.level", CONF_CHOICE, FIELD(log_level), "info",
	  0, 0, choice_level, true,
	  "least grave events that are logged" },
};
/* clang-format on */

const uint32_t conf_schema_count = sizeof(conf_schema) / sizeof(conf_schema[0]);

_Static_assert(sizeof(conf_schema) / sizeof(conf_schema[0]) <= CONF_KEYS_MAX,
	       "struct conf has an origin for every row");

const struct conf_key *schema_find(const char *name)
{
	for (uint32_t i = 0; i < conf_schema_count; i++) {
		if (strcmp(conf_schema[i].name, name) == 0)
			return &conf_schema[i];
	}
	return NULL;
}

bool schema_is_group(const char *name)
{
	size_t n = strlen(name);

	for (uint32_t i = 0; i < conf_schema_count; i++) {
		const char *key = conf_schema[i].name;

		if (strncmp(key, name, n) == 0 && key[n] == '.')
			return true;
	}
	return false;
}

struct conf_origin *schema_origin(struct conf *c, const struct conf_key *key)
{
	ptrdiff_t row = key - conf_schema;

	CHECK(row >= 0);
	CHECK(row < (ptrdiff_t)conf_schema_count);
	return &c->origin[row];
}

enum { NEAREST_BYTES_MAX = 80 };

/* Levenshtein's distance; both texts are cut at NEAREST_BYTES_MAX. */
static unsigned edit_distance(const char *a, size_t an, const char *b,
			      size_t bn)
{
	unsigned row[NEAREST_BYTES_MAX + 1];

	if (an > NEAREST_BYTES_MAX)
		an = NEAREST_BYTES_MAX;
	if (bn > NEAREST_BYTES_MAX)
		bn = NEAREST_BYTES_MAX;
	for (size_t j = 0; j <= bn; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= an; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= bn; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[bn];
}

static const char *last_part(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot ? dot + 1 : name;
}

/* A right last part in a wrong group is as near as one wrong letter. */
static unsigned name_distance(const char *name, const char *known,
			      size_t known_bytes)
{
	const char *part = last_part(name);
	char cut[NEAREST_BYTES_MAX + 1];
	unsigned whole, last;

	CHECK(known_bytes <= NEAREST_BYTES_MAX);
	memcpy(cut, known, known_bytes);
	cut[known_bytes] = '\0';
	whole = edit_distance(name, strlen(name), cut, known_bytes);
	last = 1 + edit_distance(part, strlen(part), last_part(cut),
				 strlen(last_part(cut)));
	return whole < last ? whole : last;
}

const char *schema_nearest(const char *name, bool group, char *room,
			   size_t room_bytes)
{
	unsigned best = UINT32_MAX;

	for (uint32_t i = 0; i < conf_schema_count; i++) {
		const char *key = conf_schema[i].name;
		const char *end = group ? strrchr(key, '.') : key + strlen(key);
		size_t n = (size_t)(end - key);
		unsigned d = name_distance(name, key, n);

		if (d < best) {
			best = d;
			snprintf(room, room_bytes, "%.*s", (int)n, key);
		}
	}
	return room;
}

static const char *type_text(const struct conf_key *key)
{
	switch (key->type) {
	case CONF_TEXT:
	case CONF_NAME:
		return "string";
	case CONF_PATH:
		return "path";
	case CONF_SIZE:
		return "size";
	case CONF_TIME:
		return "time";
	case CONF_COUNT:
		return "integer";
	case CONF_RATIO:
		return "number from 0 to 1";
	case CONF_BOOL:
		return "true or false";
	case CONF_CHOICE:
		return "choice";
	case CONF_WINDOW:
		return "\"HH:MM-HH:MM\"";
	case CONF_MODE:
		return "octal mode";
	case CONF_ADDR:
		return "\"HOST:PORT\"";
	case CONF_ADDRS:
		return "array of \"HOST:PORT\"";
	case CONF_MEMBERS:
		return "list of { name; peer; http; }";
	}
	return "";
}

bool conf_key_info(uint32_t i, struct conf_key_info *info)
{
	if (i >= conf_schema_count)
		return false;
	*info = (struct conf_key_info){
		.name = conf_schema[i].name,
		.type = type_text(&conf_schema[i]),
		.default_text = conf_schema[i].default_text,
		.help = conf_schema[i].help,
		.reloadable = conf_schema[i].reloadable,
	};
	return true;
}
