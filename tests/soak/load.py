"""The load: clients that insert, find, change, count and delete documents of their own, each at its own pace.

Nothing is retried, so that an error is one. What a client finds has to be what it stored, and nobody else's.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure, PyMongoError

Document = dict[str, Any]

MOST_DOCUMENTS = 40
"""Of one client; then it deletes rather than inserts."""
REFUSED = 238


class Load:
    """All clients together, and what became of what they asked."""

    def __init__(self, uri: str, connections: int, pause_s: float) -> None:
        self.operations: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.latencies_s: list[float] = []
        """Since they were last taken."""
        self._uri = uri
        self._connections = connections
        self._pause_s = pause_s

    async def run(
        self, groups: int, complete: asyncio.Event, ending: asyncio.Event, lifetime_s: float
    ) -> None:
        """Until the end: groups of clients with a pool each, which go and come back at different times.

        complete: set once all are connected; nobody leaves before.
        """
        size = self._connections // groups
        async with asyncio.TaskGroup() as tasks:
            for group in range(groups):
                leaves_after_s = lifetime_s * (1 + group / groups)
                tasks.create_task(self._group(group, size, complete, ending, leaves_after_s))

    async def _group(
        self, group: int, size: int, complete: asyncio.Event, ending: asyncio.Event, lifetime_s: float
    ) -> None:
        """Connections with logins of their own, given up and made anew."""
        visitors = [Visitor(f"{group}-{number}", self) for number in range(size)]
        while not ending.is_set():
            options: dict[str, Any] = {"maxPoolSize": size, "minPoolSize": size, "directConnection": True}
            options["maxIdleTimeMS"] = 100_000  # the test server hangs up on who was silent for 300 s
            async with AsyncMongoClient[Document](
                self._uri, retryWrites=False, retryReads=False, serverSelectionTimeoutMS=60_000, **options
            ) as client:
                leaving = asyncio.Event()
                patients = client["clinic"]["patients"]
                await asyncio.gather(
                    _leave(leaving, complete, ending, lifetime_s),
                    *(each.work(patients, leaving, ending, self._pause_s) for each in visitors),
                )

    def happened(self, name: str, took_s: float) -> None:
        """An operation has its answer."""
        self.operations[name] += 1
        self.latencies_s.append(took_s)


async def _leave(
    leaving: asyncio.Event, complete: asyncio.Event, ending: asyncio.Event, lifetime_s: float
) -> None:
    await complete.wait()
    with suppress(TimeoutError):
        await asyncio.wait_for(ending.wait(), lifetime_s)
    leaving.set()


class Visitor:
    """One client and the documents that it has stored."""

    def __init__(self, name: str, load: Load) -> None:
        self._name = name
        self._load = load
        self._chance = random.Random(name)
        self._numbers: list[int] = []
        self._next = 0
        self._acts = {
            "find": (40, self._find),
            "insert": (25, self._insert),
            "update": (15, self._update),
            "delete": (10, self._delete),
            "count": (5, self._count),
            "cursor": (3, self._cursor),
            "refused": (2, self._refused),
        }

    async def work(
        self,
        patients: AsyncCollection[Document],
        leaving: asyncio.Event,
        ending: asyncio.Event,
        pause_s: float,
    ) -> None:
        """One operation after the other, with pauses, until it is time to leave or to end."""
        names = list(self._acts)
        weights = [weight for weight, _ in self._acts.values()]
        while not (leaving.is_set() or ending.is_set()):
            await asyncio.sleep(self._chance.random() * 2 * pause_s)
            name = self._chance.choices(names, weights)[0]
            if not self._numbers or (name == "insert" and len(self._numbers) >= MOST_DOCUMENTS):
                name = "insert" if not self._numbers else "delete"
            began_s = perf_counter()
            try:
                await self._acts[name][1](patients)
            except (PyMongoError, AssertionError) as error:
                self._load.errors[f"{name}: {type(error).__name__}"] += 1
            else:
                self._load.happened(name, perf_counter() - began_s)

    def _document(self, number: int) -> Document:
        token = f"{self._name}-{number}"
        return {
            "_id": token,
            "nhs_number": f"nhs-{token}",
            "address": {"postcode": f"pc-{number % 7}", "city": "Leeds"},
            "contacts": [{"phone": f"phone-{token}"}],
            "date_of_birth": datetime(1950, 1 + number % 12, 1 + number % 28, tzinfo=UTC),
            "visits": number % 100,
            "notes": {"text": "x" * (number % 500), "owner": self._name},
        }

    def _some(self) -> Document:
        return self._document(self._chance.choice(self._numbers))

    async def _insert(self, patients: AsyncCollection[Document]) -> None:
        self._next += 1
        await patients.insert_one(self._document(self._next))
        self._numbers.append(self._next)

    async def _find(self, patients: AsyncCollection[Document]) -> None:
        wanted = self._some()
        found = await patients.find_one({"nhs_number": wanted["nhs_number"]})
        assert found is not None
        assert (found["_id"], found["notes"]) == (wanted["_id"], wanted["notes"])

    async def _update(self, patients: AsyncCollection[Document]) -> None:
        wanted = self._some()
        change = {"$set": {"contacts.0.phone": f"phone-{self._chance.random()}"}}
        done = await patients.update_one({"nhs_number": wanted["nhs_number"]}, change)
        assert done.matched_count == 1

    async def _delete(self, patients: AsyncCollection[Document]) -> None:
        number = self._numbers.pop(self._chance.randrange(len(self._numbers)))
        done = await patients.delete_one({"nhs_number": self._document(number)["nhs_number"]})
        assert done.deleted_count == 1

    async def _count(self, patients: AsyncCollection[Document]) -> None:
        names = [self._document(number)["nhs_number"] for number in self._numbers[:5]]
        pipeline: list[Document] = [
            {"$match": {"nhs_number": {"$in": names}}},
            {"$group": {"_id": "$nhs_number"}},
        ]
        found = [each["_id"] async for each in await patients.aggregate(pipeline)]
        assert sorted(found) == sorted(names)

    async def _cursor(self, patients: AsyncCollection[Document]) -> None:
        names = [self._document(number)["nhs_number"] for number in self._numbers[:9]]
        found = [each async for each in patients.find({"nhs_number": {"$in": names}}, batch_size=2)]
        assert {each["notes"]["owner"] for each in found} == {self._name}
        assert len(found) == len(names)

    async def _refused(self, patients: AsyncCollection[Document]) -> None:
        try:
            await patients.find_one({"notes": {"text": "x"}})
        except OperationFailure as error:
            assert error.code == REFUSED  # noqa: PT017 - anything else is an error
        else:
            raise AssertionError("answered")
