"""Encrypted backups: one sealed file a backup, its description beside it, and what keeps both sound.

Owns: the file format `NAME.tar.gz.enc` and its sidecar `NAME.tar.gz.enc.json`, and all that is done with
backups.

    stores      where they are kept: directories, buckets
    sealed      the format: header, key slots, chunks, sidecar, manifest, signature
    archive     the files of a dump: their names, what stands in them, how they are written and read
    dumping     from a server into a backup
    keeping     listing, verifying, rekeying, scheduling, pruning; the transition from plaintext backups
    restoring   from a backup into a server

The walk, writing: `dumping.dump.dump` asks what there is, reads it in blocks, and writes a tar into a
`sealed.payload.SealedWriter`, which compresses and encrypts it into a store. `commit` writes the sidecar and
gives the file its name. Reading: `sealed.payload.SealedReader` returns no byte that was not authenticated;
`archive.dump_files.survey` says what is in it, `restoring.plan.plan` where it goes, and
`restoring.restore.Restore` puts it there and compares.

May not import: wire, policies, proxy, asyncio. Of the rooms it uses audit, keys and crypto.
Specifications: docs/format/backup.md (normative); Hoang, Reyhanitabar, Rogaway and Vizar 2015; RFC 9180.
"""
