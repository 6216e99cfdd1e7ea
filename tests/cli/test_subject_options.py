"""Identifiers that are asked for: brought to the type of their class, and never shown."""

import click
import pytest

from sealwire.audit.pseudonyms import Identifier
from sealwire.cli.subject_options import identifier_of
from sealwire.policies.file.schema import FieldClass, Mode, ValueType
from sealwire.wire import kinds


def of(value_type: ValueType) -> FieldClass:
    return FieldClass("person", Mode.DETERMINISTIC, value_type)


@pytest.mark.parametrize(
    ("text", "value_type", "kind", "value"),
    [
        ("943 476 5919", ValueType.STRING, kinds.STRING, b"\x0d\0\0\x00943 476 5919\0"),
        ("7", ValueType.INT, kinds.INT, b"\7\0\0\0"),
        ("7", ValueType.LONG, kinds.LONG, b"\7" + bytes(7)),
        ("7.0", ValueType.DOUBLE, kinds.DOUBLE, bytes(6) + b"\x1c\x40"),
        ("1970-01-01", ValueType.DATE, kinds.DATE, bytes(8)),
        ("1970-01-01T01:00+01:00", ValueType.DATE, kinds.DATE, bytes(8)),
        ("0a" * 12, ValueType.OBJECT_ID, kinds.OBJECT_ID, b"\x0a" * 12),
        ("00" * 16, ValueType.BIN_DATA, kinds.BIN_DATA, b"\x10\0\0\0\4" + bytes(16)),
    ],
)
def test_what_a_class_stores(text: str, value_type: ValueType, kind: int, value: bytes) -> None:
    assert identifier_of(text, of(value_type)) == Identifier(kind, value)


@pytest.mark.parametrize(
    ("text", "value_type"),
    [
        ("", ValueType.STRING),
        ("x" * 5000, ValueType.STRING),
        ("\udcff", ValueType.STRING),
        ("secret", ValueType.INT),
        ("3000000000", ValueType.INT),
        ("1" * 30, ValueType.LONG),
        ("nan", ValueType.DOUBLE),
        ("secret", ValueType.DATE),
        ("secret", ValueType.OBJECT_ID),
        ("secret", ValueType.BIN_DATA),
        ("true", ValueType.BOOL),
    ],
)
def test_what_is_no_value_of_the_class(text: str, value_type: ValueType) -> None:
    with pytest.raises(click.UsageError) as caught:
        identifier_of(text, of(value_type))
    assert not text or text not in caught.value.message
