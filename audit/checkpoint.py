"""Signed statements of how far a log had come. Source: C2SP tlog-checkpoint.

The text of one is the key's name as the origin, the number of lines, the root of their tree in base64, and,
as the extension line that the form allows, `time` and a moment. A file of checkpoints is one note after the
other; each begins with the origin, so they need nothing between them.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sealwire.audit.line import HASH_BYTES
from sealwire.audit.signing import SigningKey, VerificationKey, open_note

_MARK: Final = "— ".encode()
MAX_NOTE_LINES: Final = 32
"""A note has a handful; more is no checkpoint."""
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME: Final = "time "


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """That the first `size` lines have a tree with this root."""

    size: int
    root: bytes
    time: datetime


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """Its note. Cost: 50 us."""
    root = b64encode(checkpoint.root).decode()
    moment = checkpoint.time.isoformat(timespec="milliseconds")
    return key.sign(f"{key.verification.name}\n{checkpoint.size}\n{root}\n{_TIME}{moment}\n")


def open_checkpoint(note: bytes, key: VerificationKey) -> Checkpoint | None:
    """What a note says; None where `key` has not signed it or it is no checkpoint of its log."""
    text = open_note(note, key)
    if text is None:
        return None
    origin, *rest = text[:-1].split("\n")
    if origin != key.name or len(rest) != 3 or _SIZE.fullmatch(rest[0]) is None:
        return None
    if not rest[2].startswith(_TIME):
        return None
    try:
        root = b64decode(rest[1], validate=True)
        moment = datetime.fromisoformat(rest[2].removeprefix(_TIME))
    except (NotBase64, ValueError):
        return None
    if len(root) != HASH_BYTES or moment.tzinfo is None:
        return None
    return Checkpoint(int(rest[0]), root, moment)


def split_notes(content: bytes, name: str) -> Iterator[bytes]:
    """The notes of a file of checkpoints of the log `name`, each from its origin on. Cost: O(content).

    What is cut off or no note comes as it is, and spoils no other.
    """
    origin = name.encode() + b"\n"
    note: list[bytes] = []
    signed = False
    for line in content.splitlines(keepends=True):
        is_mark = line.startswith(_MARK)
        if note and (line == origin or (signed and not is_mark) or len(note) == MAX_NOTE_LINES):
            yield b"".join(note)
            note = []
        signed = is_mark
        note.append(line)
    if note:
        yield b"".join(note)
