"""The files of a dump: what they are called, what stands in them, how they are written and read.

Owns: mongodump's names, options and indexes (`metadata`); documents in blocks, their digests, and the list of
whole collections (`contents`); the `tar` that they stand in. `dump_files` walks a dump wherever it is, says
what is in it, and writes it as a directory.

May not import: sidecars.backup.dumping, sidecars.backup.keeping, sidecars.backup.restoring, pymongo.
"""
