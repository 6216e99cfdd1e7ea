"""The audit writer that cannot read its orders says so in one line of the log, without what was in them."""

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import bson
import pytest

from sealwire.audit.files import LogPlace
from sealwire.audit.log import AuditLog, LogPace
from sealwire.audit.signing import make_key
from sealwire.audit.verification import LogReport, verify
from sealwire.proxy.server.audit_writer.main import MOST, AuditWriter
from sealwire.proxy.server.audit_writer.records import write_record
from sealwire.proxy.server.health import Keeping
from sealwire.proxy.server.observability.audit import Origin
from sealwire.proxy.session.effects import Audit
from tests.audit.logs import largest_file
from tests.proxy.server.audit_writer.rings import lines_in, log_in, ring_ends, sunk

PROGRAM = (sys.executable, "-P", "-m", "sealwire.proxy.server.audit_writer.main")
SECRET = "943 476 5919"


def run(*orders: str) -> str:
    done = subprocess.run([*PROGRAM, *orders], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert SECRET not in done.stderr
    return done.stderr


@pytest.mark.parametrize("orders", [(), (f'{{"log": ["info", "json"], "pace": "{SECRET}"}}',)])
def test_orders_that_are_none_are_one_line_of_json(orders: tuple[str, ...]) -> None:
    line = json.loads(run(*orders))
    assert (line["level"], line["event"]) == ("critical", "bug: the audit writer ended")
    assert line["stack"][0].startswith(("json.", "builtins."))


def test_orders_say_the_format_as_far_as_they_can_be_read() -> None:
    head, first, *_ = run(f'{{"log": ["info", "text"], "{SECRET}": 1}}').splitlines()
    assert head.endswith("CRITICAL bug: the audit writer ended")
    assert first == "    builtins.KeyError"


RECORD = Audit("refused", "clinic.patients", "find", "pattern", "nhs_number")
ORIGIN = Origin("127.0.0.1:5", 7)


def numbered(number: int) -> bytes:
    return write_record({"time": number, "event": "numbered", "number": number})


def test_records_of_all_rings_become_one_chain(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pairs = [stack.enter_context(ring_ends(1 << 20)) for _ in range(3)]
        writer = AuditWriter(lambda: log_in(tmp_path), [reads for _, reads in pairs])
        for number in range(3 * MOST):
            assert pairs[number % 2][0].put(numbered(number))
        assert [writer.turn() for _ in range(4)] == [True, True, False, False]
        assert writer.finish()
        assert sorted(str(line["number"]) for line in lines_in(tmp_path, "numbered")) == sorted(
            str(number) for number in range(3 * MOST)
        )
        report = LogReport()
        verify([tmp_path / "audit.jsonl"], {}, report)
        assert (report.is_whole, report.lines) == (True, 3 * MOST + 1)


def test_what_cannot_be_written_waits_in_the_ring_and_nothing_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sunk() as (here, sink, ring):
        writer = AuditWriter(lambda: log_in(tmp_path), [ring])
        with largest_file(1):
            sink.write(RECORD, ORIGIN)
            assert not writer.turn()
            sink.write(RECORD, ORIGIN)
            assert not writer.turn()
            assert (sink.keeping, sink.trouble) == (Keeping.WAITING, "unwritable")
            assert not writer.finish()
        assert ring.count() == 2
        sink.tick()
        assert here.metrics.value("sealwire_audit_failures_total") == 3
        # one line in ten seconds, not one for each attempt
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert writer.turn()
        assert (ring.count(), writer.is_troubled) == (0, False)
        assert sink.trouble == ""
        assert len(lines_in(tmp_path, "refused")) == 2


def test_another_writer_goes_on_where_one_was_killed(tmp_path: Path) -> None:
    with ring_ends() as (writes, reads):
        for number in range(3):
            writes.put(numbered(number))
        # written, and killed before the room was given back
        first = AuditWriter(lambda: log_in(tmp_path), [reads])
        first._write([{"event": "numbered", "number": number} for number in range(2)])
        writes.put(numbered(3))
        second = AuditWriter(lambda: log_in(tmp_path), [reads])
        assert second.turn()
        assert [line["number"] for line in lines_in(tmp_path, "numbered")] == [0, 1, 0, 1, 2, 3]


def test_bytes_that_are_no_record_and_records_that_are_no_line_leave_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ring_ends(1 << 20) as (writes, reads):
        writes.put(b"no BSON")
        writes.put(numbered(1))
        writes.put(write_record({"time": 0, "event": "command", "namespace": "\n" * 40_000, "user": "ann"}))
        writes.put(bson.encode({"time": 0, "event": "command", "user": b"bytes"}))
        writes.put(numbered(2))
        writer = AuditWriter(lambda: log_in(tmp_path), [reads])
        assert writer.turn()
        assert [line["number"] for line in lines_in(tmp_path, "numbered")] == [1, 2]
        assert len(lines_in(tmp_path, "unreadable-record")) == 2
        (said,) = lines_in(tmp_path, "command")
        assert (said["user"], said["namespace"]) == ("ann", "\n" * 200 + "…")
        assert [record.levelname for record in caplog.records] == ["CRITICAL"]


def test_a_log_that_cannot_be_opened_or_was_changed_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    with sunk() as (_, sink, ring):
        writer = AuditWriter(lambda: log_in(folder), [ring])
        sink.say("started")
        assert not writer.turn()
        assert sink.trouble == "file-missing"
        folder.mkdir()
        assert writer.turn()
        path = folder / "audit.jsonl"
        path.write_bytes(b"")
        sink.say("changed")
        assert not writer.turn()
        assert sink.trouble == "changed"
        path.rename(folder / "cut")
        assert writer.turn()
        assert [len(lines_in(folder, event)) for event in ("started", "changed")] == [0, 1]


def test_a_bug_is_told_and_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logs = iter([RuntimeError, None])

    def open_log() -> object:
        if next(logs) is not None:
            raise RuntimeError("secret")
        return log_in(tmp_path)

    with sunk() as (_, sink, ring):
        writer = AuditWriter(open_log, [ring])  # type: ignore[arg-type]
        sink.say("started")
        assert not writer.turn()
        assert sink.trouble == "unexpected"
        assert caplog.records[-1].levelname == "CRITICAL"
        assert writer.turn()
        assert len(lines_in(tmp_path, "started")) == 1


def test_it_sleeps_only_where_nothing_waits(tmp_path: Path) -> None:
    with ring_ends() as (writes, reads):
        writer = AuditWriter(lambda: log_in(tmp_path), [reads])
        assert writer.may_sleep()
        assert writes.wants_waking()
        writes.put(numbered(1))
        assert not writer.may_sleep()
        writer.wake()
        assert not writes.wants_waking()


def test_checkpoints_are_due_while_nothing_is_written(tmp_path: Path) -> None:
    now = 0.0
    with ring_ends() as (_, reads):
        writer = AuditWriter(lambda: log_in(tmp_path), [reads], lambda: now)
        writer.turn()
        (tmp_path / "audit.jsonl").unlink()
        now = 0.5
        writer.turn()
        now = 1.0
        writer.turn()
        assert not writer.is_troubled
        assert [each.name for each in tmp_path.iterdir()] == ["audit.jsonl.lock"]


def test_a_checkpoint_that_fails_repeats_no_line(tmp_path: Path) -> None:
    now = 0.0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    key = make_key("clinic.example", bytes(32))
    place = LogPlace(tmp_path / "audit.jsonl", elsewhere / "checkpoints")
    with ring_ends() as (writes, reads):
        log = AuditLog(place, key, LogPace(checkpoint_s=0.0))
        writer = AuditWriter(lambda: log, [reads], lambda: now)
        shutil.rmtree(elsewhere)
        for number in range(3):
            now += 2.0
            writes.put(numbered(number))
            assert writer.turn()
            assert writer.is_troubled
        elsewhere.mkdir()
        assert writer.finish()
    assert [line["number"] for line in lines_in(tmp_path, "numbered")] == [0, 1, 2]
