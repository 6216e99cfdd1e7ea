"""`sealwire healthcheck` says why a proxy is not ready; its exit codes are tested with a proxy that runs."""

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwire.cli import doctor as command
from sealwire.cli import healthcheck
from sealwire.proxy.server.doctor.diagnosis import Diagnosis, good
from sealwire.proxy.server.errors import FileProblem, StartReason
from sealwire.proxy.server.health import (
    Following,
    Freshness,
    Health,
    Keeping,
    ProxyPhase,
    Reachable,
    is_ready,
)
from tests.cli.runs import Listener, Run

UNREADY: dict[str, set[Any]] = {
    "upstream": {Reachable.DOWN},
    "keyring": {Freshness.EXPIRED},
    "audit": {Keeping.FULL},
    "frontier": {Following.LOST},
    "status": {ProxyPhase.STARTING, ProxyPhase.DRAINING},
}


@pytest.fixture
def config(run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "sealwire.yaml"
    assert run("config", "init", "--output", path).code == 0
    return path


def check(run: Run, config: Path, body: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(healthcheck, "ask_admin", lambda *_: (503, body))
    done = run("healthcheck", "--config", config, code=69)
    return done.err


def test_what_makes_a_proxy_unready_has_a_hint() -> None:
    named = {(name, value) for name, value, _ in healthcheck.UNREADY}
    assert named == {(name, each.value) for name, all_ in UNREADY.items() for each in all_} | {
        ("status", "stuck")
    }
    health = Health(ProxyPhase.READY, reach=Reachable.DOWN, beat_at=1.0, clock=lambda: 1.0)
    assert not is_ready(health)


@pytest.mark.parametrize("number", range(len(healthcheck.UNREADY)))
def test_the_reason_is_said(run: Run, config: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    name, value, hint = healthcheck.UNREADY[number]
    said = check(run, config, json.dumps({"status": "not-ready", name: value}).encode(), monkeypatch)
    assert f"{name} is {value}" in said
    assert hint in said


@pytest.mark.parametrize("body", [b"", b"[]", b'{"upstream": ["down\\u001b"]}', b"\xff", b"{" * 100])
def test_a_body_of_somebody_else_is_not_repeated(
    run: Run, config: Path, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "/readyz" in check(run, config, body, monkeypatch)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 0),
        (b"HTTP/1.1 200\r\n\r\n", 0),
        (b'HTTP/1.0 503 Service Unavailable\r\n\r\n{"upstream": "down"}', 69),
        (b"HTTP/1.0 2000 OK\r\n\r\n", 69),
        (b"HTTP/2.0 200 OK\r\n\r\n", 69),
        (b"\x15\x03\x01 200 \r\n\r\n", 69),
        (b"", 69),
    ],
)
def test_only_an_answer_of_200_is_ready(
    run: Run, config: Path, answer: bytes, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(lambda: answer)
    monkeypatch.setattr(socket, "create_connection", listener.connect)
    done = run("healthcheck", "--config", config)
    assert listener.asked.startswith(b"GET /readyz HTTP/1.0\r\n")
    assert (done.code, "upstream is down" in done.err) == (code, b"down" in answer)
    assert ("no answer" in done.err) is (code == 69 and b"503" not in answer)


# An error that ends the doctor leaves what was found before it, for programs too.


def test_an_error_that_no_diagnosis_holds_is_in_the_document(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def ends_early(*_: object) -> Iterator[Diagnosis]:
        yield good("clock", "right")
        raise FileProblem(StartReason.FILE_MISSING, "gone", "look for it")

    monkeypatch.setattr(command, "examine", ends_early)
    monkeypatch.setattr(logging.root.manager, "disable", logging.root.manager.disable)
    document = json.loads(run("doctor", "--json", "--config", tmp_path / "none.yaml").out)
    assert [check["about"] for check in document["checks"]] == ["clock"]
    assert document["errors"] == [{"reason": "file-missing", "problem": "gone", "hint": "look for it"}]
    assert (document["ok"], document["exit_code"]) == (False, 78)
