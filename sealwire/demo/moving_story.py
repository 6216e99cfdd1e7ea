"""What `sealwire demo migration` tells: a clinic in plaintext taken in, its key changed, given back.

The steps are the commands that an operator types, run as processes of their own. OpenBao has the key. The
application asks all the while, through Sealwire and, to compare, on a twin of the database.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from rich import box
from rich.console import Console
from rich.table import Table

from sealwire import core_name
from sealwire.demo.application import Desks, Period, desks_at_work
from sealwire.demo.engine import Check, Checked, Screen, table_of
from sealwire.demo.inspection import Stored, count_stored, covered_texts, scan_folder
from sealwire.demo.stage import (
    CLINIC,
    Announce,
    Dataset,
    DemoOperator,
    Stage,
    StepFailed,
    start_databases,
    write_private,
)
from sealwire.policies.file.loader import load_policy
from sealwire.testbed.database import DatabaseProcess, first_move, vouch_for_leases
from sealwire.testbed.errors import TestbedError, TestbedReason
from sealwire.testbed.mongo_server import User
from sealwire.testbed.openbao import OpenBao, dev_server
from sealwire.testbed.proxy_process import ProxyProcess

MOVING_SETUP_STEPS: Final = 6
KEK_NAME: Final = "sealwire"

POLICY: Final = """\
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  postcode: {mode: deterministic, type: string}
  phone: {mode: random}
  notes: {mode: random, key: {per: mrn}}
collections:
  clinic.patients:
    nhs_number: nhs_number
    postcode: postcode
    address.postcode: postcode
    contacts.phone: phone
    notes: notes
  clinic.appointments:
    patient_nhs: nhs_number
"""


@dataclass(frozen=True, slots=True)
class MovingStage(Stage):
    """Both servers hold the clinic in plaintext; OpenBao has the key-encryption key."""

    bao: OpenBao
    policy: Path

    @property
    def environment(self) -> dict[str, str]:
        """What an operator's commands have: where the server, the keyring and OpenBao are."""
        return os.environ | {
            "VAULT_ADDR": self.bao.address,
            "VAULT_TOKEN": self.bao.root_token,
            "SEALWIRE_KEYRING": str(self.proxy.keyring),
            "SEALWIRE_KEK_PROVIDER": f"vault:transit/{KEK_NAME}",
            "SEALWIRE_KEYS_CONTEXTS": str(self.databases.folder / "contexts.db"),
            "SEALWIRE_SERVER_URI_FILE": str(self.databases.folder / "server.uri"),
        }


@contextmanager
def build_moving(folder: Path, patients: int, seed: int, announce: Announce) -> Iterator[MovingStage]:
    """Start everything in `folder`, end everything with the block. The proxy is not started yet.

    Raises TestbedError. Cost: about 8 s on two cores.
    """
    policy = write_private(folder / "policy.yaml", POLICY)
    with ExitStack() as stack:
        parts = start_databases(stack, folder, patients, seed, announce)
        announce("starting OpenBao, which keeps the key")
        bao = stack.enter_context(dev_server(folder / "bao"))
        bao.client.sys.enable_secrets_engine("transit")
        bao.client.secrets.transit.create_key(KEK_NAME, derived=True)
        announce("filling both in plaintext")
        for database in (parts.plain, parts.guarded):
            _fill(database, parts.administrator, parts.dataset)
        announce("noting that no proxy was at this new server before, so that no job waits for one")
        with parts.guarded.connect(parts.administrator) as client:
            vouch_for_leases(client)
        server_uri = write_private(folder / "server.uri", parts.guarded.uri(parts.administrator))
        token = write_private(folder / "vault-token", bao.root_token)
        settings: dict[str, object] = {
            "kek": {"provider": "vault", "name": KEK_NAME},
            "vault": {"address": bao.address, "auth": "token-file", "token_file": str(token)},
            "keys": {"refresh_s": 1, "contexts": str(folder / "contexts.db")},
            "frontier": {"uri_file": str(server_uri)},
        }
        options = parts.proxy_options(policy, settings)
        options.folder.mkdir()
        proxy = ProxyProcess(options)
        stack.callback(proxy.stop)
        yield MovingStage(parts, proxy, bao, policy)


