/*
 * conf/conf.h - the configuration of one node, checked and in natural units.
 *
 * Owns the schema: every key, its type, default, range and meaning is one row
 * of the table in conf/schema.c, which also drives loading, --print-config,
 * the nearest-name hint and the check of the manual. Order of force: default,
 * FILE, conf.d/ *.conf beside it in name order, command-line flags. Each
 * setting remembers where it came from.
 *
 * Knows nothing of the parts that use it. Threads: none of it locks; a struct
 * conf belongs to one thread until it is complete and is read-only afterwards.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/vfs.h"

enum {
	CONF_FILE_BYTES_MAX = 1 << 20, /* of one file                        */
	CONF_FILES_MAX = 256,	       /* FILE and all of conf.d             */
	CONF_KEYS_MAX = 64,	       /* rows of the schema                 */
	CONF_NAME_BYTES_MAX = 64,      /* node names, the final NUL included */
	CONF_HOST_BYTES_MAX = 256,
	CONF_PATH_BYTES_MAX = 4096,
	CONF_LISTEN_MAX = 16,
	CONF_MEMBERS_MAX = 64,
};

struct conf_addr {
	char host[CONF_HOST_BYTES_MAX]; /* without the brackets of IPv6      */
	uint16_t port;			/* 0 with listen: any free port      */
};

struct conf_addrs {
	uint32_t count;
	struct conf_addr addr[CONF_LISTEN_MAX];
};

struct conf_member {
	char name[CONF_NAME_BYTES_MAX];
	struct conf_addr peer, http;
};

struct conf_members {
	uint32_t count;
	struct conf_member member[CONF_MEMBERS_MAX];
};

/* Minutes of the local day; start above end: over midnight; equal: always. */
struct conf_window {
	uint32_t start_min; /* 0..1440 */
	uint32_t end_min;
};

enum conf_read { CONF_READ_MMAP, CONF_READ_PREAD };
enum conf_sync { CONF_SYNC_ALWAYS, CONF_SYNC_INTERVAL, CONF_SYNC_NEVER };

/* Where a setting came from: a default, a line of a file, a flag. */
struct conf_origin {
	const char *name; /* NULL: default; a path, or a flag: "--http"      */
	uint32_t line;	  /* 0: not a file                                   */
};

/* Comments: the key it is. An empty string means: not set. */
struct conf {
	char node_name[CONF_NAME_BYTES_MAX];  /* node.name                 */
	char data_dir[CONF_PATH_BYTES_MAX];   /* node.data_dir             */
	struct conf_addrs http_listen;	      /* http.listen               */
	uint64_t http_value_bytes_max;	      /* http.max_value_size       */
	uint32_t http_connections_max;	      /* http.max_connections      */
	struct conf_addr cluster_listen;      /* cluster.listen            */
	struct conf_members members;	      /* cluster.members           */
	uint32_t partitions;		      /* cluster.partitions        */
	uint64_t heartbeat_ms;		      /* cluster.heartbeat         */
	uint64_t election_timeout_ms;	      /* cluster.election_timeout  */
	uint64_t file_bytes_max;	      /* storage.max_file_size     */
	uint32_t read;			      /* storage.read: conf_read   */
	uint32_t sync;			      /* storage.sync: conf_sync   */
	uint64_t sync_interval_ms;	      /* storage.sync_interval     */
	struct conf_window merge_window;      /* storage.merge.window      */
	double merge_dead_ratio;	      /* storage.merge.dead_ratio  */
	uint64_t merge_dead_bytes;	      /* storage.merge.dead_bytes  */
	uint64_t merge_small_bytes;	      /* storage.merge.small_file  */
	uint64_t merge_rate_bytes;	      /* storage.merge.rate        */
	uint64_t min_free_bytes;	      /* storage.min_free_disk     */
	uint64_t watch_history_bytes;	      /* storage.watch_history     */
	char mount_path[CONF_PATH_BYTES_MAX]; /* mount.path                */
	bool mount_allow_other;		      /* mount.allow_other         */
	char mount_uid[CONF_NAME_BYTES_MAX];  /* mount.uid                 */
	char mount_gid[CONF_NAME_BYTES_MAX];  /* mount.gid                 */
	uint32_t mount_file_mode;	      /* mount.file_mode           */
	uint32_t mount_dir_mode;	      /* mount.dir_mode            */
	char tls_cert[CONF_PATH_BYTES_MAX];   /* security.tls_cert         */
	char tls_key[CONF_PATH_BYTES_MAX];    /* security.tls_key          */
	char tls_ca[CONF_PATH_BYTES_MAX];     /* security.tls_ca           */
	char peer_cert[CONF_PATH_BYTES_MAX];  /* security.peer_cert        */
	char peer_key[CONF_PATH_BYTES_MAX];   /* security.peer_key         */
	char peer_ca[CONF_PATH_BYTES_MAX];    /* security.peer_ca          */
	char cluster_secret_file[CONF_PATH_BYTES_MAX]; /* security. ...      */
	bool tokens;				/* security.tokens           */
	char allow_origin[CONF_HOST_BYTES_MAX]; /* security.allow_origin     */
	bool insecure;				/* security.insecure         */
	uint32_t log_level;			/* log.level: enum log_level */
	/* private: by row of the schema; names are owned by files           */
	struct conf_origin origin[CONF_KEYS_MAX];
	char *files[CONF_FILES_MAX];
	uint32_t file_count;
};

