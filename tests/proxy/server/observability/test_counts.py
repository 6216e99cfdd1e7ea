"""Which messages are timed for the histograms, what of their time is ours, and sums of what was counted."""

from collections import Counter
from dataclasses import replace
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.workloads import message
from sealwire.proxy.server.dry_run import ObservedShape, shapes_in
from sealwire.proxy.server.observability.counts import CommandTimer, CoreCounts
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.observed import COMMANDS, LABELS, MAX_SHAPES, SHAPES
from sealwire.proxy.server.observability.record_bytes import RecordBytes
from sealwire.proxy.server.page.panels import Readings
from sealwire.proxy.session.effects import ObservedCommand
from sealwire.proxy.session.effects import ObservedVerdict as Verdict
from sealwire.proxy.session.watch import CommandNote
from tests.support.rows import rows

FIND = message({"find": "patients", "filter": {"nhs_number": "9434765919"}})


def sampled(counts: CoreCounts, data: bytes) -> bool:
    """As a connection asks."""
    counts.until_sampled -= 1
    return counts.until_sampled <= 0 and counts.samples(data)


def with_code(code: int) -> bytes:
    return FIND[:12] + code.to_bytes(4, "little") + FIND[16:]


def test_one_message_in_eight_is_timed_and_each_command_of_a_loop_as_often() -> None:
    counts = CoreCounts()
    places = Counter(number % 8 for number in range(80_000) if sampled(counts, FIND))
    assert sum(places.values()) == pytest.approx(10_000, rel=0.02)
    assert set(places) == set(range(8))
    assert all(found == pytest.approx(1250, rel=0.15) for found in places.values())


@rows(
    "data",
    *(message({name: 1}) for name in ("hello", "isMaster", "saslStart", "saslContinue", "ping")),
    with_code(2004),  # the first handshake of some drivers
    FIND[40:],  # the rest of a message
    b"",
)
def test_what_drivers_send_by_themselves_passes_its_turn_on(data: bytes) -> None:
    counts = CoreCounts()
    assert not any(sampled(counts, data) for _ in range(50))
    assert sampled(counts, FIND)


@pytest.mark.parametrize("data", [with_code(2012), message({"x" * 40: 1}), FIND[:27]])
def test_a_message_whose_name_is_not_seen_is_timed(data: bytes) -> None:
    assert sampled(CoreCounts(), data)


def test_what_passes_while_the_server_has_the_command_is_not_ours() -> None:
    now = iter([10.0, 10.0, 10.2, 11.2, 11.5])
    timer = CommandTimer(lambda: next(now))
    timer.turn(is_ours=True)
    timer.turn(is_ours=False)  # sent on after 0.2 s
    timer.turn(is_ours=True)  # the reply came after 1 s
    timer.turn(is_ours=False)
    assert round(timer.own_s, 6) == 0.5
    assert round(timer.total_s, 6) == 1.5


def test_a_wait_that_sealwire_makes_is_ours() -> None:
    now = iter([0.0, 0.1, 2.1])
    timer = CommandTimer(lambda: next(now))
    timer.turn(is_ours=True)  # it waits for keys
    timer.turn(is_ours=False)
    assert round(timer.own_s, 6) == round(timer.total_s, 6) == 2.1


def test_what_a_session_notes_is_kept_with_the_time_of_the_note() -> None:
    now = iter([0.0, 0.0, 0.5, 1.0, 1.5])
    timer = CommandTimer(lambda: next(now))
    note = CommandNote("find", "clinic.patients", 0.1, 0.2, 1, None)
    timer.turn(is_ours=True)
    timer.turn(is_ours=False)
    timer.take(note, 0)
    timer.turn(is_ours=True)
    timer.turn(is_ours=False)
    timer.take(None, 3)
    assert (timer.note, timer.noted_s, timer.opened, timer.own_s) == (note, 0.5, 3, 1.0)


# What a policy that is only observed would have done: counted up to a bound, logged once, read back.


RANGE = ObservedCommand(Verdict.REFUSED, "find", "clinic.patients", "$gt", "nhs", "range", "ward")


def shapes(metrics: Metrics) -> list[ObservedShape]:
    return shapes_in(Readings(metrics.render().decode()).by_labels(f"{SHAPES}_total", *LABELS))


