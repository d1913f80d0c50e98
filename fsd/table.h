/*
 * fsd/table.h - which file the kernel means: its node numbers, and the names
 * under which this mount knows them.
 *
 *   node    a file or directory that the kernel holds, or something in here
 *   name    (directory node, component) -> node; a file with several names has
 *           several, all of one node, so that the kernel has one inode of it
 *
 * A node is found by its number, by its inode number in the store, and by
 * directory and name. Names hang on their directory's node: a directory that
 * moves takes all below it along by moving one name. A node that has lost its
 * last name keeps the path of it, for the store may know it by another one.
 *
 * A node lives while the kernel has looked it up more often than it has
 * forgotten it, or somebody refers to it (a name below it, a handle, a call).
 * Node numbers are never used again. Knows neither libfuse nor the store.
 *
 * Threads: any; everything but table_init and table_done wants the table
 * locked, and nodes and names are valid until it is unlocked, or as long as a
 * reference is held. Never call out with the lock held.
 */
#ifndef FSD_TABLE_H
#define FSD_TABLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "store/file.h"

enum {
	TABLE_ROOT_ID = 1,
	TABLE_NAME_BYTES_MAX = 255,
	TABLE_PATH_BYTES_MAX = STORE_PATH_BYTES_MAX,
};

struct defer;
struct orphan;

struct name {
	struct node *parent, *node;
	struct name *next_of_node;
	struct name *next; /* of its hash chain                              */
	uint32_t hash;
	uint8_t n;
	uint8_t p[];
};

struct node {
	uint64_t id;  /* the kernel's number for it                          */
	uint64_t ino; /* the store's; 0 of a directory: not known            */
	struct name *names;
	uint64_t lookups; /* as the kernel counts                            */
	uint32_t refs;
	uint32_t opens; /* handles                                           */
	bool is_root;
	bool is_dir;
	bool is_unnamed; /* counted in unnamed                               */
	uint8_t *ghost;	 /* path of its last name, when it has none           */
	size_t ghost_bytes;
	struct node *next_id, *next_ino; /* hash chains                      */
	/* Kept here for their owners, all under the table's lock. */
	struct defer *defer;   /* fsd/defer.c                                */
	struct orphan *orphan; /* fsd/orphan.c                               */
	uint64_t cached_rev;   /* of the content that the kernel may cache   */
	bool gone;	       /* removed: only orphan knows it              */
	struct node *next_leaving; /* fsd/orphan.c                            */
	bool has_setid; /* its mode that the kernel was told last has */
	enum err lost;	/* of a deferred change, for the next fsync   */
	bool subdirs_known;
	uint64_t subdirs;
	uint32_t subdirs_changes; /* of them, or that made them unknown      */
};

struct table {
	pthread_mutex_t lock;
	struct node *root;
	struct node **by_id, **by_ino;
	struct name **by_name;
	uint64_t next_id;
	uint32_t node_count, name_count;
	/* Nodes that lost their last name, though the store may have others. */
	uint32_t unnamed;
	uint32_t node_slots, name_slots; /* powers of 2                      */
	/* A node is about to be freed: let go of defer and orphan. */
	void (*drop)(void *ctx, struct node *node);
	void *ctx;
};

/* A table with the root, whose inode number is root_ino. ERR_NOMEM. */
MUST_CHECK enum err table_init(struct table *t, uint64_t root_ino,
			       void (*drop)(void *ctx, struct node *node),
			       void *ctx);

/* Free all nodes, whoever refers to them. Nobody may be inside. */
void table_done(struct table *t);

/* Enter and leave. */
void table_lock(struct table *t);
void table_unlock(struct table *t);

/* The node of that number, of that inode number, of that name; or NULL. */
struct node *table_node(struct table *t, uint64_t id);
struct node *table_ino(struct table *t, uint64_t ino);
struct node *table_child(struct table *t, const struct node *parent,
			 struct bytes name);

/*
 * Another node of the same inode number behind node, or NULL: a file that was
 * to be made under a name which then turned out to be that of one known already
 * has two.
 */
struct node *table_twin(const struct node *node);

/*
 * parent/name is the file ino: find or make its node, and let the name mean it;
 * a node that had the name loses it. No reference is taken. ERR_NOMEM: the
 * table is as it was.
 */
MUST_CHECK enum err table_enter(struct table *t, struct node *parent,
				struct bytes name, uint64_t ino,
				struct node **node);

/* The name means nothing any more. Nothing, if it did not. */
void table_remove(struct table *t, const struct node *parent,
		  struct bytes name);

/*
 * What from_parent/from meant is to_parent/to from now on; who had that name
 * loses it. to_parent NULL: not in the table, so the name goes. ERR_NOMEM: the
 * name goes too.
 */
enum err table_move(struct table *t, const struct node *from_parent,
		    struct bytes from, struct node *to_parent, struct bytes to);

/* Both names change places; each parent may be NULL, as table_move. */
enum err table_exchange(struct table *t, struct node *a_parent, struct bytes a,
			struct node *b_parent, struct bytes b);

/* node is known as ino from now on. */
void table_set_ino(struct table *t, struct node *node, uint64_t ino);

/*
 * Append the path of node; of one without a name, that which it had. The
 * root's is empty. ERR_KEY_TOO_LONG, ERR_NOMEM, ERR_NOT_FOUND (it never had a
 * name): path is unchanged.
 */
MUST_CHECK enum err table_path(struct table *t, const struct node *node,
			       struct buf *path);

/*
 * Follow path from the root as far as nodes are known. Returns the last node;
 * *rest: what is left of path, empty if it is the node's.
 */
struct node *table_walk(struct table *t, struct bytes path, struct bytes *rest);

/* The first component of path, which is not empty; *rest what follows it. */
struct bytes path_component(struct bytes path, struct bytes *rest);

/* One more reference, one less. The last one may free the node. */
void table_ref(struct node *node);
void table_unref(struct table *t, struct node *node);

/* The kernel was told of the node once more; it has forgotten n of these. */
void table_looked_up(struct node *node);
void table_forget(struct table *t, struct node *node, uint64_t n);

/* Call fn for each node, or for each name. fn must not change the table. */
void table_each_node(struct table *t, void (*fn)(void *ctx, struct node *node),
		     void *ctx);
void table_each_name(struct table *t, void (*fn)(void *ctx, struct name *name),
		     void *ctx);

#endif
