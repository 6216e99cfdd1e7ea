"""Where a login is judged: the handshake before it, what passes without it, and the one that cannot pass.

Owns: `handshake.prepare_hello` and `rewrite_hello`, the one place that changes handshakes, with the addresses
that a client is told (`Topology`), there and in what else tells of members; `caller.Caller`, who the client
is, what it says of its commands, and what passes before the server has said yes; `authentication`, which
logins end here; `identities`, as whom the proxy logs clients in that have shown a certificate.

May not import: keys, crypto, policies other than policies.roles, proxy.session.sides,
proxy.session.conversation, proxy.session.rewriting, proxy.session.revealing or proxy.session.write_errors.
"""
