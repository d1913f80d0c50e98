/*
 * node/link_wire.h - the frames on a connection between two nodes.
 *
 * Little-endian. Every frame begins at a multiple of 8 from the first byte of
 * the connection, so that what lies in it is aligned where it was received.
 *
 *  off  size  frame header
 *    0     4  magic "rcnl"
 *    4     1  LINK_VERSION
 *    5     1  kind, enum link_kind
 *    6     2  zero
 *    8     4  body_bytes
 *   12     4  crc32c of the body
 *   16     4  zero
 *   20     4  crc32c of bytes 0..19
 *   24     -  body, zeros to the next multiple of 8
 *
 *  off  size  body of HELLO and WELCOME
 *    0     1  purpose, enum link_purpose (WELCOME: that of the HELLO)
 *    1     1  1: the sender has a cluster secret
 *    2     2  name_bytes
 *    4     2  address_bytes
 *    6     2  zero
 *    8    16  cluster id; zeros: none yet
 *   24     8  node id of the sender; 0: none yet
 *   32     8  node id that the receiver is taken for; 0: whoever it is
 *   40    32  nonce
 *   72    32  WELCOME: proof that the sender knows the secret, or zeros
 *  104     -  name of the sender; then the address where it listens, so that
 *             one whose member map is behind can answer a newer member
 *
 * PROOF: 32 bytes, or zeros without a secret. READY: empty. REFUSAL: a u32,
 * enum link_refusal, then text for people. MESSAGE: what the store sent.
 * QUESTION, ANSWER: node/formation.h.
 *
 *      dialler                       acceptor
 *      HELLO         ------------>
 *                    <------------   WELCOME (or REFUSAL)
 *      PROOF         ------------>
 *                    <------------   READY (or REFUSAL)
 *      MESSAGE ...   ------------>                      purpose MESSAGES
 *      QUESTION      ------------>                      purpose QUESTIONS
 *                    <------------   ANSWER
 *
 * Thread: any; pure functions.
 */
#ifndef NODE_LINK_WIRE_H
#define NODE_LINK_WIRE_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/net.h"

enum {
	LINK_VERSION = 1,
	LINK_HEADER_BYTES = 24,
	LINK_NONCE_BYTES = 32,
	LINK_MAC_BYTES = 32,
	LINK_NAME_BYTES_MAX = 64, /* with its NUL                            */
	LINK_HELLO_MAC_OFF = 72,
	LINK_HELLO_FIXED_BYTES = 104,
	LINK_GREETING_BYTES_MAX = 1024, /* of a body before both are proved  */
	LINK_QUESTION_BYTES_MAX = 64 << 10,
	LINK_REFUSAL_TEXT_BYTES = 200,
};

enum link_kind {
	LINK_HELLO = 1,
	LINK_WELCOME,
	LINK_PROOF,
	LINK_READY,
	LINK_REFUSAL,
	LINK_MESSAGE,
	LINK_QUESTION,
	LINK_ANSWER,
	LINK_KIND_MAX
};

enum link_purpose { LINK_FOR_MESSAGES = 1, LINK_FOR_QUESTIONS = 2 };

enum link_refusal {
	LINK_REFUSED_VERSION = 1,
	LINK_REFUSED_CLUSTER, /* belongs to another one                      */
	LINK_REFUSED_TARGET,  /* the receiver is not who was called          */
	LINK_REFUSED_SECRET,
	LINK_REFUSED_UNKNOWN, /* the sender is no member as far as is known  */
	LINK_REFUSED_REMOVED, /* it was one                                  */
	LINK_REFUSED_STARTING,
	LINK_REFUSED_MALFORMED,
};

struct link_header {
	enum link_kind kind;
	uint32_t body_bytes, body_crc;
};

/* Bytes of a whole frame with a body of n bytes. */
static inline size_t link_frame_bytes(size_t n)
{
	return LINK_HEADER_BYTES + (n + 7) / 8 * 8;
}

/* Encode the header of a frame whose body has that checksum. */
void link_header_encode(uint8_t p[LINK_HEADER_BYTES], enum link_kind kind,
			uint32_t body_bytes, uint32_t body_crc);

/*
 * Decode; the body is not looked at. ERR_INVALID: not a frame, or damaged.
 * ERR_VERSION: of another version.
 */
MUST_CHECK enum err link_header_decode(const uint8_t p[LINK_HEADER_BYTES],
				       struct link_header *h);

struct link_hello {
	enum link_purpose purpose;
	bool has_secret;
	uint8_t cluster_id[16];
	uint64_t from, to;
	uint8_t nonce[LINK_NONCE_BYTES];
	uint8_t mac[LINK_MAC_BYTES];
	char name[LINK_NAME_BYTES_MAX];
	char address[NET_ADDRESS_BYTES_MAX]; /* may be empty                 */
};

/* Append the body of a HELLO or WELCOME. ERR_NOMEM. */
MUST_CHECK enum err link_hello_encode(struct buf *b,
				      const struct link_hello *hello);

/* ERR_INVALID. */
MUST_CHECK enum err link_hello_decode(struct bytes body,
				      struct link_hello *hello);

/* Append the body of a REFUSAL. ERR_NOMEM. */
MUST_CHECK enum err link_refusal_encode(struct buf *b, enum link_refusal code,
					const char *text);

/*
 * text: for people, always terminated; what is not printable is '?'. A code of
 * a later version is LINK_REFUSED_MALFORMED. ERR_INVALID.
 */
MUST_CHECK enum err link_refusal_decode(struct bytes body,
					enum link_refusal *code,
					char text[LINK_REFUSAL_TEXT_BYTES]);

#endif
