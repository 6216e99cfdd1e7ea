"""From a backup, or any dump of mongodump, into a server.

Owns: what goes where, and how far a restore is (`plan`); the restore itself with the comparison at its end
(`restore.Restore`), and a drill in a server that is thrown away (`restore.drill`).

May not import: sidecars.backup.keeping.
"""
