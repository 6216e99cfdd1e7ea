"""From a backup, or any dump of mongodump, into a server or a directory.

Owns: what goes where (`plan`), the restore itself (`restore.Restore`) by the commands of `server`, its
`journal`, the `comparison` at its end; a `drill` in a server that is thrown away; `unpack` into a directory.

May not import: sidecars.backup.keeping.
"""
