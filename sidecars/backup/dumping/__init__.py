"""From a server into a backup: which collections, at which moment, read by what.

Owns: `dump.dump`, which asks what there is (`inventory`) and at which moment (`consistency`), and lets
`readers` read it, in `parallel` where no snapshot binds them.

May not import: sidecars.backup.keeping, sidecars.backup.restoring.
"""
