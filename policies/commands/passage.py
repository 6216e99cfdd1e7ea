"""Recognise, by its top level alone, a command whose fate is the same each time.

What becomes of a `find` and its like on a collection that holds nothing covered depends on three names: the
command, the collection, the database. Once the planner has let one such command pass untouched, every later
one with the same three may pass without being planned. Nothing else of the command is looked at.
"""

from typing import Final

from sealwire.wire import kinds
from sealwire.wire.raw_bson import Cursor

Target = bytes
"""Name of a command, of its collection, of its database: the two elements that say them, as they stand."""

TARGETED: Final = frozenset(b"find count distinct insert update delete findAndModify findandmodify".split())
"""Commands that reach no collection but the one that their first argument names.

`aggregate` is not among them: its stages name others.
"""


def target_of(buf: bytes, body: int, planned: frozenset[bytes] = frozenset()) -> Target | None:
    """The target of the command document at `body`; None for any other command, or shape of one.

    Also None when its collection is among `planned`, names that are protected in some database: there is no
    use in walking what is most likely planned anyway.

    Walks the whole top level, because a name that stands twice could lead the server elsewhere: then it is
    None, and the planner refuses. Raises BsonError. Cost: O(top-level elements), 0.1 us each.
    """
    cursor = Cursor(buf, body)
    if not cursor.advance() or cursor.kind != kinds.STRING:
        return None
    command = cursor.name
    if command not in TARGETED or buf[cursor.value + 4 : cursor.end - 1] in planned:
        return None
    collection, database = buf[cursor.start : cursor.end], b""
    others = {command}
    count = 1
    while cursor.advance():
        name = cursor.name
        if name != b"$db":
            others.add(name)
            count += 1
        elif cursor.kind == kinds.STRING and not database:
            database = buf[cursor.start : cursor.end]
        else:
            return None
    return collection + database if database and len(others) == count else None
