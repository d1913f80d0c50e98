/*
 * store/file_internal.h - a file as decisions and reads see it.
 *
 * Where its record lies, with how many names, whether somebody made the
 * directory or it follows from the keys below it: all that is settled here
 * (file_node.c finds, file_put.c writes back), so that an operation only says
 * what changes.
 *
 * The shape of an operation, core thread:
 *
 *	file_find_ino(&d->view, op->path, op->ino, &n)
 *	n.attrs... = ...; file_note_change(&n)      or file_note_data(&n)
 *	file_node_value(d, &n)                      unless the value changes
 *	file_node_put(d, &n)
 *	file_node_done(&n)
 */
#ifndef STORE_FILE_INTERNAL_H
#define STORE_FILE_INTERNAL_H

#include "store/attrs.h"
#include "store/file_decide.h"

enum { FILE_KEY_ROOM = RECORD_KEY_BYTES_MAX + 1 };

struct file_node {
	struct bytes path; /* the caller's; found by another name: in room   */
	struct bytes key;  /* of path's record: path, path + "/", "\0d"      */
	bool present;	   /* else nothing is at path                        */
	bool is_dir;
	bool implicit;	/* a directory without a record                       */
	bool linked;	/* attributes and value lie in an inode record        */
	unsigned flags; /* of LOC_CONTENT, LOC_LINK, LOC_SPECIAL             */
	uint64_t ino;	/* 0: of a new file, a number that file_node_put
			   gives it                                          */
	uint64_t rev;
	uint64_t bytes;	    /* of the value                                  */
	uint64_t mtime_ns;  /* of the record; 0: none                        */
	uint64_t expiry_ns; /* of this name; 0: none                         */
	struct attrs attrs; /* views valid until file_node_done              */
	/* with LOC_CONTENT: chunk_bytes above 0 */
	uint64_t content_id;
	uint32_t chunk_bytes, content_flags;
	/* without: set by file_node_value, or by who changes it */
	bool has_value;
	struct bytes value;
	/* private */
	bool pending;	  /* its record is not applied yet */
	uint64_t version; /* of the record that has the value */
	struct engine_value held;
	uint8_t *copy; /* of pending attributes */
	uint8_t room[FILE_KEY_ROOM];
};

/* ------------------------------------------------------------ file_node.c - */

/* The number that a record without ATTRS_INO has. */
uint64_t file_ino_of(const struct view *v, uint64_t version);

/* The number of the directory path while it has no record. */
uint64_t file_implicit_ino(struct bytes path);

/*
 * What is at path, which is a possible key or empty (the root, always there).
 * *n is the caller's; file_node_done in any case. Values that are chunked are
 * only named, inline ones not read.
 * ERR_NOT_FOUND, ERR_NOT_DIR: n is absent, with path set. ERR_CORRUPT, ERR_IO,
 * ERR_NOMEM. Thread: of v; any, if v is of the applied state.
 */
MUST_CHECK enum err file_find(const struct view *v, struct bytes path,
			      struct file_node *n);

/*
 * The same for the file that is, or was, called path and has number ino (0:
 * whatever path is). A file of several names is found by another one of them.
 * ERR_STALE: path is another by now, or nothing. Others as file_find.
 */
MUST_CHECK enum err file_find_ino(const struct view *v, struct bytes path,
				  uint64_t ino, struct file_node *n);

/*
 * The file with several names that has number ino, without any of them: key is
 * empty. ERR_NOT_FOUND; others as file_find.
 */
MUST_CHECK enum err file_find_inode(const struct view *v, uint64_t ino,
				    struct file_node *n);

/* Release what n holds. */
void file_node_done(struct file_node *n);

/* What v sees when nothing is pending: the applied state. Thread: any. */
struct view file_view_applied(struct store *s, uint32_t partition);

/* The directory that path lies in; the root's is the root. A view into path. */
struct bytes file_parent_path(struct bytes path);

/* S_IFMT bits of what n is; its names. */
uint32_t file_type(const struct file_node *n);
uint32_t file_links(const struct file_node *n);

/* ------------------------------------------------------------- file_put.c - */

/*
 * Load the inline value of n, to be written back as it is; in the entry's own
 * memory. Nothing for directories, chunked values, or when it is there.
 * ERR_PENDING, ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
MUST_CHECK enum err file_node_value(struct file_decision *d,
				    struct file_node *n);

/*
 * Times. The data of n change: mtime and ctime are the entry's. Its attributes
 * change: ctime is the entry's, mtime what it was.
 */
void file_note_data(struct file_node *n);
void file_note_change(struct file_node *n);

/*
 * Add the records that make n what it says: attributes, expiry, and the value
 * (bytes and either value or content; an inline value has at most
 * STORE_INLINE_BYTES_MAX bytes and stays the caller's until the entry is
 * appended). An implicit directory becomes explicit; of a linked file the
 * records of all names are written too. n->ino and n->rev are set.
 * ERR_NOSPC: attributes over their bound. ERR_NOMEM, ERR_TOO_LARGE (entry).
 */
MUST_CHECK enum err file_node_put(struct file_decision *d, struct file_node *n);

/*
 * Add the records that take the name n away (type: RECORD_DELETE or
 * RECORD_EXPIRE); of the last name also the content. Of a file with more names
 * the value must be loaded. n is absent afterwards.
 */
