"""A context that is typed is the one that documents have."""

import uuid

import bson
import click
import pytest
from bson.binary import Binary, UuidRepresentation

from sealwire.cli.keys.context_options import read_context
from sealwire.policies.planning.contexts import context_of, database_context
from sealwire.wire.raw_bson import elements

ID = uuid.UUID(int=5)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("5", "string", "5"),
        ("5", "int", 5),
        ("-5", "int", bson.Int64(-5)),
        ("0" * 24, "objectId", bson.ObjectId(bytes(12))),
        (str(ID), "uuid", Binary.from_uuid(ID, UuidRepresentation.STANDARD)),
    ],
)
def test_it_is_read_by_its_type(text: str, kind: str, value: object) -> None:
    document = bson.encode({"v": value})
    assert read_context(text, kind) == context_of(document, next(elements(document, 0)))


def test_a_database_is_named_as_it_is() -> None:
    assert read_context("clinic", "database") == database_context("clinic")


@pytest.mark.parametrize(("text", "kind"), [("9" * 30, "int"), ("secret", "uuid"), ("\udcff", "string")])
def test_what_cannot_be_one_is_refused_and_not_shown(text: str, kind: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        read_context(text, kind)
    assert text not in str(caught.value)
