"""The worker's end: what it puts into the ring, when it wakes the writer, and what it does without room."""

import asyncio
import fcntl
import mmap
import os
import re
from collections.abc import Callable
from contextlib import closing
from typing import Any, cast

import bson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sealwire.audit.line import FIRST_PREVIOUS, MAX_LINE_BYTES, write_line
from sealwire.proxy.server.audit_writer import ring
from sealwire.proxy.server.audit_writer.records import read_record
from sealwire.proxy.server.audit_writer.ring import MAX_RECORD_BYTES, RingInput, RingOutput, make_memory
from sealwire.proxy.server.audit_writer.sink import (
    MAX_SHARE_BYTES,
    MAX_SUBJECTS,
    RingAudit,
    persons_of,
    shares_of,
    write_command,
    write_share,
)
from sealwire.proxy.server.health import Keeping
from sealwire.proxy.server.observability.audit import Origin
from sealwire.proxy.server.observability.audit_settings import WhenFull
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.record_bytes import RecordBytes
from sealwire.proxy.server.supervisor.supervisor import SupervisorMetrics
from sealwire.proxy.server.tasks import spawn
from sealwire.proxy.session.effects import (
    UNANSWERED,
    Audit,
    CommandOutcome,
    CommandRecord,
    CommandResult,
    Done,
)
from sealwire.proxy.session.login.caller import Caller
from tests.build_context import ROOT
from tests.proxy.server.audit_writer.rings import ring_ends, sunk, worker
from tests.proxy.server.harness import until

RECORD = Audit("refused", "clinic.patients", "find", "pattern", "nhs_number")
LONG = Audit("refused", "clinic.patients", "find", "x" * 20_000)
ORIGIN = Origin("127.0.0.1:5", 7)
KNOWN = Origin("127.0.0.1:5", 7, caller=Caller(("ann@admin", "bob@clinic")))


def fill(sink: RingAudit) -> int:
    """Records that fitted."""
    count = 0
    while sink.write(LONG, ORIGIN):
        count += 1
    return count


def keeping(sink: RingAudit) -> Keeping:
    """What it says now; to mypy, what it said before would still count."""
    return sink.keeping


def test_a_record_is_in_the_ring_at_once_with_the_number_of_its_worker() -> None:
    with sunk(number=3) as (_, sink, ring):
        assert sink.write(RECORD, ORIGIN)
        sink.say("stopped", policy="abc")
        first, second = (read_record(each) for each in ring.look(9))
        assert (first["event"], first["worker"], first["path"]) == ("refused", 3, "nhs_number")
        assert (second["event"], second["policy"]) == ("stopped", "abc")


def test_a_writer_that_is_awake_is_not_woken() -> None:
    with sunk() as (here, sink, ring):
        sink.write(RECORD, ORIGIN)
        assert here.wakes() == 0
        ring.sleep()
        for _ in range(3):
            sink.write(RECORD, ORIGIN)
        assert here.wakes() == 1


def test_it_says_what_becomes_of_lines() -> None:
    with sunk() as (here, sink, ring):
        assert (keeping(sink), sink.trouble) == (Keeping.WAITING, "stalled")
        ring.beat(1 << 63)
        assert (keeping(sink), sink.trouble) == (Keeping.KEPT, "")
        sink.write(RECORD, ORIGIN)
        ring.tell(3)
        assert (keeping(sink), sink.trouble) == (Keeping.WAITING, "unwritable")
        sink.tick()
        sink.tick()
        assert here.metrics.value("sealwire_audit_failures_total") == 1
        ring.tell(0)
        assert keeping(sink) is Keeping.KEPT


