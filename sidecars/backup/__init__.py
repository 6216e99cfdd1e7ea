"""Encrypted backups: one sealed file a backup, its description beside it, and what keeps both sound.

Owns: the file format `NAME.tar.gz.enc` and its sidecar `NAME.tar.gz.enc.json`, the recipients whose keys open
it, the stores that hold it, and what is done with it there: list, verify, rekey, prune, schedule. Also the
source and the restore: dumping a server into a tar, and restoring one.

The walk, writing: whoever dumps writes a tar into a `sealed_writer.SealedWriter`: gzip (`compression`),
then chunks of AES-256-GCM (`chunks`) behind an authenticated `header`, into a `store`; `commit(manifest)`
writes the sidecar and gives the file its name. Reading: `sealed_reader.SealedReader` returns no byte that
was not authenticated. `verification` reads all of it.

The source: `dump` asks what there is (`inventory`, `metadata`), at which moment (`consistency`), lets
`readers` read it in `blocks` by `parallel` threads, and writes them with `tar_writer` under mongodump's
`names`; `contents` says what whole collections hold (`digest`). The restore: `dump_files` walks a dump
wherever it is, `survey` says what is in it, `restore_plan` where it goes, `restore` puts it there by the
commands of `restore_server`, notes it in a `journal` and compares (`comparison`). `drill` does that to a
server that is thrown away; `unpack` to a directory.

May not import: wire, policies, proxy, asyncio. Of the rooms it uses keys and crypto.
Specifications: docs/format/backup.md (normative); Hoang, Reyhanitabar, Rogaway and Vizar 2015; RFC 9180.
"""
