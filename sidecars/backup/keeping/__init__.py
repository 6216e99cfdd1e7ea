"""What is done with backups that are there: none of it needs a server.

Owns: listing (`catalog`), proving that one is whole (`verification`), other keys for it (`rekey`), which
stay (`retention`) and which go (`prune`), the timers that do it every night (`schedule`), and plaintext
backups of the time before (`transition`).

May not import: sidecars.backup.dumping, sidecars.backup.restoring, pymongo.
"""
