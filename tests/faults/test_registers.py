"""Registers behind a failing proxy: whatever breaks, clients see what one register could have shown them.

As Jepsen does it: sessions with majority concerns read, write and swap covered values, a hand breaks things
meanwhile, and a checker judges what the clients saw. Nothing is retried, so an operation without an answer
may have happened or not, once. Each client also keeps a document of its own, whose answers nobody else gets.
"""

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from pymongo import ReadPreference, WriteConcern
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError
from pymongo.read_concern import ReadConcern

from tests.faults.linearizability import UNKNOWN_S, Act, Operation, is_linearizable
from tests.faults.scene import Document, Scene, Threads, faulty, freeze, scene
from tests.integration.conftest import Record
from tests.support.relay import Relay, clear_sky, drizzle
from tests.support.waiting import until

pytestmark = [*faulty, pytest.mark.slow]

SECONDS = float(os.environ.get("SEALWIRE_FAULT_SECONDS", "60"))
CLIENTS = 5
WORKERS = 2
REGISTERS = 2
EPOCH_S = 1.0
"""So long a register is used: unknown outcomes stay open forever, and make its judgement dear."""
SEED = int(os.environ.get("SEALWIRE_SEED", "16"))


class Story:
    """What the clients did to registers, and what they saw."""

    def __init__(self, running: Scene) -> None:
        self.histories: dict[str, list[Operation]] = {}
        self.answered = 0
        self.unknown = 0
        self._running = running
        self._began_s = time.monotonic()
        self._lock = threading.Lock()

    def run(self, number: int, ending: threading.Event) -> None:
        """One client, from its first operation to its last."""
        chance = random.Random(SEED * 100 + number)
        own = f"own-token-of-{number}"
        settings = {"socketTimeoutMS": 2_000, "connectTimeoutMS": 2_000, "serverSelectionTimeoutMS": 2_000}
        with self._running.client(**settings) as client:
            registers = client["clinic"].get_collection(
                "patients",
                read_preference=ReadPreference.PRIMARY,
                read_concern=ReadConcern("majority"),
                write_concern=WriteConcern("majority"),
            )
            for step in range(1_000_000):
                if ending.is_set():
                    return
                with client.start_session() as talk:
                    self._operate(registers, talk, chance, f"{number}-{step}")
                self._look_at_own(registers, own)

    def ends(self) -> None:
        """What every register holds when all is over, as the proxy shows it without a restart."""
        with self._running.client() as client:
            for register, history in self.histories.items():
                began_s = time.monotonic()
                found = client["clinic"].patients.find_one({"_id": register})
                value = found["nhs_number"] if found is not None else None
                history.append(Operation(Act.READ, value, began_s, time.monotonic()))

    def _operate(
        self, registers: Collection[Document], talk: ClientSession, chance: random.Random, fresh: str
    ) -> None:
        epoch = int((time.monotonic() - self._began_s) / EPOCH_S)
        register = f"register-{epoch}-{chance.randrange(REGISTERS)}"
        act = chance.choice([Act.READ, Act.WRITE, Act.SWAP])
        expected = self._guess(register, chance) if act is Act.SWAP else None
        value: str | None = fresh
        matched, began_s, ended_s = True, time.monotonic(), UNKNOWN_S
        try:
            match act:
                case Act.READ:
                    found = registers.find_one({"_id": register}, session=talk)
                    value = found["nhs_number"] if found is not None else None
                case Act.WRITE:
                    change = {"$set": {"nhs_number": value}}
                    registers.update_one({"_id": register}, change, upsert=True, session=talk)
                case Act.SWAP:
                    wanted, change = (
                        {"_id": register, "nhs_number": expected},
                        {"$set": {"nhs_number": value}},
                    )
                    matched = registers.update_one(wanted, change, session=talk).matched_count == 1
            ended_s = time.monotonic()
        except ServerSelectionTimeoutError:
            return  # it was never sent
        except AutoReconnect:
            pass
        with self._lock:
            self.answered += ended_s != UNKNOWN_S
            self.unknown += ended_s == UNKNOWN_S
            told = Operation(act, value, began_s, ended_s, expected, matched)
            self.histories.setdefault(register, []).append(told)

    def _guess(self, register: str, chance: random.Random) -> str | None:
        """A value that the register may hold."""
        with self._lock:
            written = [each.value for each in self.histories.get(register, ()) if each.act is not Act.READ]
        return chance.choice(written[-3:]) if written else "nothing"

    def _look_at_own(self, registers: Collection[Document], own: str) -> None:
        try:
            registers.update_one({"_id": own}, {"$set": {"nhs_number": own, "notes": own}}, upsert=True)
            found = registers.find_one({"nhs_number": own})
        except AutoReconnect:
            return
        assert found == {"_id": own, "nhs_number": own, "notes": own}


