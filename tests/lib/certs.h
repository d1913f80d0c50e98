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

/*
 * The same with a certificate that is valid from from_s to to_s seconds from
 * now on; it is for localhost, 127.0.0.1 and ::1, and for clients.
 */
void certs_make_for(const char *dir, const char *name, long from_s, long to_s);

#endif
