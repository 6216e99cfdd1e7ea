"""Whose a document is: the values at the paths that say it."""

from typing import Any

import bson
from bson.binary import Binary

from sealwire.proxy.session.auditing.subjects import SubjectPaths
from sealwire.proxy.session.revealing.reveal import OpenEnvelope
from sealwire.wire import kinds
from tests.proxy.session.world import KEYRING, sealed

PATHS = SubjectPaths(["id"], "d")


def named(path: str, kind: int, value: bytes) -> str:
    return f"{path}|{kind}|{value.hex()}"


def looked(document: dict[str, Any], open_envelope: OpenEnvelope | None) -> tuple[bool, list[str]]:
    found: dict[str, None] = {}
    return PATHS.look(bson.encode(document), 0, named, open_envelope, found), list(found)


def test_an_envelope_is_opened_for_its_pseudonym() -> None:
    assert looked({"id": sealed("nhs", "943")}, KEYRING.open_envelope) == (
        True,
        [named("d", kinds.STRING, b"\x04\0\0\0" + b"943\0")],
    )


def test_an_envelope_that_is_not_to_be_opened_says_nothing() -> None:
    assert looked({"id": sealed("nhs", "943")}, None) == (False, [])


def test_a_binary_that_is_no_envelope_says_whose_it_is_as_it_stands() -> None:
    content = bytes(range(16))
    expected = named("d", kinds.BIN_DATA, b"\x10\0\0\0\x04" + content)
    assert looked({"id": Binary(content, 4)}, KEYRING.open_envelope) == (True, [expected])
    assert looked({"id": Binary(content, 4)}, None) == (True, [expected])
