"""What values look like, and how often a labelled set of fields is judged rightly."""

from datetime import datetime
from typing import Any

import pytest

from sealwire.sidecars.coverage import likely
from sealwire.sidecars.coverage.errors import CoverageReason, LibraryMissing
from sealwire.sidecars.coverage.fields import Cover, FieldCounts
from sealwire.sidecars.coverage.likely import MAX_TEXT, Personal, looks_of, require_libraries
from tests.build_context import ROOT
from tests.sidecars.coverage.labelled import OTHER, PERSONAL, documents

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
    ],
)
def test_identifiers_are_known_by_themselves(value: Any, kind: Personal) -> None:
    assert kind in looks_of(value, "x")


@pytest.mark.parametrize(
    "value",
    [
        *("943 476 5918", "9434765918", "4111 1111 1111 1112", "GB33BUKB20201555555556", "12345", ""),
        *("ann@", "@nhs.net", "ann at nhs.net", "BG123456C", "SW1A1A", "1.2.3", "07400", 943, True, None),
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
    ],
)
def test_others_are_known_by_the_name_of_their_field(name: str, value: Any, kind: Personal) -> None:
    assert looks_of(value, name) == [kind]
    assert looks_of(value, "x") == []
    assert looks_of(7, name) == []


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    likely._library.cache_clear()
    monkeypatch.setattr(likely, "import_module", missing)
    try:
        with pytest.raises(LibraryMissing) as caught:
            require_libraries()
    finally:
        likely._library.cache_clear()
    assert caught.value.reason is CoverageReason.EXTRA
    assert "sealwire[coverage]" in caught.value.hint


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
    said = f"precision {precision:.2f}, recall {recall:.2f}"
    assert said in (ROOT / "docs" / "operations" / "coverage.md").read_text(encoding="utf-8"), problems
