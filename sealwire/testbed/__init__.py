"""Real parts on this machine for demo, bench and tests: a database, a proxy, ports, certificates.

The database is SecantusDB, a MongoDB-compatible server that a package index can install; it always runs as
a separate process and is never imported. It is not mongod.

May not import: cli, demo.
"""
