/*
 * base/err.c - the words for each error code.
 *
 * One switch without a default: a new code does not build until it has a text.
 */
#include "base/err.h"

const char *err_text(enum err e)
{
	switch (e) {
	case OK:
		return "ok";
	case ERR_NOMEM:
		return "out of memory";
	case ERR_IO:
		return "input/output error";
	case ERR_NOSPC:
		return "out of space";
	case ERR_CORRUPT:
		return "corrupt";
	case ERR_NOT_FOUND:
		return "not found";
	case ERR_EXISTS:
		return "already exists";
	case ERR_INVALID:
		return "invalid";
	case ERR_BAD_KEY:
		return "bad key";
	case ERR_KEY_TOO_LONG:
		return "key too long";
	case ERR_TOO_LARGE:
		return "too large";
	case ERR_PRECONDITION:
		return "precondition failed";
	case ERR_NOT_DIR:
		return "not a directory";
	case ERR_IS_DIR:
		return "is a directory";
	case ERR_NOT_EMPTY:
		return "directory not empty";
	case ERR_DUPLICATE:
		return "duplicate key";
	case ERR_CROSS_PART:
		return "keys of several partitions";
	case ERR_NO_LEADER:
		return "no leader";
	case ERR_STARTING:
		return "starting";
	case ERR_UNKNOWN:
		return "outcome unknown";
	case ERR_COMPACTED:
		return "history compacted";
	case ERR_BUSY:
		return "busy";
	case ERR_FULL:
		return "full";
	case ERR_VERSION:
		return "written by a newer version";
	case ERR_FOREIGN:
		return "belongs to another node";
	case ERR_CLOSED:
		return "closed";
	case ERR_PENDING:
		return "pending";
	case ERR_PERMISSION:
		return "permission denied";
	case ERR_STALE:
		return "another file by now";
	case ERR_NOT_FILE:
		return "not a regular file";
	case ERR_NO_ATTR:
		return "no such attribute";
	case ERR_LINKS_MAX:
		return "too many names";
	case ERR_MAX:
		break;
	}
	return "unknown error";
}
