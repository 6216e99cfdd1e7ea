"""A proxy whose configuration and policy a test edits, and reloads of it that are waited for."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.config.policy_file import parse_policy
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.workers.app import Proxy
from sealwire.proxy.session.shared import SessionSettings
from tests.proxy.server.fake_session import FakeSessions
from tests.proxy.server.harness import (
    POLICY,
    known_keys,
    make_config,
    make_loaded,
    policy_file,
    running,
    until,
)

WIDER = POLICY + b"    phone: nhs_number\n"
NEW_CLASS = POLICY.replace(b"collections:", b"  notes: {mode: random}\ncollections:")
BROKEN = POLICY.replace(b"nhs_number: nhs_number", b"nhs_number: nsh")
REFUSED = "reload refused, nothing changed"


@dataclass
class Place:
    """A configuration that a test edits; `policy` is a real file."""

    config: Config
    keyring: Keyring = field(default_factory=known_keys)
    load: Callable[[], Keyring] | None = None
    reads: int = 0
    on_read: Callable[[], None] | None = None

    def reread(self) -> Config:
        self.reads += 1
        if self.on_read is not None:
            self.on_read()
        return self.config

    def load_keyring(self) -> Keyring:
        return self.load() if self.load is not None else self.keyring

    def change(self, **fields: Any) -> None:
        self.config = replace(self.config, **fields)

    def write(self, policy: bytes) -> None:
        self.config.policy.write_bytes(policy)

    def proxy(self, sessions: FakeSessions) -> AbstractAsyncContextManager[Proxy]:
        return running(make_loaded(self.config, self.load_keyring, self.reread), sessions)


def place_for(port: int, folder: Path, **options: Any) -> Place:
    return Place(replace(make_config(port, **options), policy=policy_file(folder)))


async def reloaded(proxy: Proxy, *, result: str = "loaded") -> None:
    """Reload once, with this result."""
    before = proxy.metrics.value("sealwire_reloads_total", outcome=result)
    # Loads of the keyring keep a distance of a second; a test does not wait for it.
    proxy.services.keys._earliest_at = 0.0
    proxy.reload()
    await until(lambda: proxy.metrics.value("sealwire_reloads_total", outcome=result) == before + 1)


def policy_info(proxy: Proxy) -> dict[str, float]:
    page = proxy.metrics.render().decode()
    lines = [line for line in page.splitlines() if line.startswith("sealwire_policy_info{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


def shown(source: bytes) -> str:
    return parse_policy(source, "policy.yaml").shown


def records(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [record.__dict__["fields"] for record in caplog.records if record.getMessage() == event]


def covers(settings: SessionSettings, path: bytes) -> bool:
    tree = settings.policy.covered("clinic.patients")
    return tree is not None and tree.child(path) is not None
