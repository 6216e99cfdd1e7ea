"""The writer as a process of its own: killed, stopped, without a disk, with others on the same log."""

import asyncio
import fcntl
import json
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.audit.errors import AuditFileProblem, AuditKeyProblem, AuditReason
from sealwire.audit.files import LogPlace, files_of
from sealwire.audit.line import read_line
from sealwire.audit.log import LogPace
from sealwire.audit.verification import LogReport, read_checkpoints, verify
from sealwire.keys.errors import UnsafeFile
from sealwire.proxy.server.audit_writer import keeper
from sealwire.proxy.server.audit_writer.keeper import WriterKeeper, check_audit
from sealwire.proxy.server.audit_writer.sink import RingAudit, Shell
from sealwire.proxy.server.health import Keeping
from sealwire.proxy.server.observability.audit import Origin
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.effects import Audit
from tests.audit.logs import KEY
from tests.proxy.server.harness import soon, until
from tests.support.reasons import raising

pytestmark = pytest.mark.integration

ORIGIN = Origin("127.0.0.1:5", 7)
SECRET = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I="


def settings(folder: Path) -> AuditSettings:
    key = folder / "audit.key"
    if not key.exists():
        key.touch(0o600)
        key.write_bytes(KEY.written())
    return AuditSettings(LogPlace(folder / "audit.jsonl"), key, LogPace(file_bytes=1 << 17))


class Running:
    """A keeper, and a sink for each worker."""

    def __init__(self, folder: Path, workers: int, log_format: LogFormat = LogFormat.TEXT) -> None:
        self.keeper = WriterKeeper(settings(folder), workers, "info", log_format)
        shell = Shell(asyncio.get_running_loop().call_later, lambda: None)
        self.sinks = [
            RingAudit(self.keeper.ends(number), Metrics(), shell, always={"worker": number})
            for number in range(1, workers + 1)
        ]
        self.numbers = 0

    @property
    def pid(self) -> int:
        assert self.keeper._process is not None
        return self.keeper._process.pid

    def put(self, count: int = 1, command: str = "find") -> bool:
        """Report so many numbered things, to one sink after the other."""
        for _ in range(count):
            sink = self.sinks[self.numbers % len(self.sinks)]
            if not sink.write(Audit("refused", "clinic.patients", command, str(self.numbers)), ORIGIN):
                return False
            self.numbers += 1
        return True

    def keeping(self) -> Keeping:
        return self.sinks[0].keeping


@asynccontextmanager
async def writing(
    folder: Path, workers: int = 1, log_format: LogFormat = LogFormat.TEXT
) -> AsyncIterator[Running]:
    running = Running(folder, workers, log_format)
    await running.keeper.start()
    try:
        yield running
    finally:
        for sink in running.sinks:
            sink.close()
        await running.keeper.close()


def numbers_in(folder: Path) -> list[int]:
    lines = [
        read_line(line).fields
        for file in files_of(folder / "audit.jsonl")
        for line in file.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    ]
    return [int(str(line["reason"])) for line in lines if line["event"] == "refused"]


def assert_whole(folder: Path) -> LogReport:
    report = LogReport()
    place = settings(folder).place
    verify(files_of(place.path), read_checkpoints(place.checkpoints, KEY.verification, report), report)
    assert report.flaws == []
    assert report.signed == report.lines
    return report


async def until_written(folder: Path, holds: Callable[[list[int]], bool]) -> None:
    def is_so() -> bool:
        try:
            return holds(numbers_in(folder))
        except FileNotFoundError:
            return False  # the writer has renamed a full file, and begins the next one

    await until(is_so)


async def test_what_is_put_in_is_written_signed_and_whole_at_the_end(tmp_path: Path) -> None:
    async with writing(tmp_path, 3) as running:
        assert running.put(2000)
        pid = running.pid
    assert sorted(numbers_in(tmp_path)) == list(range(2000))
    assert_whole(tmp_path)
    assert len(files_of(tmp_path / "audit.jsonl")) > 1
    assert not Path(f"/proc/{pid}").exists()


async def test_a_writer_that_is_killed_again_and_again_leaves_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE_S", 0.02)
    async with writing(tmp_path, 2) as running:
        killed = set[int]()
        for _ in range(4):
            pid, before = running.pid, running.numbers
            await until_written(tmp_path, lambda found, least=before: len(found) >= least)  # type: ignore[misc]
            assert running.put(1500)
            # in the middle of it
            await until_written(tmp_path, lambda found, least=before: len(found) > least)  # type: ignore[misc]
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
            assert running.put(200)
            await until(lambda gone=pid: running.pid != gone)  # type: ignore[misc]
        assert len(killed) == 4
    assert set(numbers_in(tmp_path)) == set(range(running.numbers))
    assert_whole(tmp_path)


