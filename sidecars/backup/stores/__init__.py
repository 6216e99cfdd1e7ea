"""Where backups are kept: the names of a backup's two objects, and places that hold them.

Owns: `store.Store`, what every place offers; directories (`local_store`) and buckets (`s3_store`); from an
address to one of them (`local_store.open_store`).

May not import: sidecars.backup.sealed, sidecars.backup.archive, sidecars.backup.dumping,
sidecars.backup.keeping, sidecars.backup.restoring.
"""