def _fill(database: DatabaseProcess, administrator: User, dataset: Dataset) -> None:
    """As the application left it: plaintext, a unique index, and indexes that searches use."""
    with MongoClient[dict[str, Any]](database.uri(administrator, CLINIC)) as client:
        clinic = client[CLINIC]
        clinic.patients.create_index("nhs_number", unique=True)
        clinic.patients.create_index("postcode")
        clinic.patients.create_index("mrn", unique=True)
        clinic.appointments.create_index("patient_nhs")
        clinic.patients.insert_many(dict(each) for each in dataset.patients)
        clinic.appointments.insert_many(dict(each) for each in dataset.appointments)


MOVING_STEPS: Final = 7
_AT_LEAST: Final = 40
"""Questions that the desk has to have asked before the next step."""
_WITHIN_S: Final = 20.0
_NOT_ALL: Final = 1
_HEADINGS: Final = ("time", "asked", "errors", "median", "max", "readable", "encrypted", "files")


@dataclass(frozen=True, slots=True)
class Chapter:
    """One step, what the application saw of it, and what lay on disk at its end."""

    title: str
    commands: tuple[str, ...]
    seconds: float
    desk: Period
    stored: Stored
    file_hits: int
    """How often a covered text stood in the database's files."""


@dataclass(frozen=True, slots=True)
class MovingStory(Checked):
    """All of it, and the checks."""

    patients: int
    chapters: tuple[Chapter, ...]
    checks: tuple[Check, ...]


Step = Callable[[MovingStage, DemoOperator], None]
"""One step of the operator beside the running proxy."""


def take_in(stage: MovingStage, operator: DemoOperator) -> None:
    """Everything that the policy covers, deterministic classes included."""
    operator.run("migrate", "encrypt", str(stage.policy), "--proxies", "1")


def turn_key(stage: MovingStage, operator: DemoOperator) -> None:
    """A new key for the NHS numbers, and all of them moved to it."""
    policy = str(stage.policy)
    operator.run("keys", "rotate", "nhs_number", "--policy", policy)
    operator.run("migrate", "reencrypt", policy, "nhs_number")


def shred(stage: MovingStage, operator: DemoOperator) -> None:
    """The key of one patient's notes is destroyed; the desk never asks for this patient."""
    patient = stage.databases.dataset.patients[-1]["mrn"]
    operator.run("keys", "shred", "notes", patient, "--now", "--confirm", "notes")


def give_back(stage: MovingStage, operator: DemoOperator) -> None:
    """Everything in clear again. The policy lets go of the random paths first, so that writes go in clear."""
    lines = stage.policy.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.endswith((": phone", ": notes"))]
    stage.policy.write_text("\n".join(kept) + "\n", encoding="utf-8")
    stage.proxy.reload()
    policy = str(stage.policy)
    for path in ("contacts.phone", "notes"):
        # what was shredded stays as it is, which the exit code says
        codes = (0, _NOT_ALL) if path == "notes" else (0,)
        arguments = ("clinic.patients", path, "--confirm", "clinic.patients")
        operator.run("migrate", "decrypt", policy, *arguments, codes=codes)
    for name in ("nhs_number", "postcode"):
        operator.run("migrate", "decrypt", policy, name, "--confirm", name)


_STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("plaintext", lambda _stage, _operator: None),
    ("encrypted", take_in),
    ("new key", turn_key),
    ("shredded", shred),
    ("decrypted", give_back),
)


def tell_moving(stage: MovingStage, announce: Callable[[str], None]) -> MovingStory:
    """Take the clinic in and give it back while both desks work.

    Raises TestbedError when the application ends; a command that fails is a failed check instead.
    """
    operator = DemoOperator(stage.environment, {str(stage.policy): "policy.yaml"})
    announce("making keys: every class begins in plaintext")
    policy = str(stage.policy)
    try:
        operator.run("keys", "create", "--policy", policy, "--plaintext-all")
    except StepFailed as error:
        text, hint = str(error), "run the command by itself to see more"
        raise TestbedError(TestbedReason.DIED, text, hint) from None
    announce("starting Sealwire")
    stage.proxy.start()
    with stage.databases.guarded.connect(stage.databases.administrator) as client:
        first_move(client, 1, stage.proxy.keyring)
    chapters: list[Chapter] = []
    failure = ""
    patients = stage.databases.dataset.patients_file
    with desks_at_work(stage.direct_uri, stage.sealwire_uri, patients, stage.databases.folder) as desks:
        for title, step in _STEPS:
            announce(title)
            try:
                chapters.append(_chapter(title, step, stage, operator, desks))
            except StepFailed as error:
                failure = str(error)
                break
    checks = checks_of(chapters, compared=desks.compared, different=desks.different(), failure=failure)
    return MovingStory(len(stage.databases.dataset.patients), tuple(chapters), checks)


