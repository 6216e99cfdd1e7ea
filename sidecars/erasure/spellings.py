"""The usual spellings of one identifier: `9434765870`, `943 476 5870` and `943-476-5870` are the same person.

Only numbers and codes whose grouping is fixed have them. Of others nobody can say that two spellings mean the
same: `1-11` and `11-1` are two persons.
"""

import re
from collections.abc import Iterator
from typing import Final

from sealwire.audit.pseudonyms import Identifier
from sealwire.wire import kinds

_GROUPED: Final = (
    (re.compile(r"\d{10}"), (3, 3, 4)),  # an NHS number
    (re.compile(r"\d{10}"), (6, 4)),  # a CHI number
    (re.compile(r"[A-Z]{2}\d{6}[A-D]"), (2, 2, 2, 2, 1)),  # a National Insurance number
)
_SEPARATORS: Final = ("", " ", "-")
_STRING_HEAD: Final = 4


def spellings(identifier: Identifier) -> tuple[Identifier, ...]:
    """All that are known, the given one first. Cost: O(1)."""
    given = identifier.value[_STRING_HEAD:-1]
    if identifier.kind != kinds.STRING or not given.isascii():
        return (identifier,)
    written = dict.fromkeys([given.decode(), *_others(given.decode())])
    return tuple(Identifier(kinds.STRING, _string(each)) for each in written)


def _others(given: str) -> Iterator[str]:
    compact = given.replace(" ", "").replace("-", "")
    known = [_joined(compact, groups) for pattern, groups in _GROUPED if pattern.fullmatch(compact)]
    if any(given in each for each in known):
        for each in known:
            yield from each


def _joined(compact: str, groups: tuple[int, ...]) -> list[str]:
    starts = [sum(groups[:index]) for index in range(len(groups))]
    parts = [compact[start : start + size] for start, size in zip(starts, groups, strict=True)]
    return [separator.join(parts) for separator in _SEPARATORS]


def _string(text: str) -> bytes:
    return b"%b%b\0" % ((len(text) + 1).to_bytes(4, "little"), text.encode())
