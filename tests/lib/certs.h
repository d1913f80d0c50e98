/*
 * tests/lib/certs.h - throw-away certificate authorities for tests.
 */
#ifndef TESTS_LIB_CERTS_H
#define TESTS_LIB_CERTS_H

/*
 * Write dir/NAME-ca.pem, and a certificate of that authority with its key:
 * dir/NAME-cert.pem, dir/NAME-key.pem. Aborts when that is impossible.
 */
void certs_make(const char *dir, const char *name);

#endif
