"""Copy a data directory by rsync, then prove that the copy is the same."""

import re
from pathlib import Path

from sealwire.sidecars.luks.errors import LuksReason, VerificationFailed
from sealwire.sidecars.luks.machine.machine import Machine, must
from sealwire.sidecars.luks.machine.tree import differences
from sealwire.sidecars.luks.migration.context import Reporter

# Everything a file has: hard links, ACLs, extended attributes, holes, owners by number.
_OPTIONS = ("-aHAXS", "--numeric-ids", "--delete", "--exclude=/lost+found", "--info=progress2", "--no-i-r")
_COUNTED = re.compile(r"^\s*([\d,.]+)\s+\d+%")


def copy_tree(machine: Machine, source: Path, target: Path, reporter: Reporter, *, again: bool) -> None:
    """Make `target` the same as `source`; what is only in `target` goes.

    `again`: an earlier copy was cut off. Files are then compared by content, since after a power cut one
    may have the right size and time and the wrong bytes.
    Raises CommandFailed.
    """
    reporter.expect("copying", machine.used_bytes(source))
    seen = 0

    def count(line: str) -> None:
        nonlocal seen
        found = _COUNTED.match(line)
        if found is not None:
            now = int(re.sub(r"\D", "", found.group(1)))
            reporter.advance(max(0, now - seen))
            seen = max(seen, now)

    arguments = ["rsync", *_OPTIONS, *(["--checksum"] if again else []), f"{source}/", f"{target}/"]
    must(machine, arguments, on_line=count)
    must(machine, ["sync", "--file-system", str(target)])


def verify_tree(machine: Machine, source: Path, copy: Path, reporter: Reporter) -> None:
    """Read both trees to their end and compare. Raises VerificationFailed COPY_DIFFERS."""
    used = machine.used_bytes(source)
    reporter.expect("reading the source", used)
    wanted = machine.manifest(source, reporter.advance)
    reporter.expect("reading the copy", used)
    different = differences(wanted, machine.manifest(copy, reporter.advance))
    if different:
        raise VerificationFailed(
            LuksReason.COPY_DIFFERS,
            f"{len(different)} of {len(wanted)} files differ between {source} and {copy}: {different[0]}",
            "something writes to the directory, or a disk is failing; look, then run the same command again",
        )
