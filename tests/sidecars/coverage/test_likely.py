"""What values look like, and how often a labelled set of fields is judged rightly."""

from datetime import datetime
from typing import Any

import pytest

from sealwire.sidecars.coverage import likely
from sealwire.sidecars.coverage.fields import Cover, FieldCounts
from sealwire.sidecars.coverage.likely import (
    MAX_SEARCHED,
    MAX_TEXT,
    Personal,
    held_in,
    looks_of,
    require_libraries,
)
from sealwire.sidecars.errors import CoverageReason, Unavailable
from tests.build_context import ROOT
from tests.sidecars.coverage import trust
from tests.sidecars.coverage.labelled import HOSPITAL, INSURER, OTHER, PERSONAL, documents, documents_of_rows
from tests.sidecars.coverage.trust import documents_of_trust

PAGE = ROOT / "docs" / "operations" / "coverage.md"
SEEDS = range(5)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("943 476 5919", Personal.NHS_NUMBER),
        (9434765919, Personal.NHS_NUMBER),
        ("ann@nhs.net", Personal.EMAIL),
        ("AB123456C", Personal.NATIONAL_INSURANCE),
        ("GB33BUKB20201555555555", Personal.IBAN),
        ("4111 1111 1111 1111", Personal.CARD),
        ("+44 7400 123456", Personal.PHONE),
        (" SW1A 1AA ", Personal.POSTCODE),
        ("::1", Personal.IP_ADDRESS),
        ("44051401359", Personal.NATIONAL_NUMBER),
        ("440514-01359", Personal.NATIONAL_NUMBER),
        ("756.9217.0769.85", Personal.NATIONAL_NUMBER),
        ("RCCMNL83S18D969H", Personal.NATIONAL_NUMBER),
        ("E11.9", Personal.HEALTH),
        ("22298006", Personal.HEALTH),
        (22298006, Personal.HEALTH),
        ("Anna Kowalska", Personal.NAME),
        ("Smith, Mary-Jane", Personal.NAME),
        ("Chloé", Personal.NAME),
    ],
)
def test_identifiers_are_known_by_themselves(value: Any, kind: Personal) -> None:
    assert kind in looks_of(value, "x")


@pytest.mark.parametrize(
    "value",
    [
        *("943 476 5918", "9434765918", "4111 1111 1111 1112", "GB33BUKB20201555555556", "12345", ""),
        *("ann@", "@nhs.net", "ann at nhs.net", "BG123456C", "SW1A1A", "1.2.3", "07400", 943, True, None),
        *("44051401358", "756.9217.0769.86", "22298007", "22298106", "E11", "e11.9", "1.10.2"),
        *("anna kowalska", "Cardiology", "Anna ward", "Household Plus", "Anna " * 6, "Anna " + "B" * 60),
        *(1.5, b"943 476 5919", "x" * (MAX_TEXT + 1), ["943 476 5919"], {"a": 1}, "١٢٣٤٥٦٧٨٩٠"),
    ],
)
def test_what_is_none_looks_like_nothing(value: Any) -> None:
    assert looks_of(value, "x") == []


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("dateOfBirth", datetime(1950, 1, 1), Personal.BIRTH_DATE),
        ("DOB", "01/02/1950", Personal.BIRTH_DATE),
        ("last_name", "O'Neill", Personal.NAME),
        ("homeAddress", "1 High Street", Personal.ADDRESS),
        ("diagnoses", "asthma", Personal.HEALTH),
        ("diagnosis.code", "I10", Personal.HEALTH),
        ("religion", "none", Personal.SPECIAL),
        ("ethnicGroup", "Romani", Personal.SPECIAL),
        ("tradeUnionMember", "yes", Personal.SPECIAL),
        ("MRN", "WAW-0048812", Personal.PERSON_NUMBER),
        ("passportNo", "X1234567", Personal.PERSON_NUMBER),
        ("address.zip", "8001", Personal.ADDRESS),
        ("maritalStatus", "single", Personal.TRAIT),
        ("Straße", "Langstraße", Personal.ADDRESS),
        ("tel", "603444555", Personal.PHONE),
    ],
)
def test_others_are_known_by_the_name_of_their_field(name: str, value: Any, kind: Personal) -> None:
    assert looks_of(value, name) == [kind]
    assert looks_of(value, "x") == []
    assert looks_of(7, name) == []


