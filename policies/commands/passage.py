"""Recognise, by its top level alone, a command whose fate is the same each time.

What becomes of a `find` and its like on a collection that holds nothing covered depends on three names: the
command, the collection, the database. Once the planner has let one such command pass untouched, every later
one with the same three may pass without being planned. Nothing else of the command is looked at.
"""

from typing import Final

from sealwire.wire import kinds
from sealwire.wire.raw_bson import Cursor

Target = tuple[bytes, bytes, bytes]
"""Name of a command, of its collection, of its database; as they stand in the message."""

TARGETED: Final = frozenset(b"find count distinct insert update delete findAndModify findandmodify".split())
"""Commands that reach no collection but the one that their first argument names.

`aggregate` is not among them: its stages name others.
"""

_STRING: Final = kinds.STRING


def target_of(buf: bytes, body: int, planned: frozenset[bytes] = frozenset()) -> Target | None:
    """The target of the command document at `body`; None for any other command, or shape of one.

    Also None when its collection is among `planned`, names that are protected in some database: there is no
    use in walking what is most likely planned anyway.

    Walks the whole top level, because a name that stands twice could lead the server elsewhere: then it is
    None, and the planner refuses. Raises BsonError. Cost: O(top-level elements), 0.1 us each.
    """
    cursor = Cursor(buf, body)
    if not cursor.advance() or cursor.kind != _STRING or cursor.name not in TARGETED:
        return None
    command, collection = cursor.name, buf[cursor.value + 4 : cursor.end - 1]
    if collection in planned:
        return None
    database = b""
    names = {command}
    count = 1
    while cursor.advance():
        name = cursor.name
        if name == b"$db":
            if cursor.kind != _STRING:
                return None
            database = buf[cursor.value + 4 : cursor.end - 1]
        names.add(name)
        count += 1
    if len(names) != count or not database:
        return None
    return command, collection, database
