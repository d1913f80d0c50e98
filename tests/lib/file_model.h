/*
 * tests/lib/file_model.h - a tree of files in memory, as plain as can be: what
 * the store must be like after a list of operations of a mount and of HTTP
 * clients, and what it must answer to each. One model a program; one thread.
 */
#ifndef TESTS_LIB_FILE_MODEL_H
#define TESTS_LIB_FILE_MODEL_H

#include "store/file.h"

enum {
	MODEL_BIG = 150000,	  /* bytes of one write or value, at most    */
	MODEL_BYTES_MAX = 400000, /* of a file                               */
	MODEL_NAMES_MAX = 300,
	MODEL_INODES_MAX = 8192,
	MODEL_PATH_BYTES = 48,
};

struct model_inode {
	uint32_t type, mode, names;
	bool has_mode, has_xattr;
	uint8_t xattr;
	uint8_t *data;
	uint32_t bytes;
	uint64_t ino; /* 0: not seen yet */
};

/* A key: the file's, or the explicit directory's without its slash. */
struct model_name {
	char path[MODEL_PATH_BYTES];
	int inode;
};

struct file_model {
	struct model_inode inodes[MODEL_INODES_MAX];
	struct model_name names[MODEL_NAMES_MAX];
	int inode_count, name_count;
};

extern struct file_model file_model;

enum file_job_kind {
	JOB_CREATE,
	JOB_REMOVE,
	JOB_LINK,
	JOB_CHMOD,
	JOB_XATTR,
	JOB_WRITE,
	JOB_RESIZE,
	JOB_RENAME,
	JOB_PUT,
	JOB_PUT_DIR,
	JOB_DELETE,
	JOB_DELETE_PREFIX,
	JOB_KINDS
};

struct file_job {
	enum file_job_kind kind;
	char path[MODEL_PATH_BYTES], path2[MODEL_PATH_BYTES],
		key[MODEL_PATH_BYTES + 1];
	uint32_t type, mode, bytes, off, flags;
	uint8_t which;
	enum err expected, err;
	bool done;
	struct store_file_op file;
	struct store_op op;
	struct store_write write;
};

/* Nothing is there any more. */
void file_model_reset(void);

/* Carry j out, of which path, path2, key and the numbers are set. */
enum err file_model_run(const struct file_job *j);

/* What is at path; NULL: nothing, or a directory without a record. */
struct model_inode *file_model_inode(const char *path);
bool file_model_is_dir(const char *path);
bool file_model_exists(const char *path);
bool file_model_is_below(const char *path, const char *dir);

/* What an operation on path answers when nothing is there. */
enum err file_model_absence(const char *path);

/* MODEL_BIG bytes that tell which they are. */
const uint8_t *file_model_data(uint8_t which);

#endif
