"""The sealed file and its sidecar: what docs/format/backup.md describes, written and read.

Owns: the header and its key slots, the chunks of AES-256-GCM, gzip inside them, the sidecar, the manifest
that stands in both, the signature and what is proved without one. Written by `payload.SealedWriter`, read by
`payload.SealedReader`, which returns no byte that was not authenticated. It knows no BSON and no tar.

May not import: sidecars.backup.archive, sidecars.backup.dumping, sidecars.backup.keeping,
sidecars.backup.restoring, tarfile, bson, pymongo.
"""