def test_it_says_which_copies_are_behind_and_counts_what_failed() -> None:
    with sunk(copies=("stdout", "syslog:udp:host:514", "syslog:unix:/dev/log")) as (here, sink, ring):
        ring.beat(1 << 63)
        ring.tell_of_copies(0b110, 3)
        assert sink.trouble == "behind syslog:udp:host:514 behind syslog:unix:/dev/log"
        assert keeping(sink) is Keeping.KEPT
        sink.tick()
        ring.tell_of_copies(0, 2)
        sink.tick()
        assert sink.trouble == ""
        assert here.metrics.value("sealwire_audit_copy_failures_total") == 5


def test_without_room_nothing_is_taken_but_what_the_proxy_itself_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with worker(200_000) as here, closing(RingOutput(here.ends.memory)) as ring:
        sink = here.sink()
        assert fill(sink) == 8
        assert not sink.is_pressed
        sink.say("stopped", text="y" * 30_000)
        assert ring.count() == 9
        assert keeping(sink) is Keeping.FULL
        sink.say("late", text="y" * 50_000)
        sink.say("later")
        assert ring.count() == 9
        ring.look(3)
        ring.taken()
        sink.tick()
        assert [read_record(each)["event"] for each in ring.look(99)][-2:] == ["late", "later"]
        fill(sink)
        sink.say("lost", text="y" * 50_000)
        sink.say("lost", text="y" * 50_000)
        sink.close()
        assert vars(caplog.records[-1])["fields"] == {"lines": 2}


def test_a_command_has_a_line_with_who_it_was_also_when_none_may_begin_any_more() -> None:
    record = CommandRecord("clinic.patients", "find", written={}, filtered={"nhs": 1})
    with sunk(200_000) as (_, sink, ring):
        assert not sink.is_full
        fill(sink)
        assert sink.is_full
        assert sink.write(Done(record, CommandResult(CommandOutcome.OK, read={"nhs": 2})), KNOWN)
        said = read_record(ring.look(99)[-1])
        assert dict(said) | {"time": ""} == {
            "event": "command",
            "client": "127.0.0.1:5",
            "connection": 7,
            "user": "ann@admin bob@clinic",
            "namespace": "clinic.patients",
            "command": "find",
            "outcome": "ok",
            "read": {"nhs": 2},
            "filtered": {"nhs": 1},
            "time": "",
        }
        while sink.write(Done(record, CommandResult(CommandOutcome.OK)), KNOWN):
            pass
        assert sink._ring.filled > 0.99


def test_a_command_about_very_many_persons_leaves_room_for_the_commands_of_others() -> None:
    persons = tuple(f"{number:032}" for number in range(200_000))
    record = CommandRecord("clinic.patients", "find", written={}, filtered={}, subjects=persons)
    with sunk() as (_, sink, _):
        assert not sink.write(Done(record, CommandResult(CommandOutcome.OK)), KNOWN)
        assert not sink.is_full
        assert sink.write(RECORD, ORIGIN)


def test_a_command_that_no_line_can_hold_has_several_and_loses_nobody() -> None:
    persons = tuple(f"{number:032x}" for number in range(1000))
    counts = {f"a_class_with_quite_a_long_name_{number}": 1 for number in range(1200)}
    record = CommandRecord("clinic.patients", "find", written=counts, filtered=counts, subjects=persons)
    names = tuple(f'{"%25" * 300}"{number}@admin' for number in range(8))
    with sunk(4 << 20, number=3) as (_, sink, ring):
        result = CommandResult(CommandOutcome.OK, read=counts)
        assert sink.write(Done(record, result), Origin("127.0.0.1:5", 7, caller=Caller(names)))
        lines = [read_record(each) for each in ring.look(99)]
    first, *others = lines
    assert (first["parts"], first["outcome"]) == (len(lines), "ok")
    assert [each["part"] for each in others] == list(range(2, len(lines) + 1))
    assert {(each["time"], each["worker"], each["connection"]) for each in lines} == {(first["time"], 3, 7)}
    found = [person for each in lines for person in cast(list[str], each.get("subjects", []))]
    assert tuple(found) == persons
    for name in ("read", "written", "filtered"):
        assert sum(len(cast(dict[str, int], each.get(name, {}))) for each in lines) == 1200
    assert all(len(write_line(1, bytes(32), each)) < MAX_LINE_BYTES for each in lines)


