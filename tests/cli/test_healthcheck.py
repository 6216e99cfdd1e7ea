"""`sealwire healthcheck` says why a proxy is not ready; its exit codes are tested with a proxy that runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from sealwire.cli import healthcheck
from sealwire.proxy.server.frontiers.feed import Following
from sealwire.proxy.server.health import Health, Phase, is_ready
from sealwire.proxy.server.key_feed import Freshness
from sealwire.proxy.server.observability.audit import Keeping
from sealwire.proxy.server.observability.reach import Reachable
from tests.cli.runs import Run

UNREADY: dict[str, set[Any]] = {
    "upstream": {Reachable.DOWN},
    "keyring": {Freshness.EXPIRED},
    "audit": {Keeping.FULL},
    "frontier": {Following.LOST},
    "status": {Phase.STARTING, Phase.DRAINING},
}


class Answering:
    """A connection to an admin address that answers 503 with this body."""

    status = 503

    def __init__(self, body: bytes) -> None:
        self._body = body

    def request(self, method: str, path: str) -> None: ...

    def getresponse(self) -> "Answering":
        return self

    def read(self, amount: int) -> bytes:
        return self._body[:amount]

    def close(self) -> None: ...


@pytest.fixture
def config(run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "sealwire.yaml"
    assert run("config", "init", "--output", path).code == 0
    return path


def check(run: Run, config: Path, body: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(healthcheck, "admin_connection", lambda _: Answering(body))
    done = run("healthcheck", "--config", config)
    assert done.code == 69
    return done.err


def test_what_makes_a_proxy_unready_has_a_hint() -> None:
    named = {(name, value) for name, value, _ in healthcheck.UNREADY}
    assert named == {(name, each.value) for name, all_ in UNREADY.items() for each in all_} | {
        ("status", "stuck")
    }
    health = Health(Phase.READY, reach=Reachable.DOWN, beat_at=1.0, clock=lambda: 1.0)
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
