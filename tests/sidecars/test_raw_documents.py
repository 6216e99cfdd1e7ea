"""Documents put together as bytes are those that a driver would write."""

import bson
import pytest
from bson import Binary

from sealwire.sidecars.direct import array, document, element, identity_of, is_envelope_value, one_of
from sealwire.wire import kinds
from tests.sidecars.drift_samples import envelope

ONE = (kinds.INT, b"\1\0\0\0")
TEXT = (kinds.STRING, b"\2\0\0\0x\0")


def test_what_a_driver_writes() -> None:
    assert document() == bson.encode({})
    assert document(element(ONE[0], b"a", ONE[1])) == bson.encode({"a": 1})
    assert array([ONE, TEXT]) == bson.encode({"0": 1, "1": "x"})
    assert document(one_of(b"a.b", [ONE, TEXT])) == bson.encode({"a.b": {"$in": [1, "x"]}})


def test_the_element_that_names_a_document() -> None:
    assert identity_of(bson.encode({"a": 1, "_id": 5})) == element(kinds.INT, b"_id", b"\5\0\0\0")
    with pytest.raises(ValueError, match="without _id"):
        identity_of(bson.encode({"a": 1}))


def test_an_envelope_among_decoded_values() -> None:
    assert is_envelope_value(envelope())
    assert not is_envelope_value(Binary(bytes(envelope()), 0))
    assert not is_envelope_value(Binary(b"x", 0x80))
    assert not is_envelope_value(bytes(envelope()))
