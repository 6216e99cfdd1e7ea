"""Runs Sealwire itself as an operator would: a configuration file, a keyring, `sealwire serve`."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import yaml

from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.testbed.certificates import Issued
from sealwire.testbed.child import LOOPBACK, Arguments, free_port
from sealwire.testbed.errors import TestbedError, TestbedReason
from sealwire.testbed.mongo_server import MongoServer

_RELOAD_S: Final = 20.0


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


class ProxyProcess(MongoServer):
    """Sealwire in front of one database; it answers when a hello comes through to the database."""

    name = "Sealwire"

    def __init__(self, options: ProxyOptions) -> None:
        environment = os.environ | {DEFAULT_VARIABLE: options.kek}
        super().__init__(options.folder / "sealwire.log", options.authority, environment)
        self.options = options
        self.admin_port = 0
        self.config_file = options.folder / "sealwire.yaml"
        self.keyring = options.folder / "keyring.json"
        """The keyring that `start` makes where it is missing."""

    def start(self) -> None:
        """Make keys where there are none, and start. Raises:  TestbedError"""
        self.options.folder.mkdir(parents=True, exist_ok=True)
        if not self.keyring.exists():
            self._create_keys()
        self.launch()

    def choose_ports(self) -> None:
        """One for clients, one for the administrator."""
        self.port, self.admin_port = free_port(), free_port()

    def arguments(self) -> Arguments:
        """Its configuration is written first."""
        self.config_file.write_text(yaml.safe_dump(self.config(), sort_keys=False))
        return [sys.executable, "-m", "sealwire", "serve", "--config", self.config_file]

    def reload(self) -> None:
        """Let it read its configuration and policy again, and wait until the policy counts.

        Raises TestbedError (SILENT).
        """
        wanted = sha256(self.options.policy.read_bytes()).hexdigest()
        os.kill(self.pid, signal.SIGHUP)
        deadline = time.monotonic() + _RELOAD_S
        while not wanted.startswith(self._policy()):
            if time.monotonic() > deadline:
                text = "Sealwire did not take the policy"
                raise TestbedError(TestbedReason.SILENT, text, f"look at {self.log}")
            time.sleep(0.05)

    def _policy(self) -> str:
        """The beginning of the hash of the policy that counts, from /readyz."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.admin_port}/readyz", timeout=5) as answer:
            return str(json.load(answer)["policy"])

    def _create_keys(self) -> None:
        command = [sys.executable, "-m", "sealwire", "keys", "create"]
        command += ["--keyring", str(self.keyring), "--policy", str(self.options.policy)]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            text = f"the keyring was not made: {done.stderr.strip()}"
            raise TestbedError(TestbedReason.DIED, text, "run `sealwire keys create` by itself to see more")

    def config(self) -> dict[str, object]:
        """What the configuration file says, `settings` included."""
        options, issued = self.options, self.options.certificate
        # each has a mapping of its own: YAML would write a shared one as an anchor, which is refused
        listen_tls, upstream_tls = {"mode": "plaintext"}, {"mode": "plaintext"}
        if issued is not None:
            listen_tls = {"certificate": str(issued.certificate), "key": str(issued.key)}
            upstream_tls = {"ca": str(options.authority)}
        access = {} if options.access_control else {"access_control": "none"}
        config: dict[str, object] = {
            "listen": {"address": self.address, "tls": listen_tls},
            "upstream": {"address": options.upstream, "tls": upstream_tls, **access},
            "policy": str(options.policy),
            "keyring": str(self.keyring),
            "kek": {"provider": "environment", "variable": DEFAULT_VARIABLE},
            "admin": {"address": f"{LOOPBACK}:{self.admin_port}"},
        }
        return config | dict(options.settings)
