"""Each check of the story fails when its claim does not hold."""

from dataclasses import replace
from itertools import islice

import pytest
from bson import Binary

from sealwire.crypto.envelope import SUBTYPE
from sealwire.demo import story
from sealwire.demo.application import AppStep
from sealwire.demo.file_scan import Scan
from sealwire.demo.inspection import Refused, SearchPlan, Stored
from sealwire.demo.story import Sight
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
