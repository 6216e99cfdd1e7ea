"""Runs Sealwire itself as an operator would: a configuration file, a keyring, `sealwire serve`."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import yaml
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sealwire.keys.environment import DEFAULT_VARIABLE, generate_encoded_kek
from sealwire.testbed.certificates import Issued
from sealwire.testbed.child import Child
from sealwire.testbed.database import User, connection_string
from sealwire.testbed.errors import DemoError, DemoReason
from sealwire.testbed.ports import LOOPBACK, free_port

START_WITHIN_S = 20.0
START_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """Where Sealwire keeps its files (`folder`), and what it stands in front of."""

    folder: Path
    policy: Path
    upstream: str
    """`host:port` of the database."""
    certificate: Issued | None = None
    """What clients are shown; None: plaintext on both sides."""
    authority: Path | None = None
    """Who vouches for the database and, to clients, for Sealwire. Needed with `certificate`."""
    access_control: bool = True
    """Whether the database asks for a login."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """More sections of the configuration file."""
    kek: str = field(default_factory=generate_encoded_kek, repr=False)
    """The key-encryption key of this run, base64; it reaches Sealwire in its environment."""


class ProxyProcess:
    """Sealwire in front of one database, from `start` to `stop`; a context manager does both."""

    def __init__(self, options: ProxyOptions) -> None:
        self.options = options
        self.port = 0
        self.admin_port = 0
        self._child: Child | None = None
        self._environment = os.environ | {DEFAULT_VARIABLE: options.kek}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """Everything that Sealwire wrote to its terminal."""
        return self.options.folder / "sealwire.log"

    @property
    def config_file(self) -> Path:
        """The configuration that it runs with."""
        return self.options.folder / "sealwire.yaml"

    @property
    def keyring(self) -> Path:
        """The keyring that `start` makes where it is missing."""
        return self.options.folder / "keyring.json"

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """Raises:  RuntimeError before `start`"""
        return self._running().pid

    def start(self) -> None:
        """Make keys where there are none, start, wait until a hello comes through to the database.

        Raises:  DemoError (PROXY_DIED, PROXY_SILENT)
        """
        self.options.folder.mkdir(parents=True, exist_ok=True)
        if not self.keyring.exists():
            self._create_keys()
        for attempt in range(1, START_ATTEMPTS + 1):
            fresh_port = self.port == 0
            if fresh_port:
                self.port, self.admin_port = free_port(), free_port()
            self.config_file.write_text(yaml.safe_dump(self.config(), sort_keys=False))
            serve = [sys.executable, "-m", "sealwire", "serve", "--config", str(self.config_file)]
            self._child = Child(serve, self.log, self._environment)
            try:
                self._wait()
            except DemoError as error:
                self._child.stop()
                if error.reason is not DemoReason.PROXY_DIED or not fresh_port or attempt == START_ATTEMPTS:
                    raise
                self.port = 0
            else:
                return

    def stop(self) -> int | None:
        """End it in order and return its exit code; None where it never ran."""
        return None if self._child is None else self._child.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self._running().kill()

    def uri(self, user: User | None = None, database: str = "") -> str:
        """A connection string like that of the database, with another port."""
        return connection_string(self.address, user, database, authority=self.options.authority)

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError("Sealwire was not started")
        return self._child

    def _create_keys(self) -> None:
        command = [sys.executable, "-m", "sealwire", "keys", "create"]
        command += ["--keyring", str(self.keyring), "--policy", str(self.options.policy)]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            text = f"the keyring was not made: {done.stderr.strip()}"
            raise DemoError(DemoReason.PROXY_DIED, text, "run `sealwire keys create` by itself to see more")

    def config(self) -> dict[str, object]:
        """What the configuration file says, `settings` included."""
        options = self.options
        listen: dict[str, object] = {"address": self.address, "tls": {"mode": "plaintext"}}
        upstream: dict[str, object] = {"address": options.upstream, "tls": {"mode": "plaintext"}}
        if options.certificate is not None:
            listen["tls"] = {
                "certificate": str(options.certificate.certificate),
                "key": str(options.certificate.key),
            }
            upstream["tls"] = {"ca": str(options.authority)}
        if not options.access_control:
            upstream["access_control"] = "none"
        config: dict[str, object] = {
            "listen": listen,
            "upstream": upstream,
            "policy": str(options.policy),
            "keyring": str(self.keyring),
            "kek": {"provider": "environment", "variable": DEFAULT_VARIABLE},
            "admin": {"address": f"{LOOPBACK}:{self.admin_port}"},
        }
        return config | dict(options.settings)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            if self._running().exit_code is not None:
                text = f"Sealwire ended while it started: {self._running().last_lines()}"
                raise DemoError(DemoReason.PROXY_DIED, text, f"see {self.log}")
            try:
                with MongoClient[dict[str, object]](
                    self.uri(), directConnection=True, serverSelectionTimeoutMS=300
                ) as client:
                    client.admin.command("hello")
            except PyMongoError:
                time.sleep(0.05)
            else:
                return
        text = f"Sealwire did not answer in {START_WITHIN_S:.0f} s: {self._running().last_lines()}"
        raise DemoError(DemoReason.PROXY_SILENT, text, f"see {self.log}")
