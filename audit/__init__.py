"""The audit log: lines that nobody can change unseen, and what proves it.

Owns the form of a line and the tree over all lines (`line`), keys, signed checkpoints and documents
(`signing`), the log as a set of files that several processes append to (`log`, `files`), and its verification
(`verification`, `following`).

What is written into a line is its caller's matter: the proxy's sessions, the operator's commands. No line has
a value.

May not import: policies, proxy, sidecars, asyncio, socket, ssl, logging. Of keys it uses `private_file`.
Sources: RFC 8785 (form of a line), RFC 9162 section 2.1 (tree), C2SP signed-note and tlog-checkpoint.
"""