MUST_CHECK enum err file_node_remove(struct file_decision *d,
				     struct file_node *n, uint8_t type);

/* A record that is to be, and what it makes of its key. */
struct file_record {
	struct engine_record r;
	struct pending_state becomes;
};

/*
 * The record of the key `key` that says what n is, not added yet; of a file of
 * several names that of the name only. n->ino is set. ERR_NOSPC, ERR_NOMEM.
 */
MUST_CHECK enum err file_node_record(struct file_decision *d,
				     struct file_node *n, struct bytes key,
				     struct file_record *out);

/* Add it. ERR_NOMEM. */
MUST_CHECK enum err file_record_add(struct file_decision *d,
				    const struct file_record *record);

/*
 * Names of a file of several: all of them, appended to names; the next of them
 * (*off 0 at first, false: no more); one more, one less. Who adds or drops one
 * sets ATTRS_NAMES and puts the file.
 */
MUST_CHECK enum err file_names(struct file_decision *d, uint64_t ino,
			       struct buf *names);
bool file_names_next(const struct buf *names, size_t *off, struct bytes *name);
MUST_CHECK enum err file_add_name(struct file_decision *d, uint64_t ino,
				  struct bytes name);
MUST_CHECK enum err file_drop_name(struct file_decision *d, uint64_t ino,
				   struct bytes name);

/* Of a file with several names all are gone: add the rest of it. */
MUST_CHECK enum err file_remove_inode(struct file_decision *d,
				      const struct file_node *n);

/*
 * For whoever deals in keys, not files. The name key of a file with several
 * goes (type as file_node_remove). The record of key goes, which has nothing
 * else. The attributes that key has when it is replaced: those of before, of a
 * damaged record none; *attrs lives as long as the entry.
 */
MUST_CHECK enum err file_remove_linked(struct file_decision *d,
				       struct bytes key, uint8_t type);
MUST_CHECK enum err file_add_delete(struct file_decision *d, struct bytes key,
				    uint8_t type);
MUST_CHECK enum err file_keep_attrs(struct file_decision *d, struct bytes key,
				    const struct key_state *state,
				    struct bytes *attrs);

/* Add the record that deletes the content of n, if it has one. */
MUST_CHECK enum err file_drop_content(struct file_decision *d,
				      const struct file_node *n);

/* ------------------------------------------------------------ file_data.c - */

/* With STORE_FILE_DROP_SETID: the set-id bits of n go. */
void file_drop_setid(const struct store_file_op *op, struct file_node *n);

/* The value of n gets d->op->off bytes; its size in n. As file_node_value. */
MUST_CHECK enum err file_set_bytes(struct file_decision *d,
				   struct file_node *n);

/* ---------------------------------------------------------- file_rename.c - */

/* Decides d->op, a RENAME. */
MUST_CHECK enum err decide_file_rename(struct file_decision *d);

/*
 * What the record "\0v" says; its keys are views into value. False: it is none.
 */
bool file_meaning_decode(struct bytes value, struct store_seen *seen);

/* ------------------------------------------------------------- file_dir.c - */

/*
 * The directory that path lies in. With STORE_FILE_POSIX it must be there.
 * ERR_NOT_FOUND, ERR_NOT_DIR; ERR_STALE: not dir_ino (0: any). Others as
 * file_find.
 */
MUST_CHECK enum err file_find_parent(struct file_decision *d, struct bytes path,
				     uint64_t dir_ino,
				     struct file_node *parent);

/* Is path's directory dir_ino? ERR_STALE; others as file_find_parent. */
MUST_CHECK enum err file_check_dir(struct file_decision *d, struct bytes path,
				   uint64_t dir_ino);

/*
 * Names in the directory have changed: with STORE_FILE_POSIX it gets the
 * entry's times, and a record if it had none. Errors as file_node_put.
 */
MUST_CHECK enum err file_touch(struct file_decision *d,
			       struct file_node *parent);

/*
 * n is absent, as file_find said with `found`: may a file (or directory) be
 * made there? OK: n is what d->op says it will be (fields, mode, number), with
 * an empty value, not put. ERR_EXISTS, ERR_NOT_FOUND, ERR_NOT_DIR, ERR_STALE,
 * ERR_KEY_TOO_LONG; parent is set on OK.
 */
MUST_CHECK enum err file_make(struct file_decision *d, enum err found,
			      struct file_node *n, struct file_node *parent);

/* ----------------------------------------------------------------- kinds -- */

/* Each decides d->op, of its kind: see store/file_decide.h. */
MUST_CHECK enum err decide_file_create(struct file_decision *d);
MUST_CHECK enum err decide_file_write(struct file_decision *d);
MUST_CHECK enum err decide_file_allocate(struct file_decision *d);
MUST_CHECK enum err decide_file_remove(struct file_decision *d);
MUST_CHECK enum err decide_file_link(struct file_decision *d);
MUST_CHECK enum err decide_file_set(struct file_decision *d);
MUST_CHECK enum err decide_file_xattr(struct file_decision *d);

/* The extended attribute name of n: true and a view valid as n's. */
bool file_xattr_find(const struct file_node *n, struct bytes name,
		     struct bytes *value);

#endif