def test_commands_are_counted_by_verdict_and_by_shape() -> None:
    metrics = Metrics()
    untouched = ObservedCommand(Verdict.UNTOUCHED, "find", "clinic.wards")
    answered = ObservedCommand(Verdict.ANSWERED, "insert", "clinic.patients", application="ward")
    asked = ObservedCommand(Verdict.ASKED, "find", "clinic.patients")
    for each in (untouched, answered, answered, asked, RANGE, RANGE, RANGE):
        metrics.observed.add(each)
    counted = {verdict: metrics.value(f"{COMMANDS}_total", verdict=verdict.value) for verdict in Verdict}
    assert counted == {
        Verdict.UNTOUCHED: 1,
        Verdict.ANSWERED: 2,
        Verdict.ASKED: 1,
        Verdict.LOOKED_UP: 0,
        Verdict.REFUSED: 3,
    }
    assert [(row.count, row.words) for row in shapes(metrics)] == [
        (3, "find clinic.patients $gt nhs [range] by ward"),
        (1, "find clinic.patients"),
        (2, "insert clinic.patients by ward"),
    ]


def test_shapes_are_bounded_and_the_rest_is_counted_together() -> None:
    metrics = Metrics()
    for number in range(MAX_SHAPES + 5):
        metrics.observed.add(replace(RANGE, namespace=f"t{number}.a"))
    metrics.observed.add(replace(RANGE, namespace="t0.a"))
    found = {row.namespace: row.count for row in shapes(metrics)}
    assert len(found) == MAX_SHAPES + 1
    assert (found["other"], found["t0.a"]) == (5, 2)
    assert metrics.value(f"{COMMANDS}_total", verdict="refused") == MAX_SHAPES + 6


def test_a_shape_that_needs_somebody_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    caplog.set_level("INFO", "sealwire.server")
    asked = ObservedCommand(Verdict.ASKED, "find", "clinic.patients")
    for each in (RANGE, RANGE, asked, ObservedCommand(Verdict.ANSWERED, "find", "clinic.patients")):
        metrics.observed.add(each)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_how_much_is_observed_is_a_figure() -> None:
    metrics = Metrics()
    assert metrics.value("sealwire_observed_collections") == 0
    metrics.observed.use_policy(2)
    assert metrics.value("sealwire_observed_collections") == 2


# Records put together field by field are the BSON that pymongo's codec writes.


# pymongo's codec puts `_id` first, wherever it stands
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8).filter(
    lambda name: name != "_id"
)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = TEXTS | NUMBERS | st.booleans() | st.lists(TEXTS, max_size=12) | st.dictionaries(NAMES, NUMBERS)


@given(st.dictionaries(NAMES, VALUES))
def test_fields_are_written_as_the_codec_writes_them(fields: dict[str, Any]) -> None:
    out = RecordBytes()
    for name, value in fields.items():
        out.field(name, value)
    assert out.finish() == bson.encode(fields)


@given(st.dictionaries(NAMES, NUMBERS), st.lists(TEXTS), TEXTS, NUMBERS)
def test_fields_of_known_types_are_too(
    counts: dict[str, int], texts: list[str], text: str, number: int
) -> None:
    out = RecordBytes()
    out.counts(b"a\0", counts)
    out.texts(b"b\0", texts)
    out.text(b"c\0", text)
    out.number(b"d\0", number)
    assert out.finish() == bson.encode({"a": counts, "b": texts, "c": text, "d": number})


def test_fields_of_one_record_can_be_put_into_another() -> None:
    first, second = RecordBytes(), RecordBytes()
    first.field("a", 1)
    second.field("b", "2")
    second.elements(first.body())
    assert bson.decode(second.finish()) == {"b": "2", "a": 1}


def test_what_utf_8_cannot_write_is_replaced() -> None:
    out = RecordBytes()
    out.field("a\udc80", "b\udc80")
    assert bson.decode(out.finish()) == {"a?": "b?"}


@rows(
    "value",
    2**63,
    -(2**63) - 1,
    1.5,
    None,
    {"a\0b": 1},
    {1: 2},
    b"abc",
    ids=lambda value: type(value).__name__,
)
def test_what_a_record_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        RecordBytes().field("a", value)


def test_a_refusal_does_not_quote_the_value() -> None:
    with pytest.raises(ValueError, match="64 bits") as caught:
        RecordBytes().field("a", 2**70)
    assert str(2**70) not in str(caught.value)
