"""One LUKS volume: made, opened and closed, its key slots, and its header in a sealed backup.

Owns: the commands of cryptsetup (`cryptsetup.open_volume` and its like), `volume.open_and_mount`, where a
passphrase comes from (`passphrase_source.read_passphrase`), and headers that are backed up and put back
(`headers.back_up`, `header_file.seal`).

May not import: sidecars.luks.status, sidecars.luks.migration.
"""
