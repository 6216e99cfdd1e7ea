"""Finished commands for tests of who hears of them."""

from dataclasses import replace
from typing import Any

from sealwire.proxy.server.observability.traces import FinishedCommand
from sealwire.proxy.session.watch import CommandNote, TraceParent

PARENT = TraceParent(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, is_sampled=True)
NOTE = CommandNote("find", "clinic.patients", 0.001, 0.002, 1, PARENT)


def finished(total_s: float = 0.1, **changes: Any) -> FinishedCommand:
    """One that took so long, most of it at the server."""
    note = replace(NOTE, **changes)
    return FinishedCommand(
        note, "10.0.0.7:51402", 8, total_s, total_s - 0.01, 0.004, 12, 1_800_000_000_000_000_000
    )
