"""Nesting of any depth, in every construct that nests: it passes, is refused or ends the session."""

import pytest

from sealwire.crypto.envelope import SUBTYPE
from sealwire.proxy.session.effects import Close, ToClient, ToServer
from tests.bson_types import BsonType
from tests.proxy.session.verdicts import assert_closed_or_answered, assert_parses
from tests.proxy.session.world import command, encoded, sealed, session, written
from tests.strategies import made_op_msg
from tests.wire.corpus import binary, document, element, int32, string

FIND = command({"find": "patients", "$db": "clinic"}, 70)
SEALED = sealed("nhs", "x")

# One level of nesting around a value, outermost first: `o` an object or `a` an array, the name in it, and
# after `+` the names of elements beside it.
_FILTER = b"find", b"filter"
_PIPELINE = b"aggregate", b"pipeline"
_DEEP: dict[str, tuple[tuple[bytes, bytes], str]] = {
    "$and": (_FILTER, "o$and a0"),
    "$nor": (_FILTER, "o$nor a0 o$or a0"),
    "$not": (_FILTER, "onhs_number o$not"),
    "$not in itself": (_FILTER, "o$not"),
    "$elemMatch": (_FILTER, "ocontact o$elemMatch"),
    "$elemMatch in itself": (_FILTER, "o$elemMatch"),
    "$all": (_FILTER, "ocontact o$all a0 o$elemMatch"),
    "a covered path": (_FILTER, "ocontact"),
    "an uncovered path": (_FILTER, "oa"),
    "$expr": (_FILTER, "o$expr o$and a0"),
    "arrays": ((b"find", b"filter"), "otags a0"),
    "documents": ((b"insert", b"documents"), "a0"),
    "covered documents": ((b"insert", b"documents"), "a0 o0"),
    "covered arrays": ((b"insert", b"documents"), "a0 otags a0"),
    "uncovered documents": ((b"insert", b"documents"), "a0 ou"),
    "random documents": ((b"insert", b"documents"), "a0 onotes"),
    "projection": ((b"find", b"projection"), "oa"),
    "sort": ((b"find", b"sort"), "oa"),
    "an update": ((b"update", b"updates"), "a0 oq+u"),
    "$set": ((b"findAndModify", b"update"), "o$set oa"),
    "$push": ((b"findAndModify", b"update"), "o$push otags o$each a0"),
    "$pull": ((b"findAndModify", b"update"), "o$pull ocontact"),
    "an update pipeline": ((b"findAndModify", b"update"), "a0 o$set"),
    "array filters": ((b"findAndModify", b"arrayFilters"), "a0 o$and"),
    "an index filter": ((b"createIndexes", b"indexes"), "a0 opartialFilterExpression+key"),
    "a validator": ((b"create", b"validator"), "o$and a0"),
    "$facet": (_PIPELINE, "a0 o$facet oa"),
    "$lookup": (_PIPELINE, "a0 o$lookup opipeline+from,as"),
    "$unionWith": (_PIPELINE, "a0 o$unionWith opipeline+coll"),
    "$match": (_PIPELINE, "a0 o$match"),
    "explain": ((b"explain", b"x"), "oexplain"),
    "hello": ((b"hello", b"client"), "oa"),
    "a login": ((b"hello", b"speculativeAuthenticate"), "oa"),
}
_EXPRESSIONS = {
    "$abs": "o$abs",
    "$add": "o$add a0",
    "$eq": "o$eq a0+1",
    "$in": "o$in a0+1",
    "$cond": "o$cond oif+then,else",
    "$ifNull": "o$ifNull a0+1",
    "$let": "o$let ovars+in ox",
    "$let in": "o$let oin+vars",
    "$switch": "o$switch obranches a0 ocase+then",
    "$map": "o$map oin+input",
    "$filter": "o$filter ocond+input",
    "$reduce": "o$reduce oin+input,initialValue",
    "$literal": "o$literal oa",
    "$mergeObjects": "o$mergeObjects a0",
    "$setUnion": "o$setUnion a0",
    "a document": "oa",
    "an array": "a0",
    "$getField": "o$getField oinput+field",
    "$setField": "o$setField ovalue+field,input",
    "$function": "o$function oargs",
}
# Around the 200 levels that a document may have, with one to four of them a level here; and far beyond.
LEVELS = [3, 48, 50, 65, 67, 97, 100, 150, 195, 198, 199, 200, 201, 1000]
EXPRESSION_LEVELS = [3, 49, 66, 98, 150, 197, 201, 1000]


