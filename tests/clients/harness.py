"""Run one client's program on both ways, compare what it saw, and keep the outcome for the README."""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.proxy_process import ProxyProcess
from sealwire.wire.compressors import COMPRESSOR_NAMES
from tests.build_context import ROOT
from tests.faults.scene import figure
from tests.support.runs import ran
from tests.support.secantus import ROOT as USER

PROGRAMS = Path(__file__).with_name("programs")
POLICY = Path(__file__).with_name("policy.yaml")
RESULTS = ROOT / "docs" / "clients.json"

CANARY = b"canary"
"""In every text that a program stores at a covered path."""
_WITHIN_S = 120

Command = Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Client:
    """A client of MongoDB with its program."""

    name: str
    language: str
    command: Callable[[], Command]
    """What runs the program, the connection string excepted. Skips the test where it cannot be had."""
    compressors: str = "zlib"
    """What the client is asked to compress with through Sealwire; "" where it cannot."""
    refused: Mapping[str, str] = field(default_factory=lambda: {"prefix": "pattern"})
    """Steps that Sealwire refuses, each with the reason: the documented differences."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Parts of the scenario that the client has no way to play, each with the reason."""
    environment: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    """For the table, besides what is absent or refused."""
    respell: Callable[[str], str] = str
    """The connection string as this client needs it spelt, of both ways."""

    @property
    def database(self) -> str:
        """The database of this client, which the policy's pattern covers."""
        return "clients_" + re.sub(r"\W+", "_", self.name.lower()).strip("_")


@dataclass(frozen=True, slots=True)
class Ways:
    """Two servers: what runs on `plain` directly runs on `covered` through `proxy`."""

    plain: DatabaseProcess
    covered: DatabaseProcess
    proxy: ProxyProcess

    def direct(self, client: Client) -> str:
        """In plaintext, past every proxy."""
        return client.respell(self.plain.uri(USER, client.database))

    def through(self, client: Client) -> str:
        """Over TLS, compressed where the client can."""
        uri = client.respell(self.proxy.uri(USER, client.database))
        return f"{uri}&compressors={client.compressors}" if client.compressors else uri

    def compressed(self) -> dict[tuple[str, str], float]:
        """How many messages to and from clients were compressed, by way and compressor."""
        return {
            (direction, name): figure(
                self.proxy,
                "sealwire_compressed_messages_total",
                peer="client",
                direction=direction,
                compressor=name,
            )
            for direction in ("received", "sent")
            for name in COMPRESSOR_NAMES
        }


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run of a program printed, step by step."""

    version: str
    steps: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A client's line of the README's table, as docs/clients.json keeps it."""

    client: str
    language: str
    version: str
    compressors: str
    """By which messages were compressed both ways, as the proxy has counted them."""
    same: list[str]
    """The steps that saw the same both ways."""
    refused: dict[str, str]
    absent: dict[str, str]
    note: str


def run(client: Client, uri: str) -> Seen:
    """Run the program once.

    Raises:  AssertionError where it fails or prints something else than its steps
    """
    done = ran([*client.command(), uri], timeout=_WITHIN_S, env=os.environ | client.environment)
    assert done.returncode == 0, f"{client.name}: {done.stderr[-4000:] or done.stdout[-4000:]}"
    head, *lines = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    steps = {line["step"]: line["seen"] for line in lines}
    assert head["client"] == client.name
    assert len(steps) == len(lines)
    return Seen(head["version"], steps)


