"""The audit log: lines that nobody can change unseen, and what proves it.

Owns the form of a line (`line`), the tree over all lines (`tree`), signed checkpoints and their keys
(`signing`, `checkpoint`), the log as a set of files that several processes append to (`log`, `tail`), and
its verification (`verification`).

What is written into a line is its caller's matter: the proxy's sessions, the operator's commands. No line has
a value.

May not import: policies, proxy, sidecars, asyncio, socket, ssl, logging. Of keys it uses `private_file`.
Sources: RFC 8785 (form of a line), RFC 9162 section 2.1 (tree), C2SP signed-note and tlog-checkpoint.
"""
