"""What a process that moves a class works on, and outlives it."""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from sealwire.keys.frontier.frontier import Frontier
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job
from sealwire.sidecars.migration.windows.moving import Versions
from sealwire.sidecars.migration.windows.turn import Stores, Turn, TurnPace
from tests.sidecars.migration.doubles import Fate, MemoryNotes
from tests.sidecars.migration.windows.doubles import (
    DECRYPTING,
    ENCRYPTING,
    JOINING,
    LEAVING,
    PARTING,
    PATIENTS,
    REJOINING,
    VERSIONS,
    VISITS,
    Document,
    FollowingProxy,
    MemoryFrontiers,
    MemoryValues,
    check_forms,
    envelopes,
    job,
    opened,
    sealed,
)

WAYS = {
    "reencrypt": VERSIONS,
    "encrypt": ENCRYPTING,
    "decrypt": DECRYPTING,
    "join": JOINING,
    "rejoin": REJOINING,
    "leave": LEAVING,
    "part": PARTING,
}


moves = pytest.mark.parametrize("versions", WAYS.values(), ids=WAYS)


class World:
    """All that outlives a process."""

    def __init__(
        self,
        documents: Mapping[str, Sequence[Document]],
        proxies: Sequence[FollowingProxy] = (),
        versions: Versions = VERSIONS,
        wrong_type: WrongType = WrongType.SKIP,
        **how: bool,
    ) -> None:
        self.fate = Fate()
        self.versions = versions
        self.values = MemoryValues(documents, self.fate, **how)
        self.frontiers = MemoryFrontiers(self.fate, proxies)
        self.notes = MemoryNotes(job(versions, wrong_type), self.fate)
        self.first = self.values.documents()
        self.activated = 0
        self.marked_at: list[int] = []
        """How many frontiers were written each time that the move was marked as begun."""

    @property
    def frontier(self) -> Frontier:
        """What the job has written, if there is one."""
        assert self.frontiers.frontier is not None
        return self.frontiers.frontier

    def turn(self, pace: TurnPace) -> Turn:
        """A process of the job as it is written down."""
        stores = Stores(self.values, self.frontiers, self.notes)
        return Turn(self.notes.job, self.versions, stores, self._activate, pace, self._mark_begun)

    def live(self, dies_at: int | None = None, pace: TurnPace | None = None) -> Job:
        """One process, from what is written down. Raises Death."""
        self.fate = Fate(dies_at)
        self.values.fate = self.frontiers.fate = self.notes.fate = self.fate
        for server in self.values.servers.values():
            server.fate = self.fate
        return self.turn(pace or TurnPace()).run()

    def _mark_begun(self, place: str) -> None:
        self.fate.step()
        assert place == self.frontiers.place()
        assert not self.frontier.has_begun
        self.marked_at.append(len(self.frontiers.history))

    def _activate(self) -> None:
        self.fate.step()
        self.activated += 1

    def check(self) -> None:
        check_forms(self.frontiers.frontier, self.values.documents(), self.versions)


def clinic(count: int = 12, seed: int = 1, versions: Versions = VERSIONS) -> dict[str, Sequence[Document]]:
    stored = old_form(versions)
    chance = random.Random(seed)
    names = [f"{chance.randrange(10**9):0{chance.choice((4, 10, 12))}d}" for _ in range(count)]
    patients = [
        {
            "_id": number,
            "nhs": stored(name),
            "kin": [{"nhs": stored(chance.choice(names))}, 3, {"nhs": None}, {"nhs": stored(name)}],
            "o": "in clear",
        }
        for number, name in enumerate(names)
    ]
    visits = [{"_id": number, "who": stored(chance.choice(names))} for number in range(count)]
    return {PATIENTS: patients, VISITS: visits}


def old_form(versions: Versions) -> Callable[[str], Any]:
    """How a text is stored before the move."""
    return str if versions.old.is_plaintext else partial(sealed, cipher=versions.old.cipher)


def texts(documents: dict[str, Any]) -> Any:
    return {name: [opened(each) for each in found] for name, found in documents.items()}


def assert_moved(world: World, before: Any = None) -> None:
    """Everything has the new form, and means what it meant."""
    after = world.values.documents()
    assert texts(after) == (before or texts(world.first))
    if world.versions.new.is_plaintext:
        assert not list(envelopes(list(after.values())))
    world.check()
    assert world.frontier.is_over
    assert world.activated >= 1
    assert not world.values.indexes
