"""A class moves in and out of encryption while proxies, lines, the server and the job break: nothing is lost.

SEALWIRE_CHAOS_SECONDS=3600 SEALWIRE_CHAOS_SEED=7 make test-slow ARGS="tests/faults/test_moving_chaos.py -s"
"""

import itertools
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern

from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.keyring.file import load_keyring
from tests.faults.moving_clinic import NHS, PATIENCE_S, Document, Door, MovingClinic, ended, moving_clinic
from tests.faults.scene import Threads, faulty
from tests.support.secantus import secantus

# An application with a model, whose class moves in and out of encryption while everything else breaks.
#
# Each client's documents are its own, so it knows what every answer about them has to be. If nobody knows
# what became of an operation, its documents are given up: nothing is asked of them until the end, when
# whatever they hold has to be found. Claims are contended: all clients store the same numbers, and an index
# lets one win.


PLACES = (
    ("patients", NHS, True),
    ("patients", "former", False),
    ("visits", "patient", False),
    ("claims", NHS, True),
)
"""The collections and paths of the class, and whether an index is unique."""
WARDS = 4
KNOWN = 12
"""How many documents a ward asks about; it makes others for those that it gives up."""
PAUSE_S = 0.05
"""Of a client between two operations, so that the server has time for the job."""
CLIENT: dict[str, Any] = {
    "retryWrites": False,
    "retryReads": False,
    "socketTimeoutMS": 30_000,
    "serverSelectionTimeoutMS": 5_000,
}
LAST_MOVE_S = 600.0
"""How long the last move may take after everything is calm."""
_REMEMBERED = 30


class WrongError(Exception):
    """An answer that no order of what was acknowledged explains. No value is in it."""


class UnsureError(PyMongoError):
    """An operation whose outcome its client does not know."""


@dataclass
class Tally:
    """What happened, in all threads."""

    began_s: float = field(default_factory=time.monotonic)
    asked: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    disturbed: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    events: int = 0
    wrong: list[str] = field(default_factory=list)
    history: dict[str, deque[str]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_REMEMBERED))
    )
    """By document what was done with it."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, counter: Counter[str], what: str) -> None:
        with self._lock:
            counter[what] += 1

    def tell(self, identity: str, what: str) -> None:
        """A line of a document's history."""
        with self._lock:
            self.history[identity].append(f"{time.monotonic() - self.began_s:.3f} {what}")

    def wronged(self, what: str, *identities: str) -> None:
        """Something that must not be, with the history of its documents."""
        with self._lock:
            lines = [f"  {each}: {line}" for each in identities for line in self.history[each]]
            self.wrong.append("\n".join([f"{time.monotonic() - self.began_s:.3f} {what}", *lines]))

    def summary(self, seed: int) -> str:
        rows = {"failed": self.failed, "disturbed": self.disturbed, "moved": self.moved, "asked": self.asked}
        lines = [f"{name}: {dict(counter.most_common())}" for name, counter in rows.items()]
        total = f"seed {seed}: {self.asked.total()} operations, {self.events} events of change streams"
        return "\n".join([total, *lines, f"wrong or lost: {len(self.wrong)}"])


@dataclass
class Patient:
    """What a ward knows of its document."""

    identity: str
    number: str
    former: set[str] = field(default_factory=set)
    visits: Counter[str] = field(default_factory=Counter)
    """By number how many visits have it."""