/* A configuration of nothing but defaults. ERR_NOMEM. */
MUST_CHECK enum err conf_new(struct conf **c);

/* NULL is accepted. */
void conf_free(struct conf *c);

/*
 * Read path, then every conf.d/ *.conf of its directory in name order, over
 * what c holds. Faults found are appended to errors, one line each,
 * "file:line: what is wrong and what to write"; all of them, not the first.
 * optional: that path does not exist is no fault.
 *
 * ERR_INVALID     errors says why; c is not to be used
 * ERR_NOT_FOUND, ERR_PERMISSION, ERR_IO: path cannot be read; errors says so
 * ERR_NOMEM
 */
MUST_CHECK enum err conf_load(struct conf *c, struct vfs *vfs, const char *path,
			      bool optional, struct buf *errors);

/*
 * Set key (a name of the schema) to text as a command-line flag does. flag is
 * the flag's name ("--http"), static. A list key takes one item a call: the
 * first call replaces what files said, further ones add.
 * ERR_INVALID: errors has a line "flag --http: ..."; c is unchanged.
 */
MUST_CHECK enum err conf_set_flag(struct conf *c, const char *flag,
				  const char *key, const char *text,
				  struct buf *errors);

/*
 * The rules between settings, once all are read: listening beyond loopback
 * needs authentication and TLS or security.insecure; what this build cannot
 * do is refused. Lines as in conf_load go to errors. Settings that are
 * accepted but want a word (unsafe, or of no effect yet) go to warnings.
 * ERR_INVALID: errors says why. ERR_NOMEM.
 */
MUST_CHECK enum err conf_check(const struct conf *c, struct buf *errors,
			       struct buf *warnings);

/*
 * Append the effective configuration as a file that conf_load reads back to
 * the same settings, each line with a comment where it came from. ERR_NOMEM.
 */
MUST_CHECK enum err conf_print(const struct conf *c, struct buf *out);

/*
 * Compare two configurations: call fn for every key whose value differs;
 * reloadable tells whether a running node takes the new value over.
 * ERR_NOMEM: fn was called for some of them.
 */
MUST_CHECK enum err conf_compare(const struct conf *a, const struct conf *b,
				 void (*fn)(void *ctx, const char *key,
					    bool reloadable),
				 void *ctx);

/*
 * Append how a message about key begins: "file:line: key: ", "flag --x: key: "
 * or "key: ". key is a name of the schema. ERR_NOMEM: a part was appended.
 */
MUST_CHECK enum err conf_where(const struct conf *c, const char *key,
			       struct buf *out);

/*
 * Is it settled who may ask (a token, a certificate of tls_ca), and hidden
 * what they say? Of clients, and of the other members, for whom a secret
 * does.
 */
bool conf_http_is_guarded(const struct conf *c);
bool conf_cluster_is_guarded(const struct conf *c);

/* One row of the schema, for the manual's check and for tests. */
struct conf_key_info {
	const char *name;	  /* "storage.merge.rate"                    */
	const char *type;	  /* "size", "time", "one of ..." for people */
	const char *default_text; /* as a file would say it                  */
	const char *help;	  /* one sentence                            */
	bool reloadable;	  /* SIGHUP takes it over                    */
};

/* Row i, from 0. False: there are no more. Strings are static. */
bool conf_key_info(uint32_t i, struct conf_key_info *info);

#endif
