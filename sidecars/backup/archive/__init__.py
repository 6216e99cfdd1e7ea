"""The files of a dump: what they are called, what stands in them, how they are written and read.

Owns: mongodump's `names`, options and indexes (`metadata`), documents as `blocks`, their `digest`, the list
of whole collections (`contents`), the tar that they stand in. `archive_check` reads all of a backup's tar;
`dump_files` walks a dump wherever it is, and `survey` says what is in it.

May not import: sidecars.backup.dumping, sidecars.backup.keeping, sidecars.backup.restoring, pymongo.
"""
