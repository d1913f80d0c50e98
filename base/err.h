/*
 * base/err.h - the one error type of the whole tree.
 *
 * Every function that can fail returns an enum err; OK is 0. Results go out
 * through the last arguments and are written only on OK. Only base's *_os.c
 * files see errno; they translate it here. Each front end turns these codes
 * into its own (HTTP status, FUSE errno) in one switch without a default, so
 * that a new code does not build until every front end says what it means.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err {
	OK = 0,
	ERR_NOMEM,	  /* out of memory; nothing was changed              */
	ERR_IO,		  /* the disk failed; see the call for what is lost  */
	ERR_NOSPC,	  /* disk or reserve full; nothing was done          */
	ERR_CORRUPT,	  /* bytes do not match their checksum or format     */
	ERR_NOT_FOUND,	  /* no such key, file, entry                        */
	ERR_EXISTS,	  /* the thing to be created is already there        */
	ERR_INVALID,	  /* an argument from outside is malformed           */
	ERR_BAD_KEY,	  /* not a possible key (docs: the rules of keys)    */
	ERR_KEY_TOO_LONG, /* key over 4095 bytes                             */
	ERR_TOO_LARGE,	  /* value, entry or request over its limit          */
	ERR_PRECONDITION, /* If-Match and its kin were not met; a refusal    */
	ERR_NOT_DIR,	  /* a/b where a is a file; a refusal                */
	ERR_IS_DIR,	  /* a where a/b exists; a refusal                   */
	ERR_NOT_EMPTY,	  /* directory a/ still has entries; a refusal       */
	ERR_DUPLICATE,	  /* one txn names a key twice                       */
	ERR_CROSS_PART,	  /* keys of several partitions in one atomic change */
	ERR_NO_LEADER,	  /* nothing was done and nothing will be            */
	ERR_STARTING,	  /* not yet serving; nothing was done               */
	ERR_UNKNOWN,	  /* the outcome of a write is unknown               */
	ERR_COMPACTED,	  /* the asked-for history is gone                   */
	ERR_BUSY,	  /* held by another process or over a limit; later  */
	ERR_FULL,	  /* a bounded queue or table is full; retry         */
	ERR_VERSION,	  /* written by a newer format than this program     */
	ERR_FOREIGN,	  /* a file that belongs to another node or cluster  */
	ERR_CLOSED,	  /* the object is shutting down                     */
	ERR_PENDING,	  /* not an error: the completion will tell          */
	ERR_PERMISSION,	  /* the operating system refused access             */
	ERR_STALE,	  /* the name is another file's by now; a refusal    */
	ERR_NOT_FILE,	  /* no data: a link, fifo, socket, device; a refusal */
	ERR_NO_ATTR,	  /* no such extended attribute; a refusal           */
	ERR_LINKS_MAX,	  /* a file has as many names as it can; a refusal   */
	ERR_MAX
};

/*
 * A short lower-case name of e, such as "out of space", for messages.
 * Never NULL, also for values outside the enum. The string is static.
 * Thread: any.
 */
const char *err_text(enum err e);

#define MUST_CHECK __attribute__((warn_unused_result))

#endif