def test_where_it_is_to_block_clients_are_held_back_until_there_is_room() -> None:
    with sunk(when_full=WhenFull.BLOCK) as (here, sink, ring):
        while not sink.is_pressed:
            assert sink.write(LONG, ORIGIN)
        assert 0.5 < sink._ring.filled < 0.6
        (look,) = here.due
        cast(Callable[[], None], look)()
        assert (sink.is_pressed, here.rooms, len(here.due)) == (True, 0, 2)
        # what is under way still has room
        assert sink.write(LONG, ORIGIN)
        ring.look(99)
        ring.taken()
        cast(Callable[[], None], here.due[-1])()
        assert (sink.is_pressed, here.rooms, len(here.due)) == (False, 1, 2)


def test_a_name_that_no_line_can_hold_keeps_nothing_off_the_record() -> None:
    with sunk() as (_, sink, ring):
        assert sink.write(Audit("refused", "clinic." + "x" * 70_000, "find", "pattern"), ORIGIN)
        said = read_record(ring.look(1)[0])
        assert (said["reason"], said["client"]) == ("pattern", "127.0.0.1:5")
        assert str(said["namespace"]) == "clinic." + "x" * 193 + "…"


def record(subjects: tuple[str, ...] = ()) -> CommandRecord:
    return CommandRecord(
        "clinic.patients",
        "find",
        written={},
        filtered={"nhs": 1},
        subjects=subjects,
        purpose="direct-care",
        glass="unconscious",
    )


def line_of(done: Done, now_s: float) -> dict[str, Any]:
    out = RecordBytes()
    write_command(out, done, now_s, persons_of(done))
    return bson.decode(out.finish())


def test_a_line_says_what_there_is_to_say_and_no_more() -> None:
    begun = record(("b",))
    begun.begun_s = 7.0
    result = CommandResult(CommandOutcome.FAILED, "code 11000", {"nhs": 2}, 3, ("a", "b"), 1)
    assert line_of(Done(begun, result), 7.0015) == {
        **{"event": "command", "namespace": "clinic.patients", "command": "find", "purpose": "direct-care"},
        **{"outcome": "failed", "reason": "code 11000", "read": {"nhs": 2}, "filtered": {"nhs": 1}},
        **{"documents": 3, "subjects_unknown": 1, "glass": "unconscious", "subjects": ["b", "a"]},
        "us": 1500,
    }


def test_an_act_says_of_which_database_and_about_whom() -> None:
    act = CommandRecord("", "createUser", written={}, filtered={}, act="administration", database="admin")
    act.target = "eve"
    assert line_of(Done(act, CommandResult(CommandOutcome.OK)), 9.0) == {
        **{"event": "command", "command": "createUser", "outcome": "ok", "act": "administration"},
        **{"database": "admin", "target": "eve"},
    }


def test_a_write_says_how_many_documents_it_was_about() -> None:
    write = CommandRecord("a.b", "update", written={}, filtered={})
    said = line_of(Done(write, CommandResult(CommandOutcome.OK, affected=9, modified=7, deleted=2)), 9.0)
    assert (said["affected"], said["modified"], said["deleted"]) == (9, 7, 2)


def test_what_is_empty_is_left_out() -> None:
    plain = CommandRecord("a.b", "insert", written={}, filtered={})
    said = {"event": "command", "namespace": "a.b", "command": "insert", "outcome": "unanswered"}
    assert line_of(Done(plain, UNANSWERED), 9.0) == said


