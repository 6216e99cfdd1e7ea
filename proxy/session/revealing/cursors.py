"""Cursors whose replies are opened although nothing in the name of their collection says so.

A cursor on a view, on a pipeline that joins a protected collection, or on a change stream over a database has
a namespace that the policy does not protect. A driver may send its `getMore` on any connection, so to any
worker and any instance, and what it sends is the cursor's id and the namespace that the reply named. So that
namespace gets a mark there, which the `getMore` brings back:

    clinic.report  ->  clinic.report.$sealwire.CCCCCCCCVVVVVVVVTTTT...

with a class id, a key version and a tag under that key over the id and the namespace, in hexadecimal digits.
If replies are not opened everywhere, the paths at which they are follow (`planning.plan.as_text`), and
the tag is over these too: so whoever reads on opens no more than the first reply did.
Nobody without the key can make one, and one that was given to a cursor fits no other. The server never sees a
mark.
Source: Find, getMore and killCursors commands (driver specifications): a getMore takes its namespace from the
reply.
"""

from collections.abc import Iterable
from enum import Enum
from hmac import compare_digest
from typing import Final, Generic, TypeVar, final

from sealwire.keys.errors import KeyDestroyed, UnknownKey
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.arguments import printable
from sealwire.policies.planning.plan import Openings, as_text, from_text
from sealwire.proxy.session.replies import cursor_in, open_id
from sealwire.wire import kinds
from sealwire.wire.op_msg import refresh_checksum
from sealwire.wire.raw_bson import Edit, Element, find_element, splice, string_bytes

MARK: Final = b".$sealwire."
CURSOR_COMMANDS: Final = {b"getMore": b"collection", b"killCursors": b"killCursors"}
"""Commands that bring a namespace back, and the argument that has its collection."""

LISTING: Final = "$cmd.listCollections"
"""The collection in the name of a cursor over collections, which no other cursor has."""
_LISTING: Final = LISTING.encode()

# What stands before the paths at which replies are opened.
_PATHS: Final = b"-"
_DOMAIN: Final = b"sealwire cursor"
# Class id and key version.
_IDS_BYTES: Final = 8


class Opened(Enum):
    """Whether the replies of a cursor are opened, and what says so."""

    NO = "no"
    BY_NAME = "by-name"
    BY_MARK = "by-mark"


T = TypeVar("T")


