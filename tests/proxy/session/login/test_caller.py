"""Who is at the other end, as server and client say it. Whatever they say, one line of a log holds it."""

import struct
from typing import Any

import pytest
from bson import encode
from hypothesis import given
from hypothesis import strategies as st

from sealwire.proxy.session.login.caller import MAX_USERS, described, users_in
from sealwire.wire.errors import BsonError
from tests.strategies import bson_documents

SPOKEN = {"application": {"name": "rounds"}, "driver": {"name": "PyMongo", "version": "4.20"}}


def status(users: Any) -> bytes:
    return encode({"authInfo": {"authenticatedUsers": users, "authenticatedUserRoles": []}, "ok": 1.0})


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (SPOKEN, ("rounds", "PyMongo 4.20")),
        ({"driver": {"name": "Rust"}}, ("", "Rust")),
        ({"application": {"name": "a\nb\u202ec"}}, ("a?b?c", "")),
        ({"application": {"name": "x" * 200}}, ("x" * 64 + "…", "")),
        ({"application": {"name": "Portal 943 476 5919 Ann"}}, ("[masked] [masked] [masked]", "")),
        ({"driver": {"name": "x", "version": "ann@nhs.example"}}, ("", "x [masked]")),
        ({"application": {"name": 7}, "driver": "PyMongo"}, ("", "")),
        ("PyMongo", ("", "")),
        ({}, ("", "")),
    ],
)
def test_a_client_says_what_it_is(client: Any, expected: tuple[str, str]) -> None:
    assert described(encode({"hello": 1, "client": client}), 0) == expected
    assert described(encode({"hello": 1}), 0) == ("", "")


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ([{"user": "ann", "db": "admin"}], ("ann@admin",)),
        ([{"user": "ann", "db": "admin"}, {"user": "bob", "db": "clinic"}], ("ann@admin", "bob@clinic")),
        ([{"user": "a\tb\x00c", "db": "x" * 99}], ("a?b?c@" + "x" * 99,)),
        # one user whose name looks like two, and one that is written as the first one is shown
        ([{"user": "ann@admin bob", "db": "clinic"}], ("ann@admin%20bob@clinic",)),
        ([{"user": "ann@admin%20bob", "db": "clinic"}], ("ann@admin%2520bob@clinic",)),
        ([{"user": "u" * 1025, "db": "admin"}], ("?@admin",)),
        ([{"user": 7}, "ann", None], ("@",)),
        ([], ()),
        ("ann", ()),
        ({"0": {"user": "ann", "db": "admin"}}, ()),
    ],
)
def test_the_server_says_who_has_logged_in(users: Any, expected: tuple[str, ...]) -> None:
    assert users_in(status(users), 0) == expected


@pytest.mark.parametrize("body", [{}, {"authInfo": 1}, {"authInfo": {}}])
def test_a_server_that_does_not_say_names_nobody(body: dict[str, Any]) -> None:
    assert users_in(encode(body), 0) == ()


def test_no_more_users_are_kept_than_a_line_should_hold() -> None:
    many = [{"user": f"u{number}", "db": "admin"} for number in range(MAX_USERS + 5)]
    assert users_in(status(many), 0) == tuple(f"u{number}@admin" for number in range(MAX_USERS))


def within(kind: bytes, name: bytes, value: bytes) -> bytes:
    """A document that has `value` under `name`."""
    return struct.pack("<i", len(name) + len(value) + 7) + kind + name + b"\0" + value + b"\0"


@given(bson_documents())
def test_any_document_gives_printable_lines_or_an_error_of_bson(document: bytes) -> None:
    listed = within(b"\4", b"authenticatedUsers", within(b"\3", b"0", document))
    for body in (within(b"\3", b"client", document), within(b"\3", b"authInfo", listed)):
        try:
            said = (*described(body, 0), *users_in(body, 0))
        except BsonError:
            continue
        assert all(text.isprintable() for text in said)


@given(st.text(), st.text())
def test_names_of_any_text_are_printable_and_in_one_piece(user: str, database: str) -> None:
    for each in users_in(status([{"user": user, "db": database}]), 0):
        assert each.isprintable()
        assert " " not in each
