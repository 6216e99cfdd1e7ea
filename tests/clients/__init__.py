"""Unchanged clients of MongoDB: each has one program, run directly on a server and through Sealwire.

A program is called with a connection string and prints JSON lines: `{"client": NAME, "version": VERSION}`,
then `{"step": NAME, "seen": ANYTHING}` for each step, with nothing that differs from run to run. Every text
that it stores at a covered path (policy.yaml) has the word `canary` in it: the servers' files are searched.

`harness.py` runs and compares, `table.py` and `debian.py` list the clients, `docs/clients.json` keeps what
came of it.
"""
