"""The machine that a volume is set up on: its programs and files, and what is on its disks.

Owns: `machine.Machine`, the interface that tests put a model behind; `linux.LinuxMachine`, the real one; and
`device`: what one holds, who uses it, and what two trees of files differ in (`device.differences`).

May not import: sidecars.luks.settings, sidecars.luks.status, sidecars.luks.volume, sidecars.luks.migration.
"""
