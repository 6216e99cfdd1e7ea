"""Each check of the story fails when its claim does not hold."""

import io
import json
import os
import re
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest
from bson import Binary
from rich.console import Console

from sealwire import core_name
from sealwire.crypto.envelope import SUBTYPE
from sealwire.demo import application as desk
from sealwire.demo import inspection as file_scan
from sealwire.demo import story
from sealwire.demo.application import AppStep, Period, desks_at_work
from sealwire.demo.engine import Check
from sealwire.demo.inspection import Refused, Scan, SearchPlan, Stored, covered_texts, scan_folder, total
from sealwire.demo.stage import DemoOperator, StepFailed, make_dataset, write_asking_policy
from sealwire.demo.story import Sight, Story
from sealwire.examples.clinic_app import STEPS
from sealwire.examples.patients import generate_patients
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import leaves
from sealwire.testbed.errors import TestbedError, TestbedReason
from sealwire.testbed.mongo_server import User, connection_string
from tests.support.reasons import raising
from tests.support.waiting import until

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
def test_a_readable_value_fails_and_so_does_an_empty_database(stored: tuple[int, int], passed: bool) -> None:
    assert story.check_stored(Stored(*stored)).passed is passed


@pytest.mark.parametrize(("plain", "guarded", "passed"), [(5, 0, True), (5, 1, False), (0, 0, False)])
def test_a_search_that_finds_nothing_anywhere_proves_nothing(plain: int, guarded: int, passed: bool) -> None:
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


# Tests for sealwire.demo.stage.


def test_names_and_dates_of_birth_are_asked_for(tmp_path: Path) -> None:
    policy = load_policy(write_asking_policy(tmp_path).read_bytes(), "policy.yaml")
    asking = [
        leaf.path for leaf in leaves(policy.collections["clinic.patients"]) if leaf.leaf and leaf.leaf.asks
    ]
    assert asking == ["name", "date_of_birth"]


def test_commands_are_shown_as_one_would_type_them() -> None:
    operator = DemoOperator(os.environ, {"/srv/demo/": ""})
    assert operator.run("--version").startswith("sealwire, version")
    with pytest.raises(StepFailed) as failed:
        operator.run("compliance", "verify", "/srv/demo/no-report")
    assert failed.value.exit_code == 2
    assert operator.typed() == ("sealwire --version", "sealwire compliance verify no-report")
    assert operator.typed() == ()


def test_a_failure_says_the_error_and_not_its_hint() -> None:
    operator = DemoOperator(os.environ, {})
    with pytest.raises(StepFailed) as failed:
        operator.run("watch", "/nowhere/alerts.yaml", "--check")
    assert failed.value.said.startswith("/nowhere/alerts.yaml")
    assert operator.run("watch", "/nowhere/alerts.yaml", "--check", codes=(78,)) == ""


def test_what_is_printed_for_programs_is_read() -> None:
    assert DemoOperator(os.environ, {}).ask("tls", "rules")


# The search in files finds every covered text, wherever it lies, and nothing else.


NUMBER = b"9991234560"
TEXTS = frozenset({NUMBER, b"MRN0000042", b"ZZ9 1AA", b"07700900123", b"Seen by Dr Patel"})


def scanned(folder: Path, content: bytes) -> Scan:
    (folder / "storage").mkdir()
    (folder / "storage" / "log").write_bytes(content)
    return scan_folder(folder, TEXTS)


@pytest.mark.parametrize("text", sorted(TEXTS))
def test_each_kind_of_text_is_found_between_binary(tmp_path: Path, text: bytes) -> None:
    content = b"\0\xff" + text + b"\0" + text + b"\xfe"
    assert scanned(tmp_path, content) == Scan(1, len(content), 2)


@pytest.mark.parametrize(
    ("content", "hits"),
    [
        (b"99" + NUMBER + b"7", 1),
        (b"9990000018 MRN0000043 ZZ9 1AB 07700900124 Seen by Dr Jones", 0),
    ],
    ids=["inside a longer run of digits", "of nobody"],
)
def test_only_texts_of_somebody_count(tmp_path: Path, content: bytes, hits: int) -> None:
    assert scanned(tmp_path, content).hits == hits


@pytest.mark.parametrize("offset", [-10, -9, -5, -1, 0, 1])
@pytest.mark.parametrize("after", [0, 5, 300])
def test_a_text_across_the_edge_of_two_pieces_is_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, after: int
) -> None:
    monkeypatch.setattr(file_scan, "_CHUNK_BYTES", 256)
    for edge in (256, 512):
        folder = tmp_path / str(edge)
        folder.mkdir()
        assert scanned(folder, b"." * (edge + offset) + NUMBER + b"." * after).hits == 1


def test_an_empty_folder_and_an_empty_file_hold_nothing(tmp_path: Path) -> None:
    assert scan_folder(tmp_path, TEXTS) == Scan(0, 0, 0)
    assert scanned(tmp_path, b"") == Scan(1, 0, 0)


def test_several_scans_add_up() -> None:
    assert total([Scan(1, 10, 2), Scan(3, 5, 0)]) == Scan(4, 15, 2)


def test_the_covered_texts_are_in_the_application_s_own_files(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, 200, 1)
    texts = covered_texts(dataset)
    patient = dataset.patients[0]
    assert patient["nhs_number"].encode() in texts
    assert patient["contacts"][0]["phone"].encode() in texts
    assert not any(patient["ward"].encode() == text for text in texts)
    found = scan_folder(tmp_path, texts)
    # At least NHS number, MRN and telephone of every patient and the number of every appointment.
    assert found.hits >= 3 * 200 + 100


# Two desks beside each other: what they print is read, compared and summed up, and they end when told to.


ANSWERS = """
import json, os, sys
for place in range(4):
    answer = {"answer": os.environ["MONGODB_URI"][place]} if place < 3 else {"error": "No: {'code': 11600}"}
    print(json.dumps({"place": place, "question": f"q{place}", "ms": 10.0 * place} | answer), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "desk.py"
    program.write_text(ANSWERS)
    monkeypatch.setattr(desk, "DESK_APP", program)
    return program


def test_answers_are_compared_question_by_question(program: Path, tmp_path: Path) -> None:
    with desks_at_work("abc", "axc", program, tmp_path) as desks:
        until(lambda: desks.compared == 4)
        assert desks.different() == ["q1"]
        assert desks.guarded.period(0) == Period(4, 1, 15.0, 30.0, ("No 11600",))
        assert desks.guarded.period(2) == Period(2, 1, 25.0, 30.0, ("No 11600",))
        assert desks.guarded.period(4) == Period(0, 0, 0.0, 0.0)


def test_a_desk_that_fails_is_reported(program: Path, tmp_path: Path) -> None:
    program.write_text("import sys\nsys.exit('no database')\n")
    with raising(TestbedError, TestbedReason.APPLICATION_FAILED), desks_at_work("a", "b", program, tmp_path):
        pass
    assert "no database" in (tmp_path / "desk-direct.log").read_text()


def test_a_desk_without_end_is_killed(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(desk, "_END_S", 0.2)
    with raising(TestbedError, TestbedReason.SILENT), desks_at_work("a", "b", program, tmp_path):
        pass
