"""Strings under a collation, as MongoDB's own data orders them: English, of plain Latin text.

MongoDB brings ICU 57.1 with it, which has the data of CLDR 29. For the locales here that is the root
collation. It orders the characters here as the table of the Unicode Collation Algorithm 8.0 does, and so do
all later versions. Of any other character nothing is decided: it may be ignored, or be the same as others.

Source: Unicode Technical Standard 10; MongoDB's manual on collations.
"""

import unicodedata
from collections.abc import Mapping
from typing import Final

LOCALES: Final = frozenset({"en", "en_US"})
"""Those of which it is known that they change nothing about the root collation."""
STRENGTHS: Final = (1, 2, 3)
"""Base letters alone; with accents; with accents and case."""
SIMPLE: Final = 0
"""In place of a strength: bytes are compared."""

PUNCTUATION: Final = "\t\n\v\f\r _-,;:!?.'\"()[]{}@*/\\&#%"
_DIGITS: Final = "0123456789"
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
MARKS: Final = "\u0301\u0300\u0306\u0302\u030c\u030a\u0308\u030b\u0303\u0307\u0327\u0328\u0304"
"""The accents of one letter, in their order."""
_COMMON, _UPPER = "\x01", "\x02"
_LAST_LATIN: Final = 0x180


def _tables() -> tuple[Mapping[int, str], ...]:
    """By character its weights on each level, where 0 is less than any."""
    first: dict[int, str] = {}
    second: dict[int, str] = {}
    third: dict[int, str] = {}
    order = {character: chr(place) for place, character in enumerate(PUNCTUATION + _DIGITS + _LETTERS, 1)}
    accents = {mark: chr(place) for place, mark in enumerate(MARKS, 2)}
    for code in range(_LAST_LATIN):
        base, *marks = list(unicodedata.normalize("NFD", chr(code)))
        if base.lower() in order and len(marks) < 2 and all(mark in accents for mark in marks):
            first[code] = order[base.lower()]
            second[code] = _COMMON + "".join(accents[mark] for mark in marks)
            third[code] = (_UPPER if base.isupper() else _COMMON) + _COMMON * len(marks)
    return first, second, third


_TABLES: Final = _tables()
_KNOWN: Final = frozenset(map(chr, _TABLES[0]))


def collated(text: bytes, strength: int) -> str | None:
    """A key that compares as the server compares the text; None if that is not known. Cost: O(bytes)."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return None
    if not _KNOWN.issuperset(decoded):
        return None
    return "\0".join(decoded.translate(table) for table in _TABLES[:strength])


def strength_of(said: Mapping[str, object]) -> int:
    """The strength of a collation; SIMPLE for one that is, and for one that is not known here."""
    strength = said.get("strength", 3)
    is_known = said.keys() <= {"locale", "strength"} and said.get("locale") in LOCALES
    return next((each for each in STRENGTHS if is_known and strength == each), SIMPLE)
