"""From a server into a backup: which collections, at which moment, read by what.

Owns: `dump.dump`, which asks what there is and at which moment, and lets `readers` read it, several at the
same time where no snapshot binds them.

May not import: sidecars.backup.keeping, sidecars.backup.restoring.
"""