def compare(client: Client, direct: Seen, through: Seen) -> Row:
    """Which steps were the same; every other one has to be refused for its documented reason.

    The parts of the scenario that no step plays have to be those that are documented.

    Raises:  AssertionError
    """
    assert list(direct.steps) == list(through.steps)
    assert absent(direct.steps) == set(client.absent), f"{client.name} lacks {sorted(absent(direct.steps))}"
    assert all(direct.steps.get(step, True) for step in SURNAMES), f"{client.name} found no surname"
    same = [step for step in direct.steps if direct.steps[step] == through.steps[step]]
    others = {step: through.steps[step] for step in direct.steps if step not in same}
    for step, seen in others.items():
        assert step in client.refused, f"{client.name}, {step}: {direct.steps[step]} became {seen}"
        assert f"[{client.refused[step]}]" in json.dumps(seen), f"{client.name}, {step}: {seen}"
    assert set(others) == set(client.refused), f"{client.name}: refused are {sorted(others)}"
    return Row(
        client.name,
        client.language,
        through.version,
        client.compressors,
        same,
        dict(client.refused),
        dict(client.absent),
        client.note,
    )


def check(client: Client, ways: Ways) -> None:
    """Both ways have to give what docs/clients.json says; with SEALWIRE_WRITE_CLIENTS=1 that is written anew.

    Both ways have to be compressed by what the client is asked to compress with, and by nothing else.

    Raises:  AssertionError
    """
    direct, before = run(client, ways.direct(client)), ways.compressed()
    row = asdict(compare(client, direct, run(client, ways.through(client))))
    grown = {key for key, count in ways.compressed().items() if count > before[key]}
    wanted = {(direction, client.compressors) for direction in ("received", "sent") if client.compressors}
    assert grown == wanted, f"{client.name}: {sorted(grown)} were compressed"
    kept = {each["client"]: each for each in json.loads(RESULTS.read_text(encoding="utf-8"))}
    if os.environ.get("SEALWIRE_WRITE_CLIENTS") == "1":
        kept[client.name] = row
        RESULTS.write_text(json.dumps([kept[name] for name in sorted(kept)], indent=2) + "\n")
    # another version than the one that was recorded is no failure: Debian's move by themselves
    assert kept.get(client.name, {}) | {"version": row["version"]} == row, "run `make clients`"


def nothing_in_clear(ways: Ways) -> None:
    """For after the end of both: covered values lie in the plain files, and nowhere on the other way.

    Raises:  AssertionError
    """
    assert _holding(ways.plain.options.storage), "the search finds nothing where everything is in clear"
    assert _holding(ways.covered.options.storage) == []
    assert _holding(ways.proxy.options.folder) == []


def _holding(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and CANARY in path.read_bytes()]


def program(name: str) -> Path:
    """The file of a program.

    Raises:  FileNotFoundError
    """
    return (PROGRAMS / name).resolve(strict=True)


def parameters(clients: Sequence[Client]) -> list[Any]:
    """For `pytest.mark.parametrize`: each client under its name."""
    return [pytest.param(client, id=client.name) for client in clients]


# The one scenario that every client plays: its parts, and by which steps of a program each is played.
#
# A program may take further steps. A part that it does not play is named with the reason, and
# `harness.compare` holds the two against each other: so nothing is left out in silence.


SURNAMES: Final = ("find by surname", "sort by surname")
"""What the class of surnames answers because it says `ask: true`: by `/^smi/i`, and with a limit."""

PARTS: Final[Mapping[str, frozenset[str]]] = {
    "insert": frozenset({"insert", "insert a frame"}),
    "find": frozenset({"find"}),
    **{step: frozenset({step}) for step in SURNAMES},
    "update": frozenset({"update"}),
    "find and modify": frozenset({"find and modify"}),
    "aggregate": frozenset({"aggregate"}),
    "transaction": frozenset({"transaction"}),
    "change stream": frozenset({"changes"}),
    "bulk": frozenset({"bulk", "bulk and cursor"}),
    "cursor": frozenset({"cursor", "bulk and cursor"}),
    "GridFS": frozenset({"files"}),
    "error": frozenset({"duplicate"}),
}
"""For each part the steps of which one is enough."""


def absent(steps: Iterable[str]) -> frozenset[str]:
    """The parts that none of these steps plays."""
    taken = frozenset(steps)
    return frozenset(part for part, any_of in PARTS.items() if not taken & any_of)