async def test_a_writer_that_is_killed_at_the_end_is_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "CLOSE_S", 60.0)  # a busy machine may need more than ten seconds for a start
    async with writing(tmp_path) as running:
        assert running.put(10)
        await until_written(tmp_path, lambda found: len(found) == 10)
        os.kill(running.pid, signal.SIGSTOP)
        assert running.put(100)
        os.kill(running.pid, signal.SIGKILL)
    # one that was stopped between a line and its acknowledgement has left the line to the next writer
    assert list(dict.fromkeys(numbers_in(tmp_path))) == list(range(110))
    assert_whole(tmp_path)


async def test_at_the_end_nobody_waits_for_the_pause_before_a_new_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # longer than the end waits for the writer: then nothing would be written
    monkeypatch.setattr(keeper, "LONGEST_PAUSE_S", 3600.0)
    monkeypatch.setattr(keeper, "FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(keeper, "CLOSE_S", 60.0)
    async with writing(tmp_path) as running:
        pid = running.pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: running.pid != pid)  # the first time there is no pause
        os.kill(running.pid, signal.SIGKILL)
        assert running.put(100)
    assert numbers_in(tmp_path) == list(range(100))


async def test_a_writer_that_is_stopped_holds_nobody_up_before_the_ring_is_full(tmp_path: Path) -> None:
    async with writing(tmp_path) as running:
        assert running.put(10)
        await until_written(tmp_path, lambda found: len(found) == 10)
        os.kill(running.pid, signal.SIGSTOP)
        try:
            assert not running.put(1000, "x" * 10_000)
            assert running.numbers > 300
            assert running.keeping() is Keeping.FULL
        finally:
            os.kill(running.pid, signal.SIGCONT)
        await until(running.put)
        await until(lambda: running.keeping() is Keeping.KEPT)
    assert numbers_in(tmp_path) == list(range(running.numbers))
    assert_whole(tmp_path)


async def test_what_no_disk_takes_is_written_when_there_is_room(tmp_path: Path) -> None:
    async with writing(tmp_path) as running:
        assert running.put(10)
        await until_written(tmp_path, lambda found: len(found) == 10)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        assert running.put(50)
        await until(lambda: running.keeping() is Keeping.WAITING)
        assert running.sinks[0].trouble == "unwritable"
        assert len(numbers_in(tmp_path)) == 10
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, unlimited)
        await until(lambda: running.keeping() is Keeping.KEPT)
    assert numbers_in(tmp_path) == list(range(60))
    assert_whole(tmp_path)


async def test_a_lock_that_another_process_holds_holds_up_the_writer_alone(tmp_path: Path) -> None:
    async with writing(tmp_path) as running:
        with (tmp_path / "audit.jsonl.lock").open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert running.put(500)
            # the loop goes on; nothing is written
            await until(lambda: running.sinks[0].trouble == "stalled")
            assert numbers_in(tmp_path) == []
            fcntl.flock(lock, fcntl.LOCK_UN)
        await until_written(tmp_path, lambda found: len(found) == 500)
    assert_whole(tmp_path)


async def test_each_line_goes_to_a_copy_too_though_the_writer_is_killed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        receiver.setblocking(False)
        names = (f"syslog:unix:{tmp_path / 'log'}", "syslog:tcp:127.0.0.1:1")
        chosen = replace(settings(tmp_path), copies=names)
        keeper = WriterKeeper(chosen, 1, "info", LogFormat.TEXT)
        shell = Shell(asyncio.get_running_loop().call_later, lambda: None)
        sink = RingAudit(keeper.ends(1), Metrics(), shell, copies=chosen.copies)
        got = set[int]()

        def take() -> int:
            with suppress(BlockingIOError):
                while True:
                    line = json.loads(receiver.recv(65_536).partition(b" audit - ")[2])
                    if line["event"] == "refused":
                        got.add(int(line["reason"]))
            return len(got)

        await keeper.start()
        for number in range(100):
            sink.write(Audit("refused", "clinic.patients", "find", str(number)), ORIGIN)
        await until(lambda: take() > 10)
        assert keeper._process is not None
        keeper._process.kill()
        for number in range(100, 200):
            sink.write(Audit("refused", "clinic.patients", "find", str(number)), ORIGIN)
        await until(lambda: take() == 200)
        # the other one is away: that is told, and the log is kept all the same
        await until(lambda: sink.trouble == "behind syslog:tcp:127.0.0.1:1")
        assert sink.keeping is Keeping.KEPT
        sink.close()
        await keeper.close()
    assert_whole(tmp_path)