@pytest.mark.parametrize("name", ["religious", "hivStatus"])
def test_a_yes_or_no_can_be_a_special_category(name: str) -> None:
    assert looks_of(True, name) != []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("archive", "x"),
        ("environmental", "x"),
        ("diagnostics", "on"),
        ("disabled", True),
        ("trace", "a"),
        ("ip_address", "x"),
        ("macAddress", "aa:bb"),
        ("address.type", "home"),
        ("address", "127.0.0.1:27017"),
        ("address", "db.example:27017"),
        ("patient_id", "5f0e9d1c2b3a495867abcdef"),
        ("patient_id", "none"),
        ("policy", "a"),
    ],
)
def test_names_that_contain_such_a_word_say_nothing(name: str, value: Any) -> None:
    assert looks_of(value, name) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("NHS No. 943 476 5919, seen today.", Personal.NHS_NUMBER),
        ('{"nhs":"9434765919"}', Personal.NHS_NUMBER),
        ("Write to ann.smith@nhs.example, please", Personal.EMAIL),
        ("lives in LS9 7TF with mother", Personal.POSTCODE),
        ("NI AB123456C given", Personal.NATIONAL_INSURANCE),
        ("pay GB33 BUKB 2020 1555 5555 55 now", Personal.IBAN),
        ("card 4111 1111 1111 1111 declined", Personal.CARD),
        ("call 07400 123456 or +49 30 901820", Personal.PHONE),
        ("PESEL 44051401359, admitted", Personal.NATIONAL_NUMBER),
        ("AHV 756.9217.0769.85.", Personal.NATIONAL_NUMBER),
        ("moved to 12a Old Mill Lane, York", Personal.ADDRESS),
        ("wohnt Bahnhofstrasse 12, 8001 Bern", Personal.ADDRESS),
        ("Via Giuseppe Verdi 3, Milano", Personal.ADDRESS),
    ],
)
def test_identifiers_are_found_inside_texts(text: str, kind: Personal) -> None:
    assert held_in(text).get(kind) is True
    assert held_in(f"{text} " * 400).get(kind) is True


@pytest.mark.parametrize(
    "text",
    [
        *(
            "the ward is closed until 2026-02-01 10:00:00",
            "version 1.2.3.4 of the pump",
            "943 476 5919",
            "short",
        ),
        *(
            "12345678-1234-4123-8123-943476591900",
            "https://host.example/9434765919/a",
            "9434765919b is a hash",
        ),
        *("see chapter E11 9 of the terms", 7, None, b"NHS No. 943 476 5919", "meet @noon in room a@b"),
    ],
)
def test_a_text_without_any_contains_nothing(text: Any) -> None:
    assert held_in(text) == {}


def test_a_number_with_wrong_check_digits_is_told_from_none() -> None:
    assert held_in("order 943 476 5918 left")[Personal.NHS_NUMBER] is False
    assert Personal.NHS_NUMBER not in held_in("an order has left today")


def test_a_text_is_searched_to_a_length() -> None:
    inside, outside = ("x " * ((MAX_SEARCHED - room) // 2) + "ann@nhs.example" for room in (16, 8))
    assert held_in(inside) == {Personal.EMAIL: True}
    assert held_in(outside) == {}


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    likely._library.cache_clear()
    monkeypatch.setattr(likely, "import_module", missing)
    try:
        with pytest.raises(Unavailable) as caught:
            require_libraries()
    finally:
        likely._library.cache_clear()
    assert caught.value.reason is CoverageReason.EXTRA
    assert "requirements/demo.txt" in caught.value.hint


def judged() -> tuple[int, int, int, list[str]]:
    """How many personal fields were found, of how many, and how many others were; what was wrong."""
    found = wrong = 0
    problems: set[str] = set()
    for seed in SEEDS:
        fields = FieldCounts(None)
        for document in documents(seed):
            fields.read(document)
        kinds = {each.path: each.kind for each in fields.report() if each.cover is Cover.PERSONAL}
        for path, (kind, _) in PERSONAL.items():
            if kinds.get(path) is kind:
                found += 1
            else:
                problems.add(f"{path}: {kinds.get(path)}")
        for path in OTHER:
            if path in kinds:
                wrong += 1
                problems.add(f"{path}: {kinds[path]}")
    return found, len(PERSONAL) * len(SEEDS), wrong, sorted(problems)


def test_precision_and_recall_are_those_of_the_docs() -> None:
    found, personal, wrong, problems = judged()
    precision, recall = found / (found + wrong), found / personal
    assert (precision, recall) > (0.95, 0.9), problems
    said = f"| {precision:.2f} | {recall:.2f} |"
    assert said in PAGE.read_text(encoding="utf-8"), problems


FOREIGN: dict[str, tuple[list[dict[str, Any]], set[str], float]] = {
    "hospital": (list(documents_of_rows(HOSPITAL)), {path for path, found, _ in HOSPITAL if found}, 0.9),
    "insurer": (list(documents_of_rows(INSURER)), {path for path, found, _ in INSURER if found}, 0.8),
    "trust": (list(documents_of_trust(4711)), set(trust.PERSONAL), 0.75),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_sets_are_judged_as_well_as_the_docs_say(name: str) -> None:
    stored, personal, least_recall = FOREIGN[name]
    fields = FieldCounts(None)
    for document in stored:
        fields.read(document)
    found = {each.path for each in fields.report() if each.cover is Cover.PERSONAL}
    precision, recall = len(found & personal) / len(found), len(found & personal) / len(personal)
    assert precision >= 0.95, sorted(found - personal)
    assert recall >= least_recall, sorted(personal - found)
    assert f"| {precision:.2f} | {recall:.2f} |" in PAGE.read_text(encoding="utf-8")