class Ward:
    """One client: by turns through either proxy."""

    def __init__(self, place: int, doors: tuple[Door, Door], tally: Tally, chance: random.Random) -> None:
        self.place = place
        self.issued: set[str] = set()
        """Every number that it may have stored."""
        self._clients: list[MongoClient[Document]] = [door.client(**CLIENT) for door in doors]
        self._tally = tally
        self._chance = chance
        self._patients: dict[str, Patient] = {}
        self._counted = self._claimed = 0
        self._touched: list[Patient] = []
        self._ending = threading.Event()

    def work(self, ending: threading.Event) -> None:
        """Ask until the end is told."""
        self._ending = ending
        while not ending.is_set():
            if len(self._patients) < KNOWN:
                self._ask(self._insert)
            else:
                self._ask(self._chance.choice(_OPERATIONS).__get__(self))
            ending.wait(self._chance.uniform(0, 2 * PAUSE_S))
        for client in self._clients:
            client.close()

    def _ask(self, operation: Callable[[Any], None]) -> None:
        client, self._touched = self._chance.choice(self._clients), []
        name = operation.__name__.strip("_")
        self._tally.note(self._tally.asked, name)
        try:
            operation(client)
        except PyMongoError as error:
            outcome = _outcome(error)
            self._tally.note(self._tally.failed, outcome)
            for patient in self._touched:
                self._patients.pop(patient.identity, None)
        except WrongError as error:
            outcome = f"wrong: {error}"
            self._tally.wronged(f"{name} {outcome}", *(each.identity for each in self._touched))
            for patient in self._touched:
                self._patients.pop(patient.identity, None)
        else:
            outcome = "done"
        for patient in self._touched:
            self._tally.tell(patient.identity, f"{name} {outcome}")

    def _one(self) -> Patient:
        patient = self._chance.choice(list(self._patients.values()))
        self._touched.append(patient)
        return patient

    def _new_number(self) -> str:
        self._counted += 1
        number = f"{self._counted * 7919 % 100_003}-{self.place}-{self._counted}"
        self.issued.add(number)
        return number

    def _new(self) -> Patient:
        patient = Patient(f"{self.place}-{self._counted}", self._new_number())
        self._touched.append(patient)
        return patient

    # -- operations: each raises WrongError for what cannot be -------------------------------------------

    def _insert(self, client: Any) -> None:
        patient = self._new()
        client["clinic"]["patients"].insert_one({"_id": patient.identity, NHS: patient.number, "former": []})
        self._patients[patient.identity] = patient

    def _find(self, client: Any) -> None:
        patient = self._one()
        found = list(client["clinic"]["patients"].find({NHS: patient.number}))
        _expect([(each["_id"], set(each["former"])) for each in found], [(patient.identity, patient.former)])

    def _find_in(self, client: Any) -> None:
        self._touched = self._chance.sample(list(self._patients.values()), 4)
        wanted = {NHS: {"$in": [each.number for each in self._touched]}}
        found = sorted(each["_id"] for each in client["clinic"]["patients"].find(wanted, batch_size=2))
        _expect(found, sorted(each.identity for each in self._touched))

    def _update(self, client: Any) -> None:
        patient, number = self._one(), self._new_number()
        change = {"$set": {NHS: number}}
        done = client["clinic"]["patients"].update_one({NHS: patient.number}, change)
        _expect(done.matched_count, 1)
        patient.number = number

    def _upsert(self, client: Any) -> None:
        patient = self._new()
        change = {"$inc": {"times": 1}, "$setOnInsert": {"_id": patient.identity, "former": []}}
        for times in range(2):
            done = client["clinic"]["patients"].update_one({NHS: patient.number}, change, upsert=True)
            _expect(done.matched_count, times)
        self._patients[patient.identity] = patient
        self._delete(client)

    def _insert_again(self, client: Any) -> None:
        patient = self._one()
        with suppress(DuplicateKeyError):
            client["clinic"]["patients"].insert_one({"_id": f"{patient.identity} again", NHS: patient.number})
            raise WrongError("a second one was stored")

    def _find_and_update(self, client: Any) -> None:
        patient, number = self._one(), self._new_number()
        found = client["clinic"]["patients"].find_one_and_update(
            {NHS: patient.number}, {"$set": {NHS: number}}, return_document=ReturnDocument.AFTER
        )
        _expect(found and (found["_id"], found[NHS]), (patient.identity, number))
        patient.number = number

    def _array(self, client: Any) -> None:
        patient, patients = self._one(), client["clinic"]["patients"]
        if len(patient.former) > 2:
            gone = patient.former.pop()
            patients.update_one({NHS: patient.number}, {"$pull": {"former": gone}})
            _expect([each["_id"] for each in patients.find({"former": gone})], [])
            return
        number = self._new_number()
        patients.update_one({NHS: patient.number}, {"$addToSet": {"former": number}})
        patient.former.add(number)
        _expect([each["_id"] for each in patients.find({"former": number})], [patient.identity])

    def _transaction(self, client: Any) -> None:
        one, other = self._one(), self._one()
        number, changed, attempts = one.number, self._new_number(), 0
        visits = one.visits[number]

        def change(session: Any) -> None:
            nonlocal attempts
            attempts += 1
            if self._ending.is_set():
                raise UnsureError("the end")
            database = client["clinic"]
            done = database["patients"].update_one({NHS: number}, {"$set": {NHS: changed}}, session=session)
            if attempts > 1 and done.matched_count == 0:
                # a server that was started again does not know which transactions it has committed
                now = database["patients"].find_one({"_id": one.identity}, session=session)
                _expect(now and now[NHS], changed)
                raise UnsureError("committed before")
            _expect(done.matched_count, 1, "to update")
            gone = database["visits"].delete_many({"patient": number}, session=session)
            _expect(gone.deleted_count, visits, "visits to delete")
            database["visits"].insert_one({"patient": changed}, session=session)
            if other is not one:
                found = database["patients"].count_documents({NHS: other.number}, session=session)
                _expect(found, 1, "the other one")

        with client.start_session() as session:
            session.with_transaction(change, read_concern=ReadConcern("snapshot"))
        one.number = changed
        one.visits = Counter({changed: 1})

    def _group(self, client: Any) -> None:
        self._touched = list(self._patients.values())
        chosen = {"$match": {"_id": {"$in": list(self._patients)}}}
        grouped = {"$group": {"_id": f"${NHS}", "n": {"$sum": 1}}}
        found = {each["_id"]: each["n"] for each in client["clinic"]["patients"].aggregate([chosen, grouped])}
        _expect(found, {each.number: 1 for each in self._touched})

    def _join(self, client: Any) -> None:
        patient = self._one()
        lookup = {"from": "visits", "localField": NHS, "foreignField": "patient", "as": "visits"}
        stages = [{"$match": {"_id": patient.identity}}, {"$lookup": lookup}]
        found = [len(each["visits"]) for each in client["clinic"]["patients"].aggregate(stages)]
        _expect(found, [patient.visits[patient.number]])

    def _claim(self, client: Any) -> None:
        self._claimed += 1
        number, claims = f"claim {self._claimed}", client["clinic"]["claims"]
        identity = f"claim {self._claimed} of {self.place}"
        self._touched.append(Patient(identity, number))
        is_mine = True
        try:
            claims.insert_one({"_id": identity, NHS: number})
        except DuplicateKeyError:
            is_mine = False
        found = [each["_id"] for each in claims.find({NHS: number})]
        _expect((len(found), found == [identity]), (1, is_mine))

    def _delete(self, client: Any) -> None:
        """One of those that are known, in whose place there is another one."""
        patient = self._one()
        done = client["clinic"]["patients"].delete_one({NHS: patient.number})
        _expect(done.deleted_count, 1, "to delete")
        del self._patients[patient.identity]