async def test_two_proxies_write_one_chain(tmp_path: Path) -> None:
    async with writing(tmp_path) as one, writing(tmp_path) as other:
        for _ in range(20):
            assert one.put(20)
            assert other.put(20)
            await asyncio.sleep(0.002)
    assert sorted(numbers_in(tmp_path)) == sorted([*range(400), *range(400)])
    assert_whole(tmp_path)


async def test_the_writer_inherits_no_key_and_its_orders_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALWIRE_KEK", SECRET)
    monkeypatch.setenv("VAULT_TOKEN", SECRET)
    async with writing(tmp_path) as running:
        seen = Path(f"/proc/{running.pid}/environ").read_bytes()
        seen += Path(f"/proc/{running.pid}/cmdline").read_bytes()
        assert SECRET.encode() not in seen
        assert b"PATH=" in seen
        assert running.put()
    assert len(numbers_in(tmp_path)) == 1


async def test_a_writer_ends_when_the_proxy_has_been_killed(tmp_path: Path) -> None:
    # the pipes of a keeper that nobody closes: as the system closes those of a process that was killed
    running = Running(tmp_path, 1)
    await running.keeper.start()
    assert running.put(20)
    for worker, _ in running.keeper._rings:
        os.close(worker.wake)
    assert running.keeper._process is not None
    assert await soon(running.keeper._process.wait()) == 0
    assert numbers_in(tmp_path) == list(range(20))
    assert_whole(tmp_path)
    assert running.keeper._keeping is not None
    running.keeper._keeping.cancel()


async def test_what_can_never_be_written_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with writing(tmp_path) as running:
        assert running.put()
        await until_written(tmp_path, lambda found: len(found) == 1)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (100, 100))
        assert running.put(5)
    assert vars(caplog.records[-1])["fields"] == {"lines": 5}
    assert len(numbers_in(tmp_path)) == 1


async def test_a_place_or_a_key_that_cannot_be_used_is_an_error_of_the_start(tmp_path: Path) -> None:
    key = tmp_path / "audit.key"
    key.write_bytes(KEY.written())
    key.chmod(0o644)
    with pytest.raises(UnsafeFile):
        await Running(tmp_path, 1).keeper.start()
    key.chmod(0o600)
    key.write_bytes(f"{KEY.verification}\n".encode())
    with pytest.raises(AuditKeyProblem):
        await Running(tmp_path, 1).keeper.start()
    key.write_bytes(KEY.written())
    (tmp_path / "audit.jsonl.lock").mkdir()
    with pytest.raises(AuditFileProblem):
        await Running(tmp_path, 1).keeper.start()
    assert not (tmp_path / "audit.jsonl").exists()


async def test_a_check_tells_of_the_place_and_the_key_and_writes_nothing(tmp_path: Path) -> None:
    good = settings(tmp_path)
    check_audit(good)
    for path in (tmp_path / "missing" / "audit.jsonl", tmp_path / "missing" / "checkpoints"):
        place = LogPlace(path) if path.suffix else LogPlace(good.place.path, path)
        with raising(AuditFileProblem, AuditReason.FILE_MISSING):
            check_audit(replace(good, place=place))
    (tmp_path / "audit.key").write_bytes(b"no key")
    with pytest.raises(AuditKeyProblem):
        check_audit(good)
    assert [each.name for each in tmp_path.iterdir()] == ["audit.key"]


async def test_what_the_writer_logs_is_as_the_proxy_logs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audit.jsonl"
    async with writing(tmp_path, log_format=LogFormat.JSON) as running:
        assert running.put()
        await until_written(tmp_path, lambda found: len(found) == 1)
        path.write_bytes(b"")
        assert running.put()
        await until(lambda: running.sinks[0].trouble == "changed")
        path.rename(tmp_path / "cut")
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert told[0]["reason"] == "changed"
    assert "audit verify" in told[0]["hint"]
    assert numbers_in(tmp_path) == [1]
