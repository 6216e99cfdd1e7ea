"""Each check of the story fails when its claim does not hold."""

import io
import json
import re
from dataclasses import replace
from datetime import datetime
from itertools import islice

import pytest
from bson import Binary
from rich.console import Console

from sealwire import core_name
from sealwire.crypto.envelope import SUBTYPE
from sealwire.demo import story
from sealwire.demo.application import AppStep
from sealwire.demo.engine import Check
from sealwire.demo.inspection import Refused, Scan, SearchPlan, Stored
from sealwire.demo.story import Sight, Story
from sealwire.examples.clinic_app import STEPS
from sealwire.examples.patients import generate_patients
from sealwire.testbed.mongo_server import User, connection_string

# magic, format, mode, class id, key version, BSON type, SIV, one byte of ciphertext
ENVELOPE = Binary(b"SW\x01\x01" + bytes((0, 0, 0, 9)) + bytes((0, 0, 0, 1)) + b"\x02" + bytes(17), SUBTYPE)
RUN = tuple(AppStep(step.__name__, {"found": position}, 1.0) for position, step in enumerate(STEPS))
SEEN = {"nhs_number": "9990000018", "ward": "renal"}


def test_equal_runs_pass_and_times_do_not_matter() -> None:
    assert story.check_results(RUN, tuple(replace(step, milliseconds=9.0) for step in RUN)).passed


def test_one_different_result_fails_and_is_named() -> None:
    other = (*RUN[:3], replace(RUN[3], result={"found": 99}), *RUN[4:])
    check = story.check_results(RUN, other)
    assert not check.passed
    assert RUN[3].name in check.detail


def test_a_run_that_ended_early_fails() -> None:
    assert not story.check_results(RUN, RUN[:-1]).passed
    assert not story.check_results((), ()).passed


def test_a_record_passes_only_when_read_the_same_and_stored_as_ciphertext() -> None:
    plain = Sight(SEEN, SEEN)
    guarded = Sight(SEEN, SEEN | {"nhs_number": ENVELOPE})
    assert story.check_sights(plain, guarded).passed
    assert not story.check_sights(plain, plain).passed
    assert not story.check_sights(plain, replace(guarded, application=SEEN | {"ward": "other"})).passed
    assert not story.check_sights(Sight({}, {}), Sight({}, {"nhs_number": ENVELOPE})).passed


def test_bytes_that_are_no_envelope_do_not_pass_for_ciphertext() -> None:
    for forged in (Binary(b"SW", SUBTYPE), Binary(bytes(ENVELOPE), 0), Binary(b"XX" + ENVELOPE[2:], SUBTYPE)):
        assert not story.check_sights(Sight(SEEN, SEEN), Sight(SEEN, SEEN | {"nhs_number": forged})).passed


@pytest.mark.parametrize(("stored", "passed"), [((9, 0), True), ((9, 1), False), ((0, 0), False)])
def test_one_readable_value_fails_and_so_does_an_empty_database(
    stored: tuple[int, int], passed: bool
) -> None:
    assert story.check_stored(Stored(*stored)).passed is passed


@pytest.mark.parametrize(("plain", "guarded", "passed"), [(5, 0, True), (5, 1, False), (0, 0, False)])
def test_a_search_of_files_that_finds_nothing_anywhere_proves_nothing(
    plain: int, guarded: int, passed: bool
) -> None:
    assert story.check_files(Scan(1, 10, plain), Scan(1, 10, guarded)).passed is passed


@pytest.mark.parametrize(
    ("plan", "passed"),
    [
        (SearchPlan(("FETCH", "IXSCAN"), "nhs_number_1"), True),
        (SearchPlan(("COLLSCAN",), ""), False),
        (SearchPlan(("FETCH", "IXSCAN"), "ward_1_registered_1"), False),
    ],
)
def test_only_the_index_on_the_field_passes(plan: SearchPlan, passed: bool) -> None:
    assert story.check_plan(plan).passed is passed


def test_a_join_that_found_nothing_or_did_not_run_fails() -> None:
    joined = AppStep("lookup_visits", {"found": 57}, 1.0)
    assert story.check_join((*RUN[:2], joined)).passed
    assert not story.check_join((*RUN[:2], replace(joined, result={"found": 0}))).passed
    assert not story.check_join(RUN[:2]).passed


ASKED = tuple(
    AppStep(name, {"found": 3}, 1.0) for name in ("find_by_surname", "find_by_birth", "page_by_name")
)


def test_searches_by_parts_pass_if_each_found_something() -> None:
    assert story.check_asked((*RUN[:2], *ASKED)).passed


@pytest.mark.parametrize("place", range(3))
def test_a_search_by_parts_that_found_nothing_or_did_not_run_fails(place: int) -> None:
    others = (*RUN[:2], *ASKED[:place], *ASKED[place + 1 :])
    assert not story.check_asked(others).passed
    assert not story.check_asked((*others, replace(ASKED[place], result={"found": 0}))).passed


def test_an_answered_regex_fails_and_so_does_an_error_without_the_field() -> None:
    assert story.check_refusal(Refused(2, "BadValue", "clinic.patients nhs_number: no $regex")).passed
    assert not story.check_refusal(None).passed
    assert not story.check_refusal(Refused(2, "BadValue", "bad value")).passed


