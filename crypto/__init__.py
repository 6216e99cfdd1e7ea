"""One BSON value to one envelope and back, without I/O.

Owns: AES-256-SIV (RFC 5297), the envelope's byte layout, what its associated data is, the limits on both,
and the self-test that runs before anything listens.

Beside that, what a certificate says: `x509` how long it counts and whose it is, `host_names` whom it names.

The walk: `cipher.ValueCipher` holds the key of one class and version; `encrypt_deterministically` and
`encrypt_randomly` make an envelope from a BSON type and the value's bytes; `envelope.parse_header` reads
which key an envelope needs, without any key; `ValueCipher.decrypt` opens it. Short values go
through `short_siv` in builds that ask for it (SEALWIRE_SHORT_SIV=1). `associated_data` in `envelope` is the
only place that says what is authenticated. BSON is neither parsed nor built here.

May not import: any other room, asyncio, socket, ssl, logging, time, subprocess; no files. The only call into
the operating system is `os.urandom`, for nonces.
Specifications: docs/format/envelope.md (normative); RFC 5297; bsonspec.org 1.1.
"""
