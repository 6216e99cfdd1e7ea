"""What a log shows of text that a client wrote."""

import pytest

from sealwire.policies.roles.screening import MASK, screened


@pytest.mark.parametrize(
    "text",
    [
        *("direct-care", "audit", "unconscious", "", "Ward 7 round", "patient-portal 2.14.1"),
        *("billing run 2026", "PyMongo|c 4.15.0", "nodejs|Mongoose 6.8.0|8.0.1", "team A"),
    ],
)
def test_text_without_an_identifier_stands_as_it_is(text: str) -> None:
    assert screened(text, 64) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("care of 9434765919", f"care of {MASK}"),
        ("care of 943 476 5919 today", f"care of {MASK} today"),
        ("care of 943-476-5919", f"care of {MASK}"),
        ("9434765919 Smith, ward 3", f"{MASK} {MASK}, ward 3"),
        ("mail ann.smith@nhs.example now", f"mail {MASK} now"),
        ("lives at SW1A 2AA", f"lives at {MASK}"),
        ("ni AB 12 34 56 C or AB123456C", f"ni {MASK} or {MASK}"),
        ("born 1961-04-12", f"born {MASK}"),
        ("tel +44 (0)20 7946 0018", f"tel +{MASK}"),
        ("review of Ann Smith", f"review of {MASK}"),
        ("review of Ann-Marie O'Neill", f"review of {MASK}"),
        ("\u0669\u0664\u0663\u0664\u0667\u0666\u0665\u0669\u0661\u0669", MASK),
    ],
)
def test_identifiers_and_names_beside_them_are_masked(text: str, shown: str) -> None:
    assert screened(text, 64) == shown


def test_the_name_of_an_application_is_masked_beside_an_identifier_only() -> None:
    assert screened("Clinic Portal", 64, has_names=False) == "Clinic Portal"
    assert screened("Clinic Portal 9434765919", 64, has_names=False) == f"{MASK} {MASK} {MASK}"


def test_a_long_text_is_cut_and_no_part_of_a_number_is_left_at_the_cut() -> None:
    assert screened("a" * 40, 32) == "a" * 32 + "…"
    assert screened("round in 94347 of them all", 13) == f"round in {MASK}…"
    assert screened("x" * 20 + " 9434765919", 24).startswith("x" * 20)
    assert "943" not in screened("x" * 20 + " 9434765919", 24)
