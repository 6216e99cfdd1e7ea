"""Masks: what is shown of a value in its place.

What a mask yields is always a text with `*` in it, or a bare year: so that nobody takes it for the value, and
no program for a value of the type. How long the value was does not show.

| mask | of these values | yields |
|---|---|---|
| last4 | strings of eight characters or more; int and long of eight digits or more | `****5919` |
| year | dates of the years 1 to 9999; strings that begin as ISO 8601 dates do | `1950` |
| outward | strings that are postcodes of the United Kingdom | `SW1A ***` |
| initials | strings of up to six words, of which one has two letters or more | `J.F.S. ***` |
| fixed | everything | `***` |

Any other value, of whatever type but null, is shown as by `fixed`. Source of the postcode's form: Royal Mail,
Programmers' Guide to the Postcode Address File.
"""

import re
import struct
from typing import Final

from sealwire.policies.roles.role import Mask
from sealwire.wire import kinds

FIXED: Final = "***"
SHOWN_CHARACTERS: Final = 4
MIN_CHARACTERS: Final = 2 * SHOWN_CHARACTERS
"""A shorter value would be half shown."""
MAX_WORDS: Final = 6

_DAY_MS: Final = 86_400_000
_ISO_DATE: Final = re.compile(r"(\d{4})-\d{2}(?:-\d{2})?(?:[T ].*)?", re.ASCII | re.DOTALL)
_POSTCODE: Final = re.compile(r"\s*([A-Za-z]{1,2}\d[A-Za-z\d]?)\s*\d[A-Za-z]{2}\s*", re.ASCII)
_MIN_YEAR, _MAX_YEAR = 1, 9999

_long: Final = struct.Struct("<q")
_int: Final = struct.Struct("<i")


def masked(mask: Mask, kind: int, value: bytes) -> tuple[int, bytes]:
    """The BSON type and value bytes of what is shown of a value. Cost: O(bytes)."""
    if kind == kinds.NULL:
        return kind, value  # what stands for a value that is gone
    text = _shown(mask, kind, value).encode()
    return kinds.STRING, b"".join((_int.pack(len(text) + 1), text, b"\0"))


def _shown(mask: Mask, kind: int, value: bytes) -> str:
    if mask is Mask.LAST4:
        return _last4(kind, value)
    if mask is Mask.YEAR:
        return _year(kind, value)
    if kind != kinds.STRING or mask is Mask.FIXED:
        return FIXED
    return _outward(_text(value)) if mask is Mask.OUTWARD else _initials(_text(value))


def _text(value: bytes) -> str:
    return value[4:-1].decode("utf-8", "replace")


def _last4(kind: int, value: bytes) -> str:
    if kind == kinds.STRING:
        text = _text(value)
    elif kind == kinds.INT:
        text = str(abs(_int.unpack(value)[0]))
    elif kind == kinds.LONG:
        text = str(abs(_long.unpack(value)[0]))
    else:
        return FIXED
    return FIXED if len(text) < MIN_CHARACTERS else "*" * SHOWN_CHARACTERS + text[-SHOWN_CHARACTERS:]


def _year(kind: int, value: bytes) -> str:
    if kind == kinds.STRING:
        found = _ISO_DATE.fullmatch(_text(value))
        return FIXED if found is None else found[1]
    if kind != kinds.DATE:
        return FIXED
    year = _year_of_day(_long.unpack(value)[0] // _DAY_MS)
    return f"{year:04d}" if _MIN_YEAR <= year <= _MAX_YEAR else FIXED


def _year_of_day(day: int) -> int:
    """The year of a day counted from 1970-01-01, in the Gregorian calendar without bounds.

    Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    """
    era, of_era = divmod(day + 719_468, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    # its years begin in March
    return year + 400 * era + (1 if of_year >= 306 else 0)


def _outward(text: str) -> str:
    found = _POSTCODE.fullmatch(text)
    return FIXED if found is None else f"{found[1].upper()} {FIXED}"


def _initials(text: str) -> str:
    words = text.split()
    is_name = len(words) <= MAX_WORDS and all(word[0].isalpha() for word in words)
    if not is_name or all(len(word) < 2 for word in words):
        return FIXED
    return "".join(f"{word[0].upper()}." for word in words) + f" {FIXED}"
