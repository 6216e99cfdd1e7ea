"""Tests for sealwire.cli.compliance.on_proxies: what running proxies say against what the files say."""

import http.client
import io
import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sealwire.cli.compliance.deployment import Deployment, RunningProxy, ask_proxies
from sealwire.cli.compliance.on_proxies import key_provider, running_policy
from sealwire.keys.keyring.file import create_keyring
from sealwire.sidecars.compliance.finding import ComplianceOutcome
from sealwire.sidecars.compliance.settings import RunningProxies, read_compliance
from tests.cli.compliance.test_checks import CONFIG, POLICY
from tests.keys.samples import local_kek

URL = "http://127.0.0.1:9464"
POLICY_HASH = sha256(POLICY.encode()).hexdigest()[:12]
IN_AWS = CONFIG.replace("environment", "aws, name: x")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What is answered at /readyz, by host and port. Nobody answers at others."""
    answers: dict[str, bytes] = {}

    class Connection:
        def __init__(self, host: str, port: int, **_: Any) -> None:
            self._place = f"{host}:{port}"

        def request(self, method: str, path: str) -> None:
            assert (method, path) == ("GET", "/readyz")
            if self._place not in answers:
                raise ConnectionRefusedError

        def getresponse(self) -> io.BytesIO:
            return io.BytesIO(answers[self._place])

        def close(self) -> None:
            pass

    monkeypatch.setattr(http.client, "HTTPConnection", Connection)
    return answers


def deployed(folder: Path, config: str, urls: tuple[str, ...] = (URL,)) -> Deployment:
    (folder / "sealwire.yaml").write_text(config)
    (folder / "policy.yaml").write_text(POLICY)
    create_keyring(folder / "keyring.json", local_kek(), ["nhs"], datetime.now(UTC))
    proxies = f"proxies: {{admin: {json.dumps(urls)}}}\n" if urls else ""
    text = f"version: 1\nname: clinic\nproxy: sealwire.yaml\n{proxies}"
    return Deployment(read_compliance(text.encode(), folder / "compliance.yaml"), {})


def ready(policy: str = POLICY_HASH, provider: str = "aws") -> bytes:
    return json.dumps({"status": "ready", "policy": policy, "provider": provider}).encode()


def test_without_an_address_nothing_was_looked_at(tmp_path: Path) -> None:
    deployment = deployed(tmp_path, IN_AWS, ())
    for look in (running_policy, key_provider):
        found = look(deployment)
        assert found.outcome is ComplianceOutcome.NOT_LOOKED_AT
        assert found.hint


def test_proxies_that_run_with_what_the_files_say_pass(tmp_path: Path, said: dict[str, bytes]) -> None:
    said["127.0.0.1:9464"] = ready()
    deployment = deployed(tmp_path, IN_AWS)
    assert running_policy(deployment).outcome is ComplianceOutcome.PASS
    said.clear()  # each proxy is asked once for all checks
    assert key_provider(deployment).outcome is ComplianceOutcome.PASS


def test_another_policy_than_the_file_s_fails(tmp_path: Path, said: dict[str, bytes]) -> None:
    said |= {"127.0.0.1:9464": ready(), "127.0.0.1:9465": ready("mixed")}
    deployment = deployed(tmp_path, IN_AWS, (URL, "http://127.0.0.1:9465"))
    found = running_policy(deployment)
    assert found.outcome is ComplianceOutcome.FAIL
    assert found.evidence[0] == f"http://127.0.0.1:9465: policy mixed, and the file is {POLICY_HASH}"


@pytest.mark.parametrize("provider", ["env", "file"])
def test_another_provider_than_the_file_s_fails(
    tmp_path: Path, said: dict[str, bytes], provider: str
) -> None:
    said["127.0.0.1:9464"] = ready(provider=provider)
    assert key_provider(deployed(tmp_path, IN_AWS)).outcome is ComplianceOutcome.FAIL


def test_a_key_in_the_environment_fails_by_the_file_alone(tmp_path: Path) -> None:
    assert key_provider(deployed(tmp_path, CONFIG, ())).outcome is ComplianceOutcome.FAIL


@pytest.mark.parametrize("answer", [None, b"", b"[]", b"no JSON", b'{"status": "ready"}', b"[" * 200_000])
def test_a_proxy_that_does_not_say_fails_both(
    tmp_path: Path, said: dict[str, bytes], answer: bytes | None
) -> None:
    said |= {} if answer is None else {"127.0.0.1:9464": answer}
    deployment = deployed(tmp_path, IN_AWS)
    for look in (running_policy, key_provider):
        assert look(deployment).outcome is ComplianceOutcome.FAIL


def test_https_is_asked_with_the_certificate_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Any] = []

    class Secure:
        def __init__(self, host: str, port: int, *, timeout: float, context: object) -> None:
            used.append((host, port, context))

        def request(self, method: str, path: str) -> None:
            raise OSError

        def close(self) -> None:
            pass

    monkeypatch.setattr(http.client, "HTTPSConnection", Secure)
    monkeypatch.setattr("sealwire.cli.compliance.deployment.pinned_context", lambda path: path)
    url = "https://[::1]:9464"
    found = ask_proxies(RunningProxies((url,), tmp_path / "admin.crt"))
    assert found == [RunningProxy(url, problem="no answer that a proxy gives")]
    assert used == [("::1", 9464, tmp_path / "admin.crt")]
