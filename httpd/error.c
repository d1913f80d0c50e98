/*
 * httpd/error.c - what each error of the tree is in HTTP.
 *
 * One switch without a default: a new code does not build until it is said
 * here what a client sees. 503 always means that nothing was done and nothing
 * will be; 504 that the outcome is unknown.
 */
#include "httpd/reply.h"

static struct problem make(unsigned status, const char *code,
			   const char *message)
{
	return (struct problem){ status, code, message, NULL };
}

struct problem error_problem(enum err err)
{
	switch (err) {
	case ERR_NOT_FOUND:
		return make(404, "not_found", "no such key");
	case ERR_INVALID:
		return make(400, "bad_request", "the request is malformed");
	case ERR_BAD_KEY:
		return make(400, "bad_key", "not a possible key");
	case ERR_KEY_TOO_LONG:
		return make(414, "key_too_long",
			    "a key has at most 4095 bytes");
	case ERR_TOO_LARGE:
		return make(413, "value_too_large", "over the size limit");
	case ERR_PRECONDITION:
		return make(412, "precondition_failed",
			    "the key is not in the state that was asked for");
	case ERR_NOT_DIR:
		return make(409, "not_a_directory",
			    "a part of the path is a key itself");
	case ERR_IS_DIR:
		return make(409, "is_a_directory",
			    "there are keys below this one");
	case ERR_NOT_EMPTY:
		return make(409, "not_empty", "the directory has entries");
	case ERR_NOT_FILE:
		return make(409, "not_a_regular_file",
			    "a link, fifo, socket or device has no value");
	case ERR_EXISTS:
		return make(409, "exists", "there is something already");
	case ERR_DUPLICATE:
		return make(400, "duplicate_key", "a key is written twice");
	case ERR_CROSS_PART:
		return make(400, "cross_partition",
			    "the keys lie in several partitions");
	case ERR_NO_LEADER:
		return make(503, "no_leader",
			    "no leader now; nothing was done");
	case ERR_STARTING:
		return make(503, "starting", "not serving yet");
	case ERR_CLOSED:
		return make(503, "stopping", "stopping; nothing was done");
	case ERR_UNKNOWN:
		return make(504, "commit_timeout",
			    "it is not known whether the write happened");
	case ERR_COMPACTED:
		return make(410, "compacted",
			    "that part of the history is gone: list, then "
			    "watch from the revision of the listing");
	case ERR_BUSY:
	case ERR_FULL:
		return make(429, "too_many_requests", "over a limit; retry");
	case ERR_NOSPC:
		return make(507, "out_of_space", "no space left");
	case ERR_CORRUPT:
		return make(500, "corrupt", "the stored bytes are damaged");
	case ERR_NOMEM:
		return make(503, "out_of_memory", "nothing was done");
	case OK:
	case ERR_PENDING:
	case ERR_STALE:
	case ERR_NO_ATTR:
	case ERR_LINKS_MAX:
	case ERR_IO:
	case ERR_VERSION:
	case ERR_FOREIGN:
	case ERR_PERMISSION:
	case ERR_MAX:
		break;
	}
	return make(500, "internal", "internal error");
}

const char *error_reason(unsigned status)
{
	switch (status) {
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 408:
		return "Request Timeout";
	case 409:
		return "Conflict";
	case 413:
		return "Content Too Large";
	case 429:
		return "Too Many Requests";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	case 507:
		return "Insufficient Storage";
	default:
		return status < 500 ? "Refused" : "Failed";
	}
}