def test_a_shown_connection_string_has_no_password() -> None:
    uri = connection_string("127.0.0.1:27017", User("clinic", "s3cret/p@ss"), "clinic", authority=None)
    shown = story.without_password(uri)
    assert shown == "mongodb://clinic:…@127.0.0.1:27017/clinic?authSource=admin&authMechanism=SCRAM-SHA-256"
    assert story.without_password("mongodb://127.0.0.1:27017/clinic") == "mongodb://127.0.0.1:27017/clinic"


@pytest.mark.parametrize("count", [100, 5_000])
def test_the_shown_patient_has_every_field_and_is_not_removed(count: int) -> None:
    patients = tuple(islice(generate_patients(1948), count))
    shown = story.shown_patient(patients)
    removed = patients[:: max(1, count // 20)][:20]
    assert shown not in removed
    assert shown["postcode"] is not None
    assert shown["notes"] is not None


PATIENT = dict(next(islice(generate_patients(1948), 1)))
STORY = Story(
    patients=100,
    direct_uri="mongodb://clinic:…@127.0.0.1:1/clinic?tls=true",
    sealwire_uri="mongodb://clinic:…@127.0.0.1:2/clinic?tls=true",
    direct=(AppStep("find_many", {"found": 2, "first": {}, "digest": "abcdef0123"}, 10.0),),
    guarded=(AppStep("find_many", {"found": 2, "first": {}, "digest": "abcdef0123"}, 12.5),),
    plain_sight=Sight(PATIENT, PATIENT),
    guarded_sight=Sight(PATIENT, PATIENT | {"nhs_number": ENVELOPE}),
    stored=Stored(7, 0),
    plan=SearchPlan(("FETCH", "IXSCAN"), "nhs_number_1"),
    refused=Refused(2, "BadValue", "nhs_number: [brackets] are not markup"),
    plain_files=Scan(3, 1000, 4),
    guarded_files=Scan(3, 1000, 0),
    checks=(Check("all is well", True, "7 of 7"), Check("it rains", False, "it does not")),
)


def shown(told: Story, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    story.show(console, told)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_a_summary_shows_counts_and_a_short_digest_but_no_document() -> None:
    assert (
        story.summary({"found": 200, "first": {"nhs_number": "1"}, "digest": "abcdef0123"})
        == "found 200, #abcdef"
    )
    assert story.summary({"upserted": [True, False], "keyPattern": {"a": 1}}) == "upserted 2, keyPattern a 1"


def test_lines_fit_the_terminal_and_no_column_vanishes() -> None:
    for width in (80, 100, 200):
        lines = shown(STORY, width).splitlines()
        assert max(map(len, lines)) <= width
        assert any("find many" in line and "found 2" in line and "1.25" in line for line in lines)


LONG = {"found": 123, "matched count": 10_000, "modified count": 222, "by ward": 12, "digest": "abcdef0123"}


def compared(told: Story) -> str:
    """The lines of the first table, without what wrapping puts between the words."""
    return " ".join(shown(told, 80).partition("2. What")[0].split())


@pytest.mark.parametrize("differ", [False, True])
def test_what_is_compared_is_shown_whole_on_a_narrow_terminal(differ: bool) -> None:
    one = AppStep("find_by_nhs_number", LONG, 10_000.0)
    other = replace(one, result=LONG | {"digest": "0123456789"} if differ else LONG)
    text = re.sub(r" 10,000 10,000 1.00", "", compared(replace(STORY, direct=(one,), guarded=(other,))))
    assert "…" not in text.partition("saw directly")[2]
    counts = "found 123, matched count 10000, modified count 222, by ward 12, "
    assert text.count(f"{counts}#abcdef") == 1
    assert text.count(f"{counts}#012345") == int(differ)


def test_one_patient_is_shown_whole_on_a_narrow_terminal() -> None:
    text = shown(STORY, 80).partition("2. What")[2].partition("3. Searching")[0]
    assert f"…{ENVELOPE[-8:].hex()}" in text
    assert all(text.count(word) >= 3 for word in str(PATIENT["notes"]).split())


def test_no_head_of_a_table_is_cut_on_a_narrow_terminal() -> None:
    output = shown(STORY, 80)
    heads = [line for line in output.splitlines() if "Sealwire" in line or "directly" in line]
    assert not any("…" in line for line in heads if "mongodb://" not in line)
    assert f"Sealwire runs     {core_name()}" in output


def test_everything_is_shown_ciphertext_as_hex_and_messages_as_they_are() -> None:
    text = shown(STORY)
    assert str(PATIENT["nhs_number"]) in text
    assert f"Binary …{ENVELOPE[-8:].hex()}" in text
    assert "[brackets] are not markup" in text
    assert "contacts.0.phone" in text
    assert "1.25" in text
    assert f"{PATIENT['date_of_birth']:%Y-%m-%d}" in text


def test_a_failed_check_says_so_and_a_passed_one_does_not() -> None:
    lines = shown(STORY).splitlines()
    assert any("FAILED" in line and "it rains" in line for line in lines)
    assert not any("FAILED" in line and "all is well" in line for line in lines)


def test_different_results_are_marked() -> None:
    other = AppStep("find_many", {"found": 3}, 12.5)
    assert "≠" in shown(replace(STORY, guarded=(other,)))
    assert "≠" not in shown(STORY)


def test_dates_in_lists_can_be_shown() -> None:
    assert json.loads(story.value_text([datetime(1980, 5, 17)])) == ["1980-05-17"]