def test_ids_take_room_of_the_first_line_alone() -> None:
    persons, keys = (tuple(f"{kind}{number:031x}" for number in range(1000)) for kind in "ab")
    sent = CommandRecord("a.b", "delete", written={}, filtered={}, subjects=persons, ids=keys, unnamed=3)
    lines = lines_of(Done(sent, CommandResult(CommandOutcome.OK, affected=1003)))
    assert (lines[0]["ids"], lines[0]["unnamed"]) == (list(keys), 3)
    assert not any("ids" in line or "unnamed" in line for line in lines[1:])
    assert [person for line in lines for person in line.get("subjects", ())] == list(persons)
    assert all(len(write_line(1, FIRST_PREVIOUS, line)) < MAX_LINE_BYTES for line in lines)


def lines_of(done: Done) -> list[dict[str, Any]]:
    shares = shares_of(done, persons_of(done))
    found = []
    for part in range(1, len(shares) + 1):
        out = RecordBytes()
        write_share(out, done, 0.0, shares, part)
        found.append(bson.decode(out.finish()))
    return found


def test_many_persons_take_several_lines_each_of_which_fits() -> None:
    persons = [f"{number:032x}" for number in range(2 * MAX_SUBJECTS + 1)]
    first, second, third = lines_of(Done(record(), CommandResult(CommandOutcome.OK, subjects=tuple(persons))))
    assert (first["subjects"], first["parts"], "part" in first) == (persons[:MAX_SUBJECTS], 3, False)
    assert (second["part"], second["command"], second["purpose"]) == (2, "find", "direct-care")
    assert second["subjects"] == persons[MAX_SUBJECTS : 2 * MAX_SUBJECTS]
    assert (third["part"], third["subjects"]) == (3, persons[-1:])
    assert all(len(write_line(1, FIRST_PREVIOUS, line)) < MAX_LINE_BYTES for line in (first, second))


@given(
    st.lists(st.dictionaries(st.integers(0, 3000), st.integers(1, 2**53 - 1)), min_size=3, max_size=3),
    st.integers(0, 2500),
    st.integers(1, 63),
)
def test_whatever_a_command_counts_is_in_its_lines_once_and_each_fits(
    counts: list[dict[int, int]], amount: int, width: int
) -> None:
    by_class = [{f"{name:_>{width}}"[:63]: count for name, count in each.items()} for each in counts]
    read, written, filtered = by_class
    persons = tuple(f"{number:032x}" for number in range(amount))
    sent = CommandRecord("a.b", "find", written=written, filtered=filtered, subjects=persons)
    lines = lines_of(Done(sent, CommandResult(CommandOutcome.OK, read=read, documents=7)))
    assert [person for line in lines for person in line.get("subjects", ())] == list(persons)
    for name, wanted in (("read", read), ("written", written), ("filtered", filtered)):
        said = [item for line in lines for item in line.get(name, {}).items()]
        assert (dict(said), len(said)) == (wanted, len(wanted))
    classes = [
        set().union(*(line.get(each, {}) for each in ("read", "written", "filtered"))) for line in lines
    ]
    assert sum(map(len, classes)) == len(set().union(*classes))
    assert [line.get("documents") for line in lines] == [7, *[None] * (len(lines) - 1)]
    names = {"read", "written", "filtered", "subjects"}
    for line in lines:
        share = {name: value for name, value in line.items() if name in names}
        assert len(bson.encode(share)) < MAX_SHARE_BYTES + 100


# Metrics and named tasks.


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "operations" / "observability.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(sealwire_[a-z_]+?)(?:_total)?`", text))
    registries = (Metrics().registry, SupervisorMetrics(2).registry)
    families = [family for registry in registries for family in registry.collect()]
    ours = {family.name for family in families if family.name.startswith("sealwire_")}
    assert ours == documented


async def test_a_task_that_fails_is_named_in_the_log_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise ValueError("9434765919")

    task = spawn(fail(), "accept mongo:27017")
    await until(task.done)
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert vars(record)["fields"] == {"task": "accept mongo:27017"}
    assert "9434765919" not in record.getMessage()