_OPERATIONS: tuple[Callable[..., None], ...] = (
    Ward._find, Ward._find_in, Ward._update, Ward._upsert, Ward._insert_again, Ward._find_and_update,
    Ward._array, Ward._transaction, Ward._group, Ward._join, Ward._claim,
)  # fmt: skip


def _expect(found: object, expected: object, what: str = "") -> None:
    """Raises WrongError, which says how many were found, and shows no value."""
    if found != expected:
        raise WrongError(f"{what} found {_size(found)}, expected {_size(expected)}".strip())


def _size(found: object) -> str:
    if isinstance(found, list | dict):
        return f"{len(found)} of them"
    return str(found) if isinstance(found, int) else type(found).__name__


def _outcome(error: PyMongoError) -> str:
    return f"{type(error).__name__} {getattr(error, 'code', None) or ''}".strip()


def watch(door: Door, tally: Tally, wards: list[Ward], ending: threading.Event) -> None:
    """Follow what is stored by a change stream, which is opened again where it broke."""
    place: Any = None
    with door.client(**CLIENT) as client:
        while not ending.is_set():
            try:
                with client["clinic"]["patients"].watch(
                    full_document="updateLookup", resume_after=place, max_await_time_ms=500
                ) as stream:
                    while not ending.is_set():
                        event = stream.try_next()
                        place = stream.resume_token
                        if event is not None:
                            _seen(event.get("fullDocument"), tally, wards)
            except PyMongoError as error:
                place = None if getattr(error, "code", None) in {260, 280, 286} else place
                tally.note(
                    tally.failed, f"stream: {type(error).__name__} {getattr(error, 'code', None) or ''}"
                )
                ending.wait(0.5)


