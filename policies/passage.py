"""Recognise, by its top level alone, a command whose fate is the same each time.

What becomes of a `find` and its like on a collection that holds nothing covered depends on three names: the
command, the collection, the database. Once the planner has let one such command pass untouched, every later one
with the same three may pass without being planned. Nothing else of the command is looked at.
"""

from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import BsonType, int32_at, value_end

Target = tuple[bytes, bytes, bytes]
"""Name of a command, of its collection, of its database; as they stand in the message."""

TARGETED = frozenset(b"find count distinct insert update delete findAndModify findandmodify".split())
"""Commands that reach no collection but the one that their first argument names.

`aggregate` is not among them: its stages name others.
"""

_STRING = int(BsonType.STRING)


def target_of(buf: bytes, body: int) -> Target | None:
    """The target of the command document at `body`; None for any other command, or shape of one.

    Walks the whole top level, because a name that stands twice could lead the server elsewhere: then it is
    None, and the planner refuses. Raises BsonError. Cost: O(top-level elements), 0.1 us each.
    """
    last = body + int32_at(buf, body) - 1
    at = body + 4
    names: set[bytes] = set()
    count = 0
    command = collection = database = b""
    while at < last:
        name_end = buf.find(0, at + 1, last)
        if name_end < 0:
            raise BsonError(WireReason.BSON_STRING, at)
        name = buf[at + 1 : name_end]
        kind = buf[at]
        end = value_end(buf, kind, name_end + 1, last)
        if not count:
            if kind != _STRING or name not in TARGETED:
                return None
            command, collection = name, buf[name_end + 5 : end - 1]
        elif name == b"$db":
            if kind != _STRING:
                return None
            database = buf[name_end + 5 : end - 1]
        names.add(name)
        count += 1
        at = end
    if at != last or len(names) != count or not database:
        return None
    return command, collection, database
