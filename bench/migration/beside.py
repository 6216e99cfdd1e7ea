"""The command itself on the real test server, and what an application behind a proxy notices of it.

The application is one client that asks, waits a little, and asks again. It is measured at rest, while a job
works, and at rest once more: what the machine does besides has changed by then, or has not.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from pymongo import MongoClient

from bench.dataset import DATABASE
from bench.migration.subject import COLLECTION, DETERMINISTIC, FIELDS, NAMESPACE, patients, policy_text
from bench.report.figures import Tell, percentile
from bench.routes.processes import peak_of
from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.file import create_keyring, load_keyring
from sealwire.keys.keyring.turning import rotate
from sealwire.keys.private_file import create_private
from sealwire.sidecars.direct import connected
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess, first_move, vouch_for_leases
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess

REST_S: Final = 8.0
PAUSE_S: Final = 0.005
"""Between an answer and the next question of the application."""
WORKERS: Final = "2"
_POLL_S: Final = 0.25
_LONGEST_S: Final = 900.0
_FIND, _UPDATE = "find-one", "update-one"


@dataclass(frozen=True, slots=True)
class Noticed:
    """One job, and the application beside it. Latencies in microseconds, by what is asked."""

    work: str
    documents: int
    documents_s: float
    """Moved a second, from the first note of the job to the last."""
    peak_kib: int
    """Of the command's process."""
    questions: int
    """That the application asked while the job moved."""
    rest_p50_us: dict[str, float]
    work_p50_us: dict[str, float]
    work_p99_us: dict[str, float]
    ratio: dict[str, float]
    """Of the medians: while the job moves, by rest."""


@dataclass
class Application:
    """Asks over one connection; knows when each answer took how long."""

    client: MongoClient[dict[str, Any]]
    numbers: list[str]
    taken: list[tuple[float, str, float]] = field(default_factory=list)
    """When it was asked, what, and the seconds until the answer."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _failure: Exception | None = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Ask until the block is over. Raises what an answer raised."""
        thread = threading.Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        source = random.Random(3)  # noqa: S311 - which patient is asked for
        stored = self.client[DATABASE][COLLECTION]
        try:
            while not self._stop.wait(PAUSE_S):
                chosen = {"nhs_number": source.choice(self.numbers)}
                kind = source.choice((_FIND, _FIND, _UPDATE))
                began = time.perf_counter()
                if kind == _FIND:
                    is_right = stored.find_one(chosen) is not None
                else:
                    changed = stored.update_one(chosen, {"$set": {"ward": f"{began}"}})
                    is_right = changed.modified_count == 1
                self.taken.append((began, kind, time.perf_counter() - began))
                if not is_right:
                    raise RuntimeError(f"{kind}: a wrong answer")
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the thread
            self._failure = error

    def seconds(self, kind: str, *spans: tuple[float, float]) -> list[float]:
        """Ascending, of what was asked within these spans of time."""
        return sorted(
            took for at, what, took in self.taken if what == kind and any(a <= at < b for a, b in spans)
        )


