"""An application that asks without a pause while a class moves, and knows every answer.

Its fixed patients never change, so each question about them has one answer. Its other patients come and go:
their numbers are tried twice, and by two clients at once, which a unique index has to notice.
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, PyMongoError

from tests.integration.conftest import Document
from tests.integration.running_site import NHS, at_work

FIXED = 160
VISITS = 3

Question = Callable[..., bool]
"""Of a database, by chance, with a text of its own: whether the answer is right."""


def number_of(patient: int) -> str:
    """Of several lengths, and in no order."""
    return f"{patient * 7919 % 100_003:0{8 + patient % 4}d}"


def fill(client: MongoClient[Document]) -> None:
    """The fixed patients and their visits."""
    patients, visits = client["clinic"]["patients"], client["clinic"]["visits"]
    patients.create_index(NHS, unique=True)
    patients.insert_many({"_id": each, NHS: number_of(each), "fixed": True} for each in range(FIXED))
    visits.insert_many(
        {"_id": f"{each}-{visit}", "patient": number_of(each), "fixed": True}
        for each in range(FIXED)
        for visit in range(VISITS)
    )


def is_duplicate(collection: Any, document: Document) -> bool:
    """Whether a unique index refuses this document; otherwise it is stored."""
    try:
        collection.insert_one(document)
    except DuplicateKeyError:
        return True
    return False


@dataclass
class Application:
    """Two clients of one application, each by its own proxy."""

    clients: tuple[MongoClient[Document], MongoClient[Document]]
    wrong: list[str] = field(default_factory=list)
    """What was answered otherwise than without a move. No value is in it."""
    failed: list[str] = field(default_factory=list)
    """What failed."""
    asked: int = 0
    slowest_s: float = 0.0
    races: dict[str, int] = field(default_factory=dict)
    """By number, how many clients were told that theirs is the one that was stored."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def at_work(self) -> AbstractContextManager[None]:
        """Both clients ask until the block is over."""
        return at_work(self._work, self._stop)

    def assert_right(self, least: int) -> None:
        """All answers were those without a move, and there were at least so many."""
        assert (self.wrong, self.failed) == ([], []), (self.wrong[:5], self.failed[:5])
        assert self.asked > least
        assert {name: won for name, won in self.races.items() if won != 1} == {}

    def _work(self, place: int) -> None:
        chance = random.Random(place)
        database = self.clients[place]["clinic"]
        questions = self._questions()
        turn = 0
        while not self._stop.is_set():
            turn += 1
            self._ask(chance.choice(questions), database, chance, f"own {place}-{turn}")
            self._ask(self._raced, database, chance, f"race-{turn}")

    def _ask(self, question: Question, database: Any, chance: random.Random, tag: str) -> None:
        began = time.perf_counter()
        try:
            is_right = question(database, chance, tag)
        except PyMongoError as error:
            self.failed.append(f"{question.__name__}: {type(error).__name__} {getattr(error, 'code', '')}")
        else:
            if not is_right:
                self.wrong.append(question.__name__)
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began)
        self.asked += 1

    def _store(self, collection: Any, document: Document, tag: str) -> None:
        """Both clients store the same, and each may win."""
        if not is_duplicate(collection, document):
            with self._lock:
                self.races[tag] = self.races.get(tag, 0) + 1

    # -- questions: whether the answer is right --------------------------------------------------------------

    def _questions(self) -> list[Question]:
        return [
            self._one, self._several, self._counted, self._grouped, self._distinct, self._joined,
            self._batches, self._own, self._upserted,
        ]  # fmt: skip

    def _one(self, database: Any, chance: random.Random, _tag: str) -> bool:
        patient = chance.randrange(FIXED)
        found = list(database.patients.find({NHS: number_of(patient)}))
        return found == [{"_id": patient, NHS: number_of(patient), "fixed": True}]

    def _several(self, database: Any, chance: random.Random, _tag: str) -> bool:
        chosen = chance.sample(range(FIXED), 6)
        found = database.patients.find({NHS: {"$in": [number_of(each) for each in chosen]}})
        return {each["_id"] for each in found} == set(chosen)

    def _counted(self, database: Any, chance: random.Random, _tag: str) -> bool:
        wanted = {"patient": number_of(chance.randrange(FIXED))}
        return bool(database.visits.count_documents(wanted) == VISITS)

    def _grouped(self, database: Any, _chance: random.Random, _tag: str) -> bool:
        stages = [{"$match": {"fixed": True}}, {"$group": {"_id": "$patient", "n": {"$sum": 1}}}]
        found = {each["_id"]: each["n"] for each in database.visits.aggregate(stages)}
        return found == {number_of(each): VISITS for each in range(FIXED)}

    def _distinct(self, database: Any, _chance: random.Random, _tag: str) -> bool:
        found = database.visits.distinct("patient", {"fixed": True})
        return sorted(found) == sorted(map(number_of, range(FIXED)))

    def _joined(self, database: Any, chance: random.Random, _tag: str) -> bool:
        lookup = {"from": "visits", "localField": NHS, "foreignField": "patient", "as": "visits"}
        stages = [{"$match": {"_id": chance.randrange(FIXED)}}, {"$lookup": lookup}]
        (found,) = database.patients.aggregate(stages)
        return len(found["visits"]) == VISITS

    def _batches(self, database: Any, chance: random.Random, _tag: str) -> bool:
        found = database.visits.find({"patient": number_of(chance.randrange(FIXED))}, batch_size=1)
        return len(list(found)) == VISITS

    def _own(self, database: Any, _chance: random.Random, tag: str) -> bool:
        """A number is stored, found, refused a second time, and gone when it was deleted."""
        database.patients.insert_one({"_id": tag, NHS: tag})
        is_unique = is_duplicate(database.patients, {"_id": f"{tag} again", NHS: tag})
        is_found = database.patients.count_documents({NHS: tag}) == 1
        gone = database.patients.delete_many({NHS: tag}).deleted_count == 1
        return is_unique and is_found and gone

    def _upserted(self, database: Any, _chance: random.Random, tag: str) -> bool:
        for _ in range(2):
            database.patients.update_one({NHS: f"u {tag}"}, {"$inc": {"times": 1}}, upsert=True)
        found = list(database.patients.find({NHS: f"u {tag}"}, {"_id": 0, "times": 1}))
        return found == [{"times": 2}]

    def _raced(self, database: Any, _chance: random.Random, tag: str) -> bool:
        self._store(database.patients, {NHS: tag}, tag)
        return True
