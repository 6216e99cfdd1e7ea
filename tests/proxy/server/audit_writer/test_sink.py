"""The worker's end: what it puts into the ring, when it wakes the writer, and what it does without room."""

from collections.abc import Callable
from typing import cast

import pytest

from sealwire.audit.line import MAX_LINE_BYTES, write_line
from sealwire.proxy.server.audit_writer.records import read_record
from sealwire.proxy.server.audit_writer.ring import RingOutput
from sealwire.proxy.server.audit_writer.sink import RingAudit
from sealwire.proxy.server.observability.audit import Keeping, Origin, WhenFull
from sealwire.proxy.session.effects import Audit, CommandOutcome, CommandRecord, CommandResult, Done
from sealwire.proxy.session.login.caller import Caller
from tests.proxy.server.audit_writer.rings import worker

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
    with worker() as here:
        sink, ring = here.sink(worker=3), RingOutput(here.ends.memory)
        assert sink.write(RECORD, ORIGIN)
        sink.say("stopped", policy="abc")
        first, second = (read_record(each) for each in ring.look(9))
        assert (first["event"], first["worker"], first["path"]) == ("refused", 3, "nhs_number")
        assert (second["event"], second["policy"]) == ("stopped", "abc")
        ring.close()
        sink.close()


def test_a_writer_that_is_awake_is_not_woken() -> None:
    with worker() as here:
        sink, ring = here.sink(), RingOutput(here.ends.memory)
        sink.write(RECORD, ORIGIN)
        assert here.wakes() == 0
        ring.sleep()
        for _ in range(3):
            sink.write(RECORD, ORIGIN)
        assert here.wakes() == 1
        ring.close()
        sink.close()


def test_it_says_what_becomes_of_lines() -> None:
    with worker() as here:
        sink, ring = here.sink(), RingOutput(here.ends.memory)
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
        ring.close()
        sink.close()


def test_it_says_which_copies_are_behind_and_counts_what_failed() -> None:
    with worker() as here:
        here.copies = ("stdout", "syslog:udp:host:514", "syslog:unix:/dev/log")
        sink, ring = here.sink(), RingOutput(here.ends.memory)
        ring.beat(1 << 63)
        ring.tell_of_copies(0b110, 3)
        assert sink.trouble == "behind syslog:udp:host:514 behind syslog:unix:/dev/log"
        assert keeping(sink) is Keeping.KEPT
        sink.tick()
        ring.tell_of_copies(0, 2)
        sink.tick()
        assert sink.trouble == ""
        assert here.metrics.value("sealwire_audit_copy_failures_total") == 5
        ring.close()
        sink.close()


def test_without_room_nothing_is_taken_but_what_the_proxy_itself_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with worker(200_000) as here:
        sink, ring = here.sink(), RingOutput(here.ends.memory)
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
        ring.close()
        assert vars(caplog.records[-1])["fields"] == {"lines": 2}


def test_a_command_has_a_line_with_who_it_was_also_when_none_may_begin_any_more() -> None:
    record = CommandRecord("clinic.patients", "find", written={}, filtered={"nhs": 1})
    with worker(200_000) as here:
        sink, ring = here.sink(), RingOutput(here.ends.memory)
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
        ring.close()
        sink.close()


def test_a_command_about_very_many_persons_leaves_room_for_the_commands_of_others() -> None:
    persons = tuple(f"{number:032}" for number in range(200_000))
    record = CommandRecord("clinic.patients", "find", written={}, filtered={}, subjects=persons)
    with worker() as here:
        sink, ring = here.sink(), RingOutput(here.ends.memory)
        assert not sink.write(Done(record, CommandResult(CommandOutcome.OK)), KNOWN)
        assert not sink.is_full
        assert sink.write(RECORD, ORIGIN)
        ring.close()
        sink.close()


def test_a_command_that_no_line_can_hold_has_several_and_loses_nobody() -> None:
    persons = tuple(f"{number:032x}" for number in range(1000))
    counts = {f"a_class_with_quite_a_long_name_{number}": 1 for number in range(1200)}
    record = CommandRecord("clinic.patients", "find", written=counts, filtered=counts, subjects=persons)
    names = tuple(f'{"%25" * 300}"{number}@admin' for number in range(8))
    with worker(4 << 20) as here:
        sink, ring = here.sink(worker=3), RingOutput(here.ends.memory)
        result = CommandResult(CommandOutcome.OK, read=counts)
        assert sink.write(Done(record, result), Origin("127.0.0.1:5", 7, caller=Caller(names)))
        lines = [read_record(each) for each in ring.look(99)]
        ring.close()
        sink.close()
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
    with worker() as here:
        sink, ring = here.sink(WhenFull.BLOCK), RingOutput(here.ends.memory)
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
        ring.close()
        sink.close()


def test_a_name_that_no_line_can_hold_keeps_nothing_off_the_record() -> None:
    with worker() as here:
        sink, ring = here.sink(), RingOutput(here.ends.memory)
        assert sink.write(Audit("refused", "clinic." + "x" * 70_000, "find", "pattern"), ORIGIN)
        said = read_record(ring.look(1)[0])
        assert (said["reason"], said["client"]) == ("pattern", "127.0.0.1:5")
        assert str(said["namespace"]) == "clinic." + "x" * 193 + "…"
        ring.close()
        sink.close()
