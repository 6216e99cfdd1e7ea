"""What a client says of a command in its `comment`: for what purpose it reads, and why it breaks the glass.

An application that says nothing says so to nobody's harm; where a role asks for a purpose, its command is
refused. A comment is the client's own claim. The server is sent it as it is, and may log it.

    comment: {sealwire: {purpose: "direct-care", breakGlass: "patient unconscious"}}
    comment: "purpose=direct-care; breakGlass=patient unconscious"

Source: MongoDB manual, `comment` of `find`, `aggregate`, `update` and the others: any BSON type.
"""

from dataclasses import dataclass
from typing import Final

from sealwire.policies.roles.role import Roles
from sealwire.policies.roles.screening import screened
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, find_element, string_bytes

MAX_PURPOSE_CHARACTERS: Final = 64
MAX_REASON_CHARACTERS: Final = 256
_MAX_SHOWN_PURPOSE: Final = 32
_MAX_SHOWN_REASON: Final = 128

_PURPOSE: Final = b"purpose"
_GLASS: Final = b"breakGlass"


@dataclass(frozen=True, slots=True)
class Stated:
    """Both are printable, and the client's own words: for a log, `on_record` screens them."""

    purpose: str = ""
    glass: str = ""
    """The reason for reading what the caller's own role does not show; empty: the glass stays whole."""


NOTHING_STATED: Final = Stated()


def on_record(stated: Stated, roles: Roles | None) -> Stated:
    """What a log says of it: a purpose that a role lists as it is; other text screened and cut shorter."""
    if stated is NOTHING_STATED:
        return stated
    purpose = stated.purpose
    if roles is None or not any(purpose in each.purposes for each in roles.roles):
        purpose = screened(purpose, _MAX_SHOWN_PURPOSE)
    return Stated(purpose, screened(stated.glass, _MAX_SHOWN_REASON))


def stated_in(message: bytes, body: int) -> Stated:
    """What the comment of the command at `body` says. Raises BsonError. Cost: O(elements of the body)."""
    return stated_by(message, find_element(message, body, b"comment"))


def stated_by(message: bytes, comment: Element | None) -> Stated:
    """What the comment of a command says. Raises BsonError. Cost: O(its elements)."""
    if comment is None:
        return NOTHING_STATED
    if comment.kind == kinds.STRING:
        return _of_text(string_bytes(message, comment))
    if comment.kind != kinds.OBJECT:
        return NOTHING_STATED
    ours = find_element(message, comment.value, b"sealwire")
    if ours is None or ours.kind != kinds.OBJECT:
        return NOTHING_STATED
    parts = {part.name: part for part in elements(message, ours.value)}
    return _stated(*(_text(message, parts.get(name)) for name in (_PURPOSE, _GLASS)))


def _of_text(text: bytes) -> Stated:
    found: dict[bytes, bytes] = {}
    for part in text[: 4 * (MAX_PURPOSE_CHARACTERS + MAX_REASON_CHARACTERS)].split(b";"):
        name, _, value = part.partition(b"=")
        found[name.strip()] = value.strip()
    return _stated(found.get(_PURPOSE, b""), found.get(_GLASS, b""))


def _stated(purpose: bytes, glass: bytes) -> Stated:
    if not purpose and not glass:
        return NOTHING_STATED
    return Stated(_printable(purpose, MAX_PURPOSE_CHARACTERS), _printable(glass, MAX_REASON_CHARACTERS))


def _text(message: bytes, element: Element | None) -> bytes:
    return b"" if element is None or element.kind != kinds.STRING else string_bytes(message, element)


def _printable(text: bytes, most: int) -> str:
    cut = text[: 4 * most].decode("utf-8", "replace")[:most]
    return "".join(char if char.isprintable() else "?" for char in cut)