async def test_a_cancelled_task_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    task = spawn(asyncio.sleep(3600), "waits")
    task.cancel()
    await until(task.done)
    assert task.get_name() == "waits"
    assert caplog.records == []


# The queue in shared memory: order, room, and what a reader makes of bytes that it must not trust.


@given(st.lists(st.one_of(st.binary(max_size=300), st.none()), max_size=60))
@example([*(bytes([number]) * size for number in range(20) for size in (0, 1, 97, 250)), None] * 2)
def test_a_ring_is_a_queue(moves: list[bytes | None]) -> None:
    waiting: list[bytes] = []
    with ring_ends(701) as (writes, reads):
        for move in moves:
            if move is None:
                assert reads.look(2) == waiting[:2]
                reads.taken()
                del waiting[:2]
            elif writes.put(move):
                waiting.append(move)
            else:
                assert sum(16 + len(each) for each in [*waiting, move]) > 701
            assert reads.count() == len(waiting)
        assert reads.look(100) == waiting
        assert reads.look(3) == []
        reads.taken()
        assert reads.waiting_bytes == writes.waiting_bytes == 0


def test_room_is_given_back_only_for_what_was_taken() -> None:
    with ring_ends(1000) as (writes, reads):
        assert writes.put(bytes(400))
        assert not writes.put(bytes(400), spare=200)
        assert writes.put(bytes(400))
        assert not writes.put(bytes(200))
        assert reads.look(1) == [bytes(400)]
        assert not writes.put(bytes(200))
        reads.put_back()
        assert len(reads.look(5)) == 2
        reads.taken()
        assert writes.put(bytes(200))


def test_a_process_that_comes_after_another_goes_on_with_what_lies_there() -> None:
    memory = make_memory(1000)
    first = RingInput(memory)
    assert first.put(b"one")
    second = RingInput(memory)
    assert second.put(b"two")
    reader, next_reader = RingOutput(memory), RingOutput(memory)
    assert reader.look(1) == [b"one"]
    assert next_reader.look(9) == [b"one", b"two"]
    for end in (first, second, reader, next_reader):
        end.close()
    os.close(memory)


@pytest.mark.parametrize("place", [0, 4, 8, 16, 18])
def test_a_record_whose_bytes_are_not_all_there_is_none_yet(place: int) -> None:
    memory = make_memory(1000)
    writes, reads = RingInput(memory), RingOutput(memory)
    writes.put(b"one")
    writes.put(b"two")
    with mmap.mmap(memory, 0) as content:
        content[ring._START + place] ^= 1
        assert reads.look(9) == []
        content[ring._START + place] ^= 1
    assert reads.look(9) == [b"one", b"two"]
    writes.close()
    reads.close()
    os.close(memory)


def test_the_ends_tell_each_other_how_it_goes() -> None:
    with ring_ends() as (writes, reads):
        assert not writes.wants_waking()
        reads.sleep()
        assert [writes.wants_waking() for _ in range(2)] == [True, False]
        reads.sleep()
        reads.wake()
        assert not writes.wants_waking()
        reads.beat(123)
        reads.tell(3)
        assert (writes.beat_ns, writes.trouble, writes.failures) == (123, 3, 0)
        writes.put(b"waits")
        reads.tell(3)
        assert writes.failures == 1
        assert writes.has_room()
        assert 0 < writes.filled < 0.001


def test_a_record_that_no_line_can_hold_is_refused() -> None:
    with ring_ends(100_000) as (writes, _):
        with pytest.raises(ValueError, match="60001"):
            writes.put(bytes(MAX_RECORD_BYTES + 1))
        assert writes.put(bytes(MAX_RECORD_BYTES))
        assert not writes.has_room()


def test_nobody_can_make_the_memory_shorter() -> None:
    memory = make_memory(1000)
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 10)
    with pytest.raises(PermissionError):
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    os.close(memory)