@final
class OpenCursors(Generic[T]):
    """What is known of cursors that replies have left open; one for all sessions of a process."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int) -> None:
        """The oldest are forgotten where there are more than `most`."""
        self._known: dict[bytes, T] = {}
        self._most = most

    def note(self, cursor_id: bytes, known: T) -> None:
        """A reply has left this cursor open; without an id, none."""
        if cursor_id:
            self._known.pop(cursor_id, None)
            if len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[cursor_id] = known

    def of_get_more(self, buf: bytes, body: int) -> T | None:
        """What is known of the cursor of a `getMore`; None where nothing is. Raises BsonError."""
        if not self._known:
            return None
        number = find_element(buf, body, b"getMore")
        return None if number is None else self._known.get(buf[number.value : number.end])

    def forget(self) -> None:
        """Nothing is known any more."""
        self._known.clear()


def mark(
    message: bytes, body: int, keyring: Keyring, class_name: str, openings: Openings | None = None
) -> bytes:
    """A reply whose cursor's namespace is marked under the key of a class; itself when no cursor is open.

    Raises BsonError, UnknownKey. Cost: O(elements of body and cursor).
    """
    cursor = cursor_in(message, body)
    cursor_id = open_id(message, cursor)
    if cursor is None or not cursor_id:
        return message
    name = find_element(message, cursor.value, b"ns")
    if name is None or name.kind != kinds.STRING:
        return message
    namespace = string_bytes(message, name)
    cipher = keyring.cipher_for(class_name)
    end = b"" if openings is None else _PATHS + as_text(openings)
    tag = cipher.tag(_DOMAIN, cursor_id + namespace + _separated(end))
    ids = b"%08x%08x" % (cipher.class_id, cipher.key_version)
    edit = _renamed(name, namespace + MARK + ids + tag.hex().encode() + end, (0, body, cursor.value))
    return refresh_checksum(splice(message, [edit]))


def unmark(
    message: bytes, body: int, name: bytes, keyring: Keyring, policies: Iterable[PolicySet]
) -> tuple[bytes, Opened, Openings | None]:
    """A `getMore` or `killCursors` as the server knows it, whether the replies of its cursor are opened, and
    where: None is everywhere.

    The server refuses a `getMore` whose namespace is not its cursor's. So the name of a protected collection,
    by the policy that counts or by one that did, is as good as a mark; so is that of the list of collections
    in a database that has one. Raises BsonError; Refusal for a mark
    under a key that is not there.
    """
    target, database = (find_element(message, body, each) for each in (CURSOR_COMMANDS[name], b"$db"))
    if target is None or target.kind != kinds.STRING or database is None or database.kind != kinds.STRING:
        return message, Opened.NO, None
    start = string_bytes(message, database) + b"."
    collection, found, proof = string_bytes(message, target).rpartition(MARK)
    if not found:
        namespace = (start + proof).decode("utf-8", "surrogateescape")
        is_protected = any(
            policy.protects_database(namespace[: -len(LISTING) - 1])
            if proof == _LISTING
            else policy.covered(namespace) is not None
            for policy in policies
        )
        return message, Opened.BY_NAME if is_protected else Opened.NO, None
    number = find_element(message, body, b"getMore")
    opened, openings = Opened.NO, None
    if number is not None and number.kind == kinds.LONG:
        cursor_id = message[number.value : number.end]
        digits, has_paths, paths = proof.partition(_PATHS)
        marked = cursor_id + start + collection + _separated(has_paths + paths)
        if _is_genuine(marked, digits, keyring):
            opened, openings = Opened.BY_MARK, from_text(paths) if has_paths else None
    return refresh_checksum(splice(message, [_renamed(target, collection, (0, body))])), opened, openings


def namespace_of(message: bytes, body: int) -> str:
    """`database.collection` of a `getMore`, as the client names it, without a mark: for one line of a log.

    Empty where it names none. Raises BsonError. Cost: O(elements of the body).
    """
    parts = [find_element(message, body, name) for name in (b"$db", CURSOR_COMMANDS[b"getMore"])]
    texts = [
        printable(string_bytes(message, part).partition(MARK)[0])
        for part in parts
        if part is not None and part.kind == kinds.STRING
    ]
    return ".".join(texts) if len(texts) == len(parts) else ""


def yielded_by(message: bytes, body: int) -> str:
    """The namespace of the cursor in a reply, empty where there is none. Raises BsonError."""
    cursor = cursor_in(message, body)
    if cursor is None:
        return ""
    name = find_element(message, cursor.value, b"ns")
    return "" if name is None or name.kind != kinds.STRING else printable(string_bytes(message, name))


def _separated(paths: bytes) -> bytes:
    """What a tag is over behind a namespace, which has no NUL."""
    return b"\0" + paths if paths else b""


def _is_genuine(marked: bytes, proof: bytes, keyring: Keyring) -> bool:
    try:
        raw = bytes.fromhex(proof.decode("ascii", "replace"))
    except ValueError:
        return False
    try:
        cipher = keyring.cipher_by_id(
            int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:_IDS_BYTES], "big")
        )
    except (UnknownKey, KeyDestroyed):
        raise Refusal(Reason.SHAPE, rule="a cursor that was opened with another keyring") from None
    return compare_digest(cipher.tag(_DOMAIN, marked), raw[_IDS_BYTES:])


def _renamed(element: Element, text: bytes, parents: tuple[int, ...]) -> Edit:
    data = (len(text) + 1).to_bytes(4, "little") + text + b"\0"
    return Edit(element.value, element.end, data, parents)