def around(levels: int, tokens: str, kind: int, value: bytes) -> tuple[int, bytes]:
    """A value inside `levels` levels, built from the inside out: recursion would end before the levels do."""
    for token in list(reversed(tokens.split())) * levels:
        name, _, beside = token[1:].partition("+")
        siblings = [element(BsonType.INT, each.encode(), int32(1)) for each in beside.split(",") if each]
        value = document(element(kind, name.encode(), value), *siblings)
        kind = BsonType.ARRAY if token[0] == "a" else BsonType.OBJECT
    return kind, value


def deep_command(name: bytes, collection: bytes, argument: bytes, kind: int, value: bytes) -> bytes:
    """A command with one deep argument."""
    first = element(2, name, string(collection))
    if name == b"explain":
        first = element(kind, name, value)
    database = element(2, b"$db", string(b"clinic"))
    return made_op_msg(document(first, element(kind, argument, value), database)).message


def assert_settled(message: bytes) -> None:
    """It passes and is well-formed, or it is answered, or it ends the session."""
    effects = session().client_data(message)
    if isinstance(effects[-1], ToServer):
        assert effects[-1].data[12:16] == int32(2013)
        assert_parses(effects[-1].data)
    else:
        assert_closed_or_answered(effects)


@pytest.mark.parametrize("name", _DEEP)
@pytest.mark.parametrize("collection", [b"patients", b"wards"])
def test_nesting_of_any_depth_is_passed_on_refused_or_ends_the_session(name: str, collection: bytes) -> None:
    (command_name, argument), tokens = _DEEP[name]
    for levels in LEVELS:
        for inner in ((2, string(b"x")), (3, encoded({"nhs_number": "x"}))):
            kind, value = around(levels, tokens, *inner)
            assert_settled(deep_command(command_name, collection, argument, kind, value))


@pytest.mark.parametrize("name", _EXPRESSIONS)
@pytest.mark.parametrize("stage", [b"$project", b"$match"])
def test_expressions_of_any_depth_are_passed_on_refused_or_end_the_session(name: str, stage: bytes) -> None:
    for levels in EXPRESSION_LEVELS:
        for inner in ((2, string(b"$tags")), (16, int32(1))):
            kind, value = around(levels, _EXPRESSIONS[name], *inner)
            field = b"$expr" if stage == b"$match" else b"a"
            staged = document(element(BsonType.OBJECT, stage, document(element(kind, field, value))))
            pipeline = document(element(BsonType.OBJECT, b"0", staged))
            assert_settled(deep_command(b"aggregate", b"patients", b"pipeline", BsonType.ARRAY, pipeline))


@pytest.mark.parametrize("tokens", ["oa", "a0", "oa a0"])
def test_replies_of_any_depth_pass_or_end_the_session(tokens: str) -> None:
    for levels in LEVELS:
        for inner in ((2, string(b"x")), (BsonType.BIN_DATA, binary(SUBTYPE, SEALED))):
            kind, value = around(levels, tokens, *inner)
            talk = session()
            talk.client_data(FIND)
            message = made_op_msg(document(element(kind, b"a", value)), response_to=70).message
            effects = talk.server_data(message)
            assert isinstance(effects[0], ToClient) or isinstance(effects[-1], Close)
            assert SEALED not in written(effects, ToClient)
