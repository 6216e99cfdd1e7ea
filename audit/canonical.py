"""JSON in the one form that can be hashed and signed. Source: RFC 8785.

For objects whose names are ASCII and whose values are strings, booleans, null, small integers, and lists and
objects of these, Python's own encoder writes that form. tests/audit hold it against the library rfc8785,
which takes 5 times longer. Everything else is refused.
"""

import json
from typing import Any, Final

MOST: Final = 2**53
"""RFC 8785 knows the integers that a double holds exactly: those below this."""

encode: Final = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
).encode
"""The text of a value that has a canonical form; it is not checked. Raises RecursionError."""


def canonical(value: Any) -> str:
    """The text of a value. Raises ValueError where it has no canonical form, RecursionError."""
    _check(value)
    return encode(value)


def _check(value: Any) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str) or not name.isascii():
                raise ValueError("a name that is not ASCII text")
            _check(inner)
    elif isinstance(value, list):
        for inner in value:
            _check(inner)
    elif isinstance(value, str):
        value.encode()  # half of a surrogate pair is no text
    elif isinstance(value, float) or (type(value) is int and abs(value) >= MOST):
        raise ValueError("a number that is no small integer")
    elif value is not None and not isinstance(value, bool | int):
        raise ValueError("a type that JSON does not have")