def _chapter(title: str, step: Step, stage: MovingStage, operator: DemoOperator, desks: Desks) -> Chapter:
    since, began = len(desks.guarded.lines), time.monotonic()
    step(stage, operator)
    seconds = time.monotonic() - began
    deadline = time.monotonic() + _WITHIN_S
    while len(desks.guarded.lines) < since + _AT_LEAST and time.monotonic() < deadline:
        time.sleep(0.1)
    with stage.databases.guarded.connect(stage.databases.administrator) as raw:
        stored = count_stored(raw, load_policy(POLICY.encode(), stage.policy.name))
    hits = scan_folder(
        stage.databases.guarded.options.storage.parent, covered_texts(stage.databases.dataset)
    ).hits
    return Chapter(title, operator.typed(), seconds, desks.guarded.period(since), stored, hits)


def checks_of(
    chapters: Sequence[Chapter], *, compared: int, different: Sequence[str], failure: str
) -> tuple[Check, ...]:
    """What the story claims. `failure` says which command did not end as it should; empty for none."""
    failed = sum(chapter.desk.failed for chapter in chapters)
    whole = len(chapters) == len(_STEPS)
    checks = [
        Check(
            "every command did what it should",
            whole and not failure,
            failure or f"{sum(len(chapter.commands) for chapter in chapters)} commands",
        ),
        Check("the application met no error", whole and failed == 0, _errors(chapters, failed)),
        Check(
            "its answers are those of a database in plaintext",
            compared > 0 and not different,
            f"{compared:,} answers compared, {len(different)} different",
        ),
    ]
    if whole:
        checks += _checks_of_stored(chapters)
    return tuple(checks)


def _errors(chapters: Sequence[Chapter], failed: int) -> str:
    kinds = sorted({f"{kind} while {chapter.title}" for chapter in chapters for kind in chapter.desk.kinds})
    return f"{failed} errors" + (f": {', '.join(kinds)}" if kinds else "")


def _checks_of_stored(chapters: Sequence[Chapter]) -> list[Check]:
    """The first chapter proves that the counts can find plaintext."""
    first, encrypted, turned, shredded, back = (chapter.stored for chapter in chapters)
    hidden = all(each.readable == 0 and each.encrypted > 0 for each in (encrypted, turned, shredded))
    return [
        Check(
            "every covered value was ciphertext once it was encrypted",
            first.readable > 0 and hidden,
            f"{first.readable:,} values readable before, {encrypted.readable} then",
        ),
        Check(
            "all is in clear again but what was shredded",
            back.encrypted == 1 and back.readable > 0,
            f"{back.readable:,} values readable, {back.encrypted} left as ciphertext that nobody can open",
        ),
    ]


def show_moving(console: Console, story: MovingStory) -> None:
    """Print the whole story of the migration: one row a step, then the commands, then what was checked."""
    screen = Screen(console, "Sealwire: a clinic in plaintext, encrypted, rotated and given back")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("step", no_wrap=True)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for chapter in story.chapters:
        desk, stored = chapter.desk, chapter.stored
        table.add_row(
            chapter.title,
            f"{chapter.seconds:.1f} s",
            f"{desk.asked:,}",
            f"{desk.failed}",
            f"{desk.median_ms:.1f}",
            f"{desk.slowest_ms:,.0f}",
            f"{stored.readable:,}",
            f"{stored.encrypted:,}",
            f"{chapter.file_hits:,}",
        )
    screen.show(table)
    for chapter in story.chapters:
        screen.show_commands(chapter.commands)
    console.print()
    screen.show(table_of(story.checks))
    screen.show(
        f"{story.patients:,} patients, {core_name()}. Median and max: milliseconds of the desk behind "
        "Sealwire. Readable and encrypted: values that the database gives out. Files: what a search of them "
        "finds; its log and old pages keep what was in them until they are used again.",
        "dim",
    )
