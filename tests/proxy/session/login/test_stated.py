"""Tests for sealwire.proxy.session.login.stated."""

from typing import Any

import pytest
from bson import encode
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.roles.role import ClassAccess, Disclosure, Level, Role, Roles, Wildcards
from sealwire.proxy.session.login.stated import (
    MAX_PURPOSE_CHARACTERS,
    MAX_REASON_CHARACTERS,
    NOTHING_STATED,
    Stated,
    on_record,
    stated_in,
)


def stated(comment: Any) -> Stated:
    return stated_in(encode({"find": "patients", "comment": comment, "$db": "clinic"}), 0)


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ({"sealwire": {"purpose": "direct-care"}}, Stated("direct-care")),
        (
            {"trace": 1, "sealwire": {"breakGlass": "unconscious", "purpose": "care"}},
            Stated("care", "unconscious"),
        ),
        ("purpose=direct-care", Stated("direct-care")),
        (" purpose = direct-care ;breakGlass= a=b", Stated("direct-care", "a=b")),
        ("breakGlass=unconscious", Stated("", "unconscious")),
        ("a comment; of=another kind", NOTHING_STATED),
        ("", NOTHING_STATED),
        (7, NOTHING_STATED),
        ({"sealwire": "purpose=x"}, NOTHING_STATED),
        ({"sealwire": {"purpose": 7}}, NOTHING_STATED),
        ({"purpose": "direct-care"}, NOTHING_STATED),
    ],
)
def test_both_forms_say_the_same(comment: Any, expected: Stated) -> None:
    assert stated(comment) == expected


def test_a_command_without_a_comment_states_nothing() -> None:
    assert stated_in(encode({"find": "patients", "$db": "clinic"}), 0) == NOTHING_STATED


@given(st.text(), st.text())
def test_what_is_stated_fits_into_one_line_of_a_log(purpose: str, reason: str) -> None:
    said = stated({"sealwire": {"purpose": purpose.replace("\0", "") + "\n", "breakGlass": reason * 50}})
    for text, most in ((said.purpose, MAX_PURPOSE_CHARACTERS), (said.glass, MAX_REASON_CHARACTERS)):
        assert len(text) <= most
        assert text == "" or text.isprintable()


def test_what_is_too_long_is_cut() -> None:
    said = stated({"sealwire": {"purpose": "ä" * 1000, "breakGlass": "€" * 1000}})
    assert said == Stated("ä" * MAX_PURPOSE_CHARACTERS, "€" * MAX_REASON_CHARACTERS)


def listing(*purposes: str) -> Roles:
    everything = ClassAccess(Disclosure(Level.MASKED))
    return Roles((Role("r", (), Wildcards(()), {}, everything, purposes=purposes),))


def test_a_listed_purpose_stands_in_a_log_as_it_is_and_another_is_screened() -> None:
    listed = "Direct Care 2026-11-30"
    said = Stated(listed, "Ann Smith fell")
    assert on_record(said, listing("x", listed)) == Stated(listed, "[masked] fell")
    for roles in (None, listing("x")):
        assert on_record(said, roles).purpose == "[masked] [masked] [masked]"
    assert on_record(NOTHING_STATED, None) is NOTHING_STATED


def test_text_that_is_not_listed_is_cut() -> None:
    said = on_record(Stated("p" * 64, "g" * 256), None)
    assert said == Stated("p" * 32 + "…", "g" * 128 + "…")
