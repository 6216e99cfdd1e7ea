"""Conditions that ciphertext cannot answer, judged on the values that are stored.

Owns: what is asked for a command and learned for it (`asked`), and whether a plain value satisfies a
condition (`conditions`, `patterns`). It knows no session and no key: `proxy.session` asks the server, and
opens envelopes.

May import: `policies.errors`, `policies.file`, `wire`.
"""
