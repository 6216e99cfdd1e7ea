"""The move of a data directory on to a volume, step by step, and back.

Owns: what stands against it (`preflight.examine`), the journal (`journal.Journal`), the steps in their order
(`steps.STEPS`) with what they do to the volume, the data and the service, and the run through them
(`migration.go_on`, `migration.roll_back`, `migration.finish`).

May not import: sidecars.luks.volume.headers, sidecars.luks.volume.header_file,
sidecars.luks.volume.passphrase_source.
"""
