"""What the database server of these tests gets wrong by itself, without Sealwire: the only exclusions.

`$addFields` of `sub.n` changes nothing where `sub` is an array; MongoDB changes each element. So no stage
puts a value in clear at a covered path below what may be an array.

`$project` with `{"items.sub": 0}` leaves `sub` in the documents of an array; MongoDB and `find` take it out.
So no `find`, which may become a pipeline, has such a projection.

`$mod` of a long makes a double of it first, so that 2**63 - 1 is even. So longs that are asked about have no
`$mod`. Patterns are those of Python (`asking`).

`$alwaysTrue` beside another condition is an error, but only once a document is compared. A question may meet
one where a later statement of the same command meets none. So filters that are asked about have neither it
nor `$alwaysFalse`.

Binary data of one length is ordered by its bytes alone; MongoDB orders it by its subtype first. So nothing
is sorted by it, takes its least and greatest, or compares it with binary data for the order. Sets in
expressions, `$in` there, and `$addToSet` take binary data with the same bytes for one value, whatever its
subtype. So no two generated values differ in that alone.

With an index on an array, `{$gt: a, $lt: b}` wants one element between both ends; MongoDB takes one above
`a` and another below `b`. So the tests of arrays between two ends have no index.

A partial index of documents with `{s: null}` is used for `{s: {$in: [...]}}` and for ranges, which then find
nothing; for equality it is not. A question makes an `$in` of what had none in plaintext. So where fields are
asked about, no index is of such documents.

A pattern in the place of a value finds nothing by an index; `$regex` does. A question puts `$in` there. So a
sequence with an index of a field has no such pattern for it.

Types that it does not keep (symbol becomes a string, DBPointer a sub-document, undefined null; dates past
year 9999 are refused) are not among the generated values.
"""

from collections.abc import Set
from typing import Any

from bson import Regex

from tests.integration.differential.values import Document

UNKNOWN_TO_SERVER: frozenset[str] = frozenset()
"""Operators that the server answers with an error wherever they stand."""


def spoils_upsert(query: Any) -> bool:
    """Whether an upsert by this filter stores operators as fields.

    The server takes `{items: {$all: [{$elemMatch: ...}]}}` for an equality and inserts
    `{items: {$elemMatch: ...}}`. MongoDB seeds nothing from it.
    """
    if isinstance(query, list):
        return any(map(spoils_upsert, query))
    if not isinstance(query, dict):
        return False
    every = query.get("$all")
    if isinstance(every, list) and any(isinstance(item, dict) and "$elemMatch" in item for item in every):
        return True
    return any(map(spoils_upsert, query.values()))


def upserts_soundly(statement: Document) -> bool:
    """Whether a statement of `update` or a `findAndModify` upserts nothing that the server spoils."""
    return not spoils_upsert(statement.get("q", statement.get("query")))


def equals_pattern(said: Any, fields: Set[str]) -> bool:
    """Whether a filter in a command has a pattern in the place of a value of one of these fields."""
    if isinstance(said, list):
        return any(equals_pattern(item, fields) for item in said)
    if not isinstance(said, dict):
        return False
    return any(
        (name in fields and _is_pattern(value)) or equals_pattern(value, fields)
        for name, value in said.items()
    )


def _is_pattern(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_pattern(value.get(operator)) for operator in ("$eq", "$in"))
    return isinstance(value, Regex) or (isinstance(value, list) and any(map(_is_pattern, value)))
