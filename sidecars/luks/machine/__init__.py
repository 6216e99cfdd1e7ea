"""The machine that a volume is set up on: its programs and files, and what is on its disks.

Owns: `machine.Machine`, the interface that tests put a model behind; `linux.LinuxMachine`, the real one; what
a device holds and who uses it (`device.look_at`); and what two trees of files differ in (`tree.differences`).

May not import: sidecars.luks.settings, sidecars.luks.status, sidecars.luks.volume, sidecars.luks.migration.
"""