def _seen(patient: Document | None, tally: Tally, wards: list[Ward]) -> None:
    tally.events += 1
    if patient is None or NHS not in patient:
        return
    ward = next((each for each in wards if str(patient["_id"]).startswith(f"{each.place}-")), None)
    if ward is not None and patient[NHS] not in ward.issued:
        tally.wronged("an event has a number that nobody stored", str(patient["_id"]))


class Disturber:
    """Breaks one thing after the other, and mends it again."""

    def __init__(self, clinic: MovingClinic, tally: Tally, chance: random.Random) -> None:
        self.job: subprocess.Popen[str] | None = None
        """The one that moves the class now."""
        self._clinic = clinic
        self._tally = tally
        self._chance = chance

    def work(self, ending: threading.Event) -> None:
        """Two things, and then a pause in which a move can go on: it waits for what a dead proxy began."""
        while not ending.wait(self._chance.uniform(8, 28)):
            for _ in range(2):
                act = self._chance.choice(_DISTURBANCES)
                self._tally.note(self._tally.disturbed, act.__name__.strip("_"))
                act(self, self._chance.choice((self._clinic.a, self._clinic.b)))
                ending.wait(self._chance.uniform(1, 5))

    def _kill(self, door: Door) -> None:
        door.crash()
        time.sleep(self._chance.uniform(0, 3))
        door.start()

    def _end(self, door: Door) -> None:
        door.stop()
        door.start()

    def _stop_shortly(self, door: Door) -> None:
        self._stop_for(door, self._chance.uniform(1, 6))

    def _stop_beyond_the_lease(self, door: Door) -> None:
        self._stop_for(door, self._chance.uniform(12, 20))

    def _stop_for(self, door: Door, seconds: float) -> None:
        door.signal(signal.SIGSTOP)
        time.sleep(seconds)
        door.signal(signal.SIGCONT)

    def _part(self, door: Door) -> None:
        door.line.freeze()
        time.sleep(self._chance.uniform(1, 18))
        door.line.thaw()

    def _cut(self, door: Door) -> None:
        door.line.cut()

    def _restart_server(self, _door: Door) -> None:
        self._clinic.database.stop()
        self._clinic.database.start()

    def _kill_job(self, _door: Door) -> None:
        if self.job is not None:
            self.job.kill()


_DISTURBANCES: tuple[Callable[[Disturber, Door], None], ...] = (
    Disturber._kill, Disturber._end, Disturber._stop_shortly, Disturber._stop_beyond_the_lease,
    Disturber._part, Disturber._cut, Disturber._restart_server, Disturber._kill_job, Disturber._kill_job,
)  # fmt: skip

MOVES = ("encrypt", "reencrypt", "reencrypt", "decrypt")


class Mover:
    """Moves the class to a key, to the next ones, and back in clear, in turn."""

    def __init__(self, clinic: MovingClinic, tally: Tally, disturber: Disturber) -> None:
        self._clinic = clinic
        self._tally = tally
        self._disturber = disturber
        self._first: tuple[str, ...] = ("--proxies", "2")
        """For the first move of all."""

    def move(self, direction: str, within_s: float) -> None:
        """One move to its end, with as many processes as it takes. Raises TimeoutError."""
        if direction == "reencrypt":
            self._clinic.rotate()
        first, self._first = self._first, ()
        words = [direction, "policy.yaml", NHS, *first]
        words += ["--confirm", NHS] if direction == "decrypt" else []
        known = {each["job"] for each in self._jobs()}
        until = time.monotonic() + within_s
        while (code := self._run(words, until)) != 0:
            self._tally.note(self._tally.failed, f"job: {code}")
            if time.monotonic() > until:
                raise TimeoutError(f"the move does not end: {direction}")
            begun = [each["job"] for each in self._jobs() if each["job"] not in known]
            if begun:
                words = ["resume", "policy.yaml", begun[0], *first]
            time.sleep(0.5)
        self._tally.note(self._tally.moved, direction)

    def _run(self, words: list[str], until: float) -> int:
        with self._clinic.job(*words) as job:
            self._disturber.job = job
            with suppress(subprocess.TimeoutExpired):
                job.communicate(timeout=max(1.0, until - time.monotonic()))
            self._disturber.job = None
        return job.returncode

    def _jobs(self) -> list[Document]:
        """They are asked for again where the server is away."""
        until = time.monotonic() + PATIENCE_S
        while (jobs := self._clinic.status()) is None:
            if time.monotonic() > until:
                raise TimeoutError("the jobs cannot be listed")
        return jobs


