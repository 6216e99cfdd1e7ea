"""`sealwire watch` as its user sees it."""

import json
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.keys.private_file import writer_lock
from sealwire.sidecars.detection.watcher import AuditWatch
from tests.cli.runs import Run
from tests.sidecars.detection.logs import append, line, source


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "alerts.yaml"
    path.write_bytes(source(tmp_path))
    append(tmp_path, [line(0, read={"nhs_number": 1200})])
    return path


def test_it_reads_to_the_end_once_and_tells(config: Path, run: Run) -> None:
    done = run("watch", config, "--once")
    (alert,) = map(json.loads, done.out.splitlines())
    assert (done.code, alert["rule"], alert["amount"]) == (0, "bulk-read", 1200)
    assert run("watch", config, "--once").out == ""


def test_what_was_learnt_is_not_told(config: Path, run: Run) -> None:
    assert run("watch", config, "--learn").out == ""
    assert run("watch", config, "--once").out == ""


def test_it_says_whether_the_file_can_be_used(config: Path, run: Run) -> None:
    done = run("watch", config, "--check")
    assert (done.code, done.out) == (0, "30 rules, 1 channels: can be used\n")
    config.write_bytes(source(config.parent, "bulk-read: {at_least: none}"))
    assert run("watch", config, "--check").code == 78


def test_two_do_not_watch_with_one_state(config: Path, run: Run) -> None:
    with writer_lock(config.parent / "watch.sqlite"):
        assert run("watch", config, "--once").code == 69


def test_a_command_that_fails_is_said_and_tried_again(config: Path, run: Run) -> None:
    config.write_bytes(source(config.parent, tell="log: off\n  command: {run: [/bin/false]}"))
    for _ in range(2):
        done = run("watch", config, "--once")
        said = json.loads(done.out)
        assert (done.code, said["event"], said["channel"]) == (1, "alert-not-told", "command")


@pytest.mark.parametrize(
    ("tell", "code"),
    [("webhook: {url: https://example.org/, secret: /no/such/secret}", 78), ("log: perhaps", 78)],
)
def test_what_the_file_names_has_to_be_there(config: Path, run: Run, tell: str, code: int) -> None:
    config.write_bytes(source(config.parent, tell=tell))
    assert run("watch", config, "--check").code == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(
    config: Path, run: Run, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    former = signal.getsignal(number)
    ended: list[bool] = []

    def until_stopped(_watch: AuditWatch, stop: threading.Event) -> None:
        signal.raise_signal(number)
        ended.append(stop.is_set())

    monkeypatch.setattr(AuditWatch, "run", until_stopped)
    done = run("watch", config)
    said = json.loads(done.out)
    assert (done.code, said["event"], ended) == (0, "watching", [True])
    left = datetime.fromisoformat(said["learning_until"]) - datetime.now(UTC)
    assert timedelta(days=6) < left <= timedelta(days=7)
    assert signal.getsignal(number) is former


def test_one_thing_at_a_time(config: Path, run: Run) -> None:
    assert run("watch", config, "--once", "--learn").code == 2
