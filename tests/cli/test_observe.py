"""`sealwire observe report`: what it makes of the figures of a running proxy, for people and for programs."""

import http.client
import json
from pathlib import Path

import pytest
import yaml

from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.effects import ObservedCommand
from sealwire.proxy.session.effects import ObservedVerdict as Verdict
from tests.cli.runs import Run

ANSWERED = ObservedCommand(Verdict.ANSWERED, "insert", "clinic.patients", application="ward")
REFUSED = ObservedCommand(Verdict.REFUSED, "find", "clinic.patients", "$gt", "nhs", "range", "ward")


class Admin:
    """What the admin address answers."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.metrics.observed.use_policy(1)
        self.status = 200
        self.is_away = False
        self.text: bytes | None = None


@pytest.fixture
def admin() -> Admin:
    return Admin()


@pytest.fixture
def begins_with(tmp_path: Path, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    class Connection:
        def __init__(self, host: str, port: int, *, timeout: float) -> None:
            assert (host, port, timeout > 0) == ("127.0.0.1", 9464, True)

        def request(self, method: str, path: str) -> None:
            assert (method, path) == ("GET", "/metrics")
            if admin.is_away:
                raise OSError

        def getresponse(self) -> "Connection":
            return self

        @property
        def status(self) -> int:
            return admin.status

        def read(self, most: int) -> bytes:
            return (admin.metrics.render() if admin.text is None else admin.text)[:most]

        def close(self) -> None:
            pass

    monkeypatch.setattr(http.client, "HTTPConnection", Connection)
    config = {
        "listen": {"address": "127.0.0.1:0", "advertise": "127.0.0.1:1", "tls": {"mode": "plaintext"}},
        "upstream": {"address": "127.0.0.1:1", "access_control": "none", "tls": {"mode": "plaintext"}},
        "policy": "policy.yaml",
        "keyring": "keyring.json",
        "kek": {"provider": "environment"},
        "admin": {"address": "127.0.0.1:9464"},
    }
    file = tmp_path / "sealwire.yaml"
    file.write_text(yaml.safe_dump(config))
    return ("observe", "report", "--config", str(file))


def test_refused_commands_are_listed_first_and_the_answer_is_no(run: Run, admin: Admin) -> None:
    for each in (ANSWERED, ANSWERED, REFUSED):
        admin.metrics.observed.add(each)
    done = run("--json")
    assert done.code == 1
    said = json.loads(done.out)
    assert said["collections"] == 1
    assert said["commands"] == {"untouched": 0, "answered": 2, "two-steps": 0, "name-asked": 0, "refused": 1}
    first, second = said["shapes"]
    assert first | {"look_at": ""} == {
        "count": 1,
        "verdict": "refused",
        "command": "find",
        "namespace": "clinic.patients",
        "operator": "$gt",
        "path": "nhs",
        "reason": "range",
        "application": "ward",
        "look_at": "",
    }
    assert "docs/policies.md#ranges" in first["look_at"]
    assert (second["count"], second["look_at"]) == (2, "")


def test_people_read_first_that_nothing_is_protected(run: Run, admin: Admin) -> None:
    admin.metrics.observed.add(ANSWERED)
    done = run()
    assert done.code == 0
    first, second, *_ = done.out.splitlines()
    assert first.startswith("NOT PROTECTED: 1 ")
    assert second == "0 untouched, 1 answered, 0 two-steps, 0 name-asked, 0 refused"


def test_a_proxy_that_enforces_its_policy_has_nothing_to_report(run: Run, admin: Admin) -> None:
    admin.metrics.observed.use_policy(0)
    done = run()
    assert done.code == 69
    assert "observes nothing" in done.err


def test_a_proxy_without_figures_is_not_ready(run: Run, admin: Admin) -> None:
    admin.status = 503
    assert run().code == 69


def test_a_proxy_that_is_away_is_not_ready(run: Run, admin: Admin) -> None:
    admin.is_away = True
    assert run().code == 69


def test_what_is_no_figures_is_not_ready(run: Run, admin: Admin) -> None:
    for admin.text in (b"<html>", b"sealwire_observed_collections NaN\n"):
        assert run().code == 69


def test_names_do_not_steer_a_terminal(run: Run, admin: Admin) -> None:
    admin.text = (
        b"sealwire_observed_collections 1\n"
        b'sealwire_observed_shapes_total{verdict="refused",application="\x1b[31mx"} 1\n'
    )
    done = run()
    assert (done.code, "?[31mx" in done.out, "\x1b" in done.out) == (0, True, False)