def judge(clinic: MovingClinic, tally: Tally) -> None:
    """Every value is found where it is stored, and unique ones are stored once. Read raw, and opened here."""
    keyring = load_keyring(clinic.keyring, clinic.kek)
    with clinic.database.connect() as raw, clinic.a.client() as one, clinic.b.client() as other:
        clients = itertools.cycle((one, other))
        for name, path, is_unique in PLACES:
            places = defaultdict[str, list[Any]](list)
            for each in raw["clinic"][name].find({path: {"$exists": True}}):
                for value in each[path] if isinstance(each[path], list) else [each[path]]:
                    places[opened(keyring, value)].append(each["_id"])
            for value, stored in places.items():
                collection = next(clients)["clinic"][name]
                found = [each["_id"] for each in collection.find({path: value}, {"_id": 1})]
                if is_unique and len(stored) > 1:
                    tally.wronged(f"{name}.{path}: a value is stored twice", *map(str, stored))
                if set(map(str, found)) != set(map(str, stored)):
                    tally.wronged(f"{name}.{path}: a value is lost", *map(str, stored))


def opened(keyring: Any, value: Any) -> str:
    """The string in clear or in an envelope."""
    if getattr(value, "subtype", None) != SUBTYPE:
        return str(value)
    _, inside = keyring.open_envelope(bytes(value), 0, len(value))
    return str(inside[4:-1].decode())


def run(clinic: MovingClinic, seconds: float, seed: int) -> Tally:
    """So long, and until the last move is over. Raises TimeoutError for a move that does not end."""
    chance, tally = random.Random(seed), Tally()
    doors = (clinic.a, clinic.b)
    with clinic.a.client() as client:
        for name, path, is_unique in PLACES:
            client["clinic"][name].create_index(path, unique=is_unique)
    wards = [Ward(place, doors, tally, random.Random(chance.random())) for place in range(WARDS)]
    disturber = Disturber(clinic, tally, random.Random(chance.random()))
    mover = Mover(clinic, tally, disturber)
    until = time.monotonic() + seconds
    directions = itertools.cycle(MOVES)
    with (
        Threads(WARDS, lambda number, ending: wards[number].work(ending)),
        Threads(2, lambda number, ending: watch(doors[number], tally, wards, ending)),
    ):
        with Threads(1, lambda _, ending: disturber.work(ending)) as disturbing:
            calm = threading.Timer(seconds, disturbing.ending.set)
            calm.start()
            try:
                while time.monotonic() < until:
                    mover.move(next(directions), seconds + LAST_MOVE_S)
            finally:
                calm.cancel()
        time.sleep(2)
    judge(clinic, tally)
    return tally


pytestmark = [*faulty, pytest.mark.slow(minutes=4)]

SECONDS = float(os.environ.get("SEALWIRE_CHAOS_SECONDS", "600"))
SEED = int(os.environ.get("SEALWIRE_CHAOS_SEED", "25"))
LIFETIME_S = 2
"""Of a transaction: a proxy that was killed holds a move up for twice as long and 15 s."""
SHOWN = 10


def test_no_write_is_lost_whatever_breaks(tmp_path: Path) -> None:
    with (
        secantus(tmp_path, transaction_s=LIFETIME_S) as database,
        moving_clinic(database, tmp_path, plaintext=[NHS], workers=2, is_recording=False) as clinic,
    ):
        tally = run(clinic, SECONDS, SEED)
        summary = tally.summary(SEED)
        print(summary)  # noqa: T201
        assert not tally.wrong, "\n".join([summary, *tally.wrong[:SHOWN]])
        assert tally.asked.total() > SECONDS
        assert tally.disturbed
        assert tally.moved
        assert tally.events
        with clinic.job("verify", "policy.yaml") as verifying:
            assert ended(verifying) == 0, summary
