"""What is done with backups that are there: none of it needs a server.

Owns: listing, which stay and which go (`catalog`), proving that one is whole, and other
keys for it (`verification`), the timers that do it every night, and plaintext backups of the time before
(`schedule`).

May not import: sidecars.backup.dumping, sidecars.backup.restoring, pymongo.
"""
