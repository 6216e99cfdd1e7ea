"""Values and commands as one would type them in mongosh, with `<class>` where ciphertext stands."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bson import Binary, ObjectId, Regex

from sealwire.crypto.envelope import SUBTYPE, parse_header

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_MANY = 5
"""A list of that many ciphertexts of one class is shown as their number."""


def shell_text(value: object, classes: Mapping[int, str]) -> str:
    """`value` in mongosh's notation.

    Shape:   `classes` has the name of each class by the id that its envelopes carry
    Raises:  KeyError for an envelope of another class, TypeError for a value that has no notation here
    """
    match value:
        case None | bool() | int() | float() | str():
            return json.dumps(value, ensure_ascii=False)
        case Binary(subtype=subtype) if subtype == SUBTYPE:
            return f"<{classes[parse_header(value).class_id]}>"
        case datetime():
            return f'ISODate("{value:%Y-%m-%d}")' if value.time() == datetime.min.time() else _moment(value)
        case ObjectId():
            return "ObjectId(…)"
        case Regex():
            return f"/{value.pattern}/"
        case list():
            return _list_text(value, classes)
        case dict():
            pairs = (f"{_name(key)}: {shell_text(below, classes)}" for key, below in value.items())
            return "{" + ", ".join(pairs) + "}"
        case _:
            raise TypeError(type(value).__name__)


def _moment(value: datetime) -> str:
    return f'ISODate("{value:%Y-%m-%dT%H:%M:%SZ}")'


def _list_text(values: list[Any], classes: Mapping[int, str]) -> str:
    shown = [shell_text(value, classes) for value in values]
    if len(shown) >= _MANY and len(set(shown)) == 1 and shown[0].startswith("<"):
        return f"[{len(shown)} x {shown[0]}]"
    return f"[{', '.join(shown)}]"


def _name(key: str) -> str:
    return key if _IDENTIFIER.fullmatch(key) else json.dumps(key, ensure_ascii=False)
