/*
 * httpd/txn.h - the memory of a parsed batch.
 */
#ifndef HTTPD_TXN_H
#define HTTPD_TXN_H

struct txn;

/* Release t with the values its results pin. NULL is accepted. Any thread. */
void txn_free(struct txn *t);

#endif