class Hand:
    """Breaks one thing after the other, and mends it again."""

    def __init__(self, running: Scene) -> None:
        self._running = running
        self._chance = random.Random(SEED)

    def breaks_something(self) -> None:
        self._chance.choice(
            [self._cut, self._pull_a_cable, self._freeze, self._drizzle, self._kill_a_worker]
        )()

    def _line(self) -> Relay:
        return self._chance.choice([self._running.line, self._running.front])

    def _cut(self) -> None:
        line, length = self._line(), self._chance.randrange(2_000)
        match self._chance.randrange(3):
            case 0:
                line.cut()
            case 1:
                line.cut_after_bytes = length
            case _:
                line.cut_replies_after_bytes = length

    def stops(self) -> None:
        """What was to break does not."""
        for line in (self._running.line, self._running.front):
            line.cut_after_bytes = line.cut_replies_after_bytes = None

    def _pull_a_cable(self) -> None:
        line = self._line()
        line.freeze()
        time.sleep(0.3)
        if self._chance.random() < 0.5:
            line.cut()
        line.thaw()

    def _freeze(self) -> None:
        freeze(self._running.database.pid)
        time.sleep(0.3)
        os.kill(self._running.database.pid, signal.SIGCONT)

    def _drizzle(self) -> None:
        for line in (self._running.line, self._running.front):
            line.weather = drizzle(self._chance.randrange(1000), 0.001, 64)
        time.sleep(0.5)
        for line in (self._running.line, self._running.front):
            line.weather = clear_sky

    def _kill_a_worker(self) -> None:
        workers = self._running.workers()
        if len(workers) == WORKERS:
            victim = self._chance.choice(workers)
            os.kill(victim, signal.SIGKILL)
            # until it is gone the kernel hands it connections, which nobody will serve
            until(lambda: victim not in self._running.workers())


def test_clients_see_registers_whatever_breaks(tmp_path: Path, record_property: Record) -> None:
    with scene(tmp_path, {"workers": WORKERS, "log": {"level": "debug"}}) as running:
        story, hand = Story(running), Hand(running)
        with Threads(CLIENTS, story.run) as threads:
            end_s = time.monotonic() + SECONDS
            while time.monotonic() < end_s and not threads.ending.is_set():
                time.sleep(0.2)
                hand.breaks_something()
        hand.stops()
        story.ends()
        unsound = [name for name, history in story.histories.items() if not is_linearizable(history)]
        figures = f"{story.answered} answered, {story.unknown} unknown, {len(story.histories)} registers"
        record_property("summary", f"registers under faults, {SECONDS:.0f} s: {figures}")
        assert unsound == []
        assert story.answered > 5
        assert story.unknown > 0
        sent = bytes(running.line.to_server)
        assert b"own-token-of-" in sent
        assert b"\x02nhs_number\0" not in sent
        until(lambda: running.figure("sealwire_client_connections") == 0)
        assert running.figure("sealwire_bugs_total") == 0
