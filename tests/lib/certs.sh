#!/bin/bash
# tests/lib/certs.sh - sourced by shell tests: throw-away certificates.
#
# Needs certtool (gnutls-bin).

# $1: directory, $2: name. Makes $1/$2-ca.pem and its key $1/$2-ca-key.pem.
make_ca() {
	certtool --generate-privkey --ecc --outfile "$1/$2-ca-key.pem" \
		2>/dev/null || return
	printf 'cn = "%s authority"\nca\ncert_signing_key\nexpiration_days = 9\n' \
		"$2" >"$1/$2.cfg"
	certtool --generate-self-signed --load-privkey "$1/$2-ca-key.pem" \
		--template "$1/$2.cfg" --outfile "$1/$2-ca.pem" 2>/dev/null
}

# $1: directory, $2: authority, $3: name, $4: lines for the template. Makes
# $1/$3-cert.pem and $1/$3-key.pem, for localhost, server and client.
make_cert() {
	certtool --generate-privkey --ecc --outfile "$1/$3-key.pem" \
		2>/dev/null || return
	printf '%s\n' "cn = \"$3\"" 'dns_name = "localhost"' \
		'ip_address = "127.0.0.1"' 'ip_address = "::1"' \
		tls_www_server tls_www_client signing_key \
		"${4:-expiration_days = 9}" >"$1/$3.cfg"
	certtool --generate-certificate --load-privkey "$1/$3-key.pem" \
		--load-ca-certificate "$1/$2-ca.pem" \
		--load-ca-privkey "$1/$2-ca-key.pem" \
		--template "$1/$3.cfg" --outfile "$1/$3-cert.pem" 2>/dev/null
}

# $1: directory, $2: authority, $3: name of a certificate, $4: lines for the
# template. Prints a revocation list with it.
make_crl() {
	printf '%s\n' "${4:-crl_next_update = 9}" 'crl_number = 1' \
		>"$1/$2-crl.cfg"
	certtool --generate-crl --load-ca-privkey "$1/$2-ca-key.pem" \
		--load-ca-certificate "$1/$2-ca.pem" \
		--load-certificate "$1/$3-cert.pem" \
		--template "$1/$2-crl.cfg" 2>/dev/null
}