class Place:
    """A server with the documents, a proxy before it, and the operator's environment."""

    def __init__(self, stack: ExitStack, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count
        kek = generate_encoded_kek()
        self.environ = os.environ | {DEFAULT_VARIABLE: kek}
        self.kek = EnvironmentKek(environ=self.environ)
        self.policy = folder / "policy.yaml"
        self.policy.write_text(policy_text())
        self.keyring = folder / "keyring.json"
        keyring = create_keyring(self.keyring, self.kek, FIELDS, datetime.now(UTC))
        database = stack.enter_context(DatabaseProcess(DatabaseOptions(folder / "database")))
        self.uri = database.uri()
        self.environ["SEALWIRE_SERVER_URI"] = self.uri
        self.client = stack.enter_context(connected(self.uri))
        with database.connect() as plain:
            vouch_for_leases(plain, self.keyring)
            stored = plain[DATABASE][COLLECTION]
            for name in DETERMINISTIC:
                stored.create_index(name, unique=True)
            stored.insert_many(patients(count, keyring, DETERMINISTIC))
        uri_file = folder / "server.uri"
        create_private(uri_file, self.uri.encode())
        settings: dict[str, object] = {
            "log": {"level": "warning"},
            "keys": {"refresh_s": 1},
            "frontier": {"uri_file": str(uri_file)},
        }
        options = ProxyOptions(
            folder, self.policy, database.address, access_control=False, settings=settings, kek=kek
        )
        self.proxy = stack.enter_context(ProxyProcess(options))

    def migrate(self, *words: str) -> "subprocess.Popen[str]":
        """The command, as its operator starts it."""
        line = [sys.executable, "-m", "sealwire", "migrate", *words, "--keyring", str(self.keyring)]
        line += ["--workers", WORKERS, "--json"]
        return subprocess.Popen(line, env=self.environ, stdout=subprocess.PIPE, text=True)

    def moved(self) -> int:
        """Documents that the newest job has changed."""
        jobs = Ledger(self.client, load_keyring(self.keyring, self.kek)).jobs()
        return jobs[0].documents if jobs else 0


def measure_beside(folder: Path, count: int, tell: Tell) -> list[Noticed]:
    """Plaintext of the random classes encrypted; a deterministic class to a key, to plaintext and back.

    Cost: some minutes.
    """
    with ExitStack() as stack:
        tell("loading the server")
        place = Place(stack, folder, count)
        client: MongoClient[dict[str, Any]] = stack.enter_context(MongoClient(place.proxy.uri()))
        plain: MongoClient[dict[str, Any]] = stack.enter_context(MongoClient(place.uri))
        numbers = [each["nhs_number"] for each in client[DATABASE][COLLECTION].find()]
        application = Application(client, numbers)
        with application.at_work():
            tell("encrypt, beside an application")
            words = ["encrypt", str(place.policy), NAMESPACE]
            found = [_noticed("encrypt random", place, application, words)]
            name = DETERMINISTIC[0]
            for verb in ("reencrypt", "decrypt", "encrypt"):
                now, to_plaintext = datetime.now(UTC), verb == "decrypt"
                rotate(place.keyring, place.kek, {name: True}, now, to_plaintext=to_plaintext)
                tell(f"{verb} {name}, beside an application")
                words = [verb, str(place.policy), name]
                words += first_move(plain, 1, place.keyring) if verb == "reencrypt" else ()
                words += ["--confirm", name] if to_plaintext else []
                found.append(_noticed(f"{verb} {name}", place, application, words))
        return found


def _noticed(work: str, place: Place, application: Application, words: list[str]) -> Noticed:
    began = time.perf_counter()
    time.sleep(REST_S)
    before = began, time.perf_counter()
    notes: list[tuple[float, int]] = []
    peak = 0
    earlier = place.moved()
    with place.migrate(*words) as process:
        while process.poll() is None:
            if time.perf_counter() - before[1] > _LONGEST_S:
                process.kill()
                raise RuntimeError(f"{work} does not end")
            time.sleep(_POLL_S)
            peak = max(peak, _peak_or_0(process.pid))
            moved = place.moved()
            if moved and (notes or moved != earlier):
                notes.append((time.perf_counter(), moved))
        said = process.communicate()[0]
    if process.returncode != 0 or json.loads(said)["documents"]["changed"] != place.count or len(notes) < 2:
        raise RuntimeError(f"{work}: exit code {process.returncode}, or not every document moved")
    during = notes[0][0], notes[-1][0]
    after_began = time.perf_counter()
    time.sleep(REST_S)
    after = after_began, time.perf_counter()
    rest = {kind: _median_us(application.seconds(kind, before, after)) for kind in (_FIND, _UPDATE)}
    busy = {kind: application.seconds(kind, during) for kind in (_FIND, _UPDATE)}
    medians = {kind: _median_us(taken) for kind, taken in busy.items()}
    reached = next(at for at, moved in notes if moved == notes[-1][1])
    return Noticed(
        work,
        place.count,
        (notes[-1][1] - notes[0][1]) / max(reached - notes[0][0], _POLL_S),
        peak,
        sum(map(len, busy.values())),
        rest,
        medians,
        {kind: percentile(taken, 0.99) * 1e6 for kind, taken in busy.items()},
        {kind: medians[kind] / rest[kind] for kind in medians},
    )


def _median_us(taken: list[float]) -> float:
    if not taken:
        raise RuntimeError("the application had no answer in this time: more documents are needed")
    return median(taken) * 1e6


def _peak_or_0(pid: int) -> int:
    """0 where the process has just ended."""
    try:
        return peak_of(pid)
    except (OSError, ValueError):
        return 0
