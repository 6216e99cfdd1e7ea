"""What a story plays on: invented patients, two databases, certificates, keys, Sealwire in front of one."""

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, final

import sealwire.examples
from sealwire.examples.patients import (
    Appointment,
    Patient,
    generate_appointments,
    generate_patients,
    write_lines,
)
from sealwire.keys.private_file import replace_private
from sealwire.testbed.certificates import Authority, create_authority
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess, ServerTls
from sealwire.testbed.mongo_server import User
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess


@dataclass(frozen=True, slots=True)
class Dataset:
    """Both runs of the application read the same two files."""

    patients: tuple[Patient, ...]
    appointments: tuple[Appointment, ...]
    patients_file: Path
    appointments_file: Path


def make_dataset(folder: Path, patients: int, seed: int) -> Dataset:
    """Invent `patients` patients and half as many appointments and write them to `folder`.

    Cost:    0.3 s for 5,000 patients
    """
    folder.mkdir(parents=True, exist_ok=True)
    people = tuple(islice(generate_patients(seed), patients))
    booked = tuple(generate_appointments(seed, people, patients // 2))
    dataset = Dataset(people, booked, folder / "patients.jsonl", folder / "appointments.jsonl")
    dataset.patients_file.write_text("".join(write_lines(people)))
    dataset.appointments_file.write_text("".join(write_lines(booked)))
    return dataset


def write_private(path: Path, content: str) -> Path:
    """The path of a file that only its owner can read, and that has this content now."""
    replace_private(path, content.encode())
    return path


CLINIC = "clinic"
SETUP_STEPS = 4

Announce = Callable[[str], None]
"""Told what begins; the text is for a progress bar."""


# Where the demo finds the worked example: the same files in a checkout and in an installed wheel.

EXAMPLES = Path(sealwire.examples.__file__).parent
CLINIC_APP = EXAMPLES / "clinic_app.py"
DESK_APP = EXAMPLES / "clinic_desk.py"
POLICY_FILE = EXAMPLES / "policy.yaml"


def write_asking_policy(folder: Path) -> Path:
    """The example's policy, and names and dates of birth whose conditions the stored values answer."""
    rules = POLICY_FILE.read_text(encoding="utf-8")
    for heading, line in (
        ("\nclasses:\n", "  name: {mode: deterministic, type: string, ask: true}\n"),
        (f"  {CLINIC}.patients:\n", "    name: name\n"),
    ):
        rules = rules.replace(heading, heading + line)
    rules = rules.replace("to: 2100-01-01}", "to: 2100-01-01}, ask: true")
    file = folder / "policy.yaml"
    file.write_text(rules, encoding="utf-8")
    return file


# ------------------ who types commands in a demo: each is a process of its own, as an operator would run it

_ERROR: Final = "sealwire: error: "


class StepFailed(Exception):
    """A command of a story did not end as it should; says what it said."""

    def __init__(self, typed: str, done: subprocess.CompletedProcess[str]) -> None:
        lines = done.stderr.strip().splitlines() or ["no message"]
        said = next((line for line in lines if line.startswith(_ERROR)), lines[-1])
        self.said = said.removeprefix(_ERROR)
        super().__init__(f"{typed}: {self.said}")
        self.exit_code = done.returncode


@final
class DemoOperator:
    """Types `sealwire ...` in one environment, and remembers it as one would type it."""

    def __init__(self, environment: Mapping[str, str], short: Mapping[str, str]) -> None:
        """`short`: what stands for a long path where commands are shown."""
        self._environment = environment
        self._short = short
        self._typed: list[str] = []

    def typed(self) -> tuple[str, ...]:
        """The commands since the last call."""
        typed, self._typed = tuple(self._typed), []
        return typed

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,), told: str = "") -> str:
        """Run one to its end, which is one of `codes`; what it printed. `told` is its standard input.

        Raises StepFailed.
        """
        shown = f"sealwire {' '.join(arguments)}"
        for path, name in self._short.items():
            shown = shown.replace(path, name)
        self._typed.append(shown)
        done = subprocess.run(
            [sys.executable, "-m", "sealwire", *arguments],
            env=dict(self._environment),
            input=told,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in codes:
            raise StepFailed(shown, done)
        return done.stdout

    def ask(self, *arguments: str, codes: tuple[int, ...] = (0,), told: str = "") -> Any:
        """As `run`, with what it printed for programs."""
        return json.loads(self.run(*arguments, "--json", codes=codes, told=told))


@dataclass(frozen=True, slots=True)
class Databases:
    """Two equal servers, and who and what is on them."""

    plain: DatabaseProcess
    guarded: DatabaseProcess
    """The one that Sealwire comes before."""
    user: User
    administrator: User
    dataset: Dataset
    authority: Authority
    folder: Path

    def proxy_options(self, policy: Path, settings: Mapping[str, object] | None = None) -> ProxyOptions:
        """How Sealwire runs before `guarded`; `settings` are more sections of its configuration."""
        return ProxyOptions(
            self.folder / "sealwire",
            policy,
            self.guarded.address,
            self.authority.issue("sealwire"),
            self.authority.certificate_file,
            settings=settings or {},
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """The running parts."""

    databases: Databases
    proxy: ProxyProcess

    @property
    def direct_uri(self) -> str:
        return self.databases.plain.uri(self.databases.user, CLINIC)

    @property
    def sealwire_uri(self) -> str:
        return self.proxy.uri(self.databases.user, CLINIC)

    @property
    def raw_uri(self) -> str:
        """The connection string of the guarded database's administrator, past Sealwire."""
        return self.databases.guarded.uri(self.databases.administrator, CLINIC)


@contextmanager
def build(
    folder: Path, patients: int, seed: int, announce: Announce, policy: Path = POLICY_FILE
) -> Iterator[Stage]:
    """Start everything in `folder`, end everything with the block, also when starting fails half-way.

    Raises:  TestbedError
    Cost:    about 6 s on two cores, most of it the two databases' start, stop and start with users
    """
    with ExitStack() as stack:
        parts = start_databases(stack, folder, patients, seed, announce)
        announce("making keys and starting Sealwire")
        proxy = ProxyProcess(parts.proxy_options(policy))
        stack.enter_context(proxy)
        yield Stage(parts, proxy)


def start_databases(
    stack: ExitStack, folder: Path, patients: int, seed: int, announce: Announce
) -> Databases:
    """Invent the clinic and start two equal servers, which `stack` ends. Raises TestbedError."""
    user = User(CLINIC, secrets.token_urlsafe(12), (("readWrite", CLINIC),))
    administrator = User("admin", secrets.token_urlsafe(12), (("root", "admin"),))
    announce("inventing patients")
    dataset = make_dataset(folder / "data", patients, seed)
    announce("making certificates")
    authority = create_authority(folder / "tls")
    announce("starting two databases")
    plain, guarded = (
        DatabaseProcess(_database_options(folder / name, authority, (administrator, user)))
        for name in ("plain", "guarded")
    )
    stack.callback(plain.stop)
    stack.callback(guarded.stop)
    with ThreadPoolExecutor(2) as threads:
        for started in [threads.submit(database.start) for database in (plain, guarded)]:
            started.result()
    return Databases(plain, guarded, user, administrator, dataset, authority, folder)


def _database_options(folder: Path, authority: Authority, users: tuple[User, ...]) -> DatabaseOptions:
    folder.mkdir(parents=True)
    issued = authority.issue(f"database-{folder.name}")
    tls = ServerTls(issued.certificate, issued.key, authority.certificate_file)
    return DatabaseOptions(folder / "storage", users, tls)
