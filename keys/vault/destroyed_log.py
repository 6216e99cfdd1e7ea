"""Which keys of contexts were destroyed, one after the other: what a running proxy reads to forget them.

    destroyed/N    {"key_id", "version"}: the key of this id is to be destroyed; so far its document has
                   this version

N counts from 1 without a gap: a writer takes the number after the last one, by check-and-set, and whoever
comes second takes the next. So the last number is found by halving, and what is new by reading on. No folder
is listed.

An entry is written before its key is destroyed, so that no destruction goes untold. Until that happened, or
the row was changed otherwise, the entry is open: nobody is told, and no mark passes it. One whose writer died
stays open until its context is shredded once more, or that is taken back. Until then everybody reads at
every look what follows it.
"""

from enum import Enum
from typing import NamedTuple

from hvac import Client

from sealwire.keys.errors import DamagedFile, KekUnavailable, KeysReason
from sealwire.keys.vault.at_once import at_once
from sealwire.keys.vault.context_documents import ContextDocuments, uint32
from sealwire.keys.vault.kv_document import VersionMoved

# So many destructions at once are under way at most, each of them for a few requests.
_OPEN_AT_MOST = 32
READ_AT_ONCE = 16
_ATTEMPTS = 20


class EntryState(Enum):
    """What became of an entry."""

    OPEN = "open"
    DESTROYED = "destroyed"
    DROPPED = "dropped"


class Told(NamedTuple):
    """An entry, as it is now."""

    number: int
    key_id: bytes
    state: EntryState


class DestroyedLog:
    """The log of one store. Every method gets the client of an operation, and raises DamagedFile."""

    def __init__(self, documents: ContextDocuments) -> None:
        self._documents = documents
        self._known = 0
        """A number that exists, or 0: where the search for the last one begins."""

    def append(self, client: Client, key_id: bytes, version: int) -> None:
        """Say that a key is about to be destroyed. Raises KekUnavailable where many others do so now."""
        entry = {"key_id": key_id.hex(), "version": version}
        number = self.last(client)
        for _ in range(_ATTEMPTS):
            number += 1
            try:
                self._documents.put(client, self._documents.at("destroyed", number), entry, 0)
            except VersionMoved:
                continue
            self._known = number
            return
        raise KekUnavailable(
            KeysReason.CONTEXTS, f"{self._documents.place}: many keys are destroyed just now", "try again"
        )

    def mark(self, client: Client) -> int:
        """The last number before which nothing is open. Cost: as `last`, and 140 requests at most."""
        last = self.last(client)
        numbers = range(max(1, last - _OPEN_AT_MOST + 1), last + 1)
        found = at_once(lambda number: self._judged(client, number), numbers)
        return next((each.number for each in found if each.state is EntryState.OPEN), last + 1) - 1

    def after(self, client: Client, number: int) -> list[Told]:
        """The next entries, 16 at most; none where `number` is the last.

        Cost: two requests where there is none, else 4 or 5 for each
        """
        if not self._exists(client, number + 1):
            if number and not self._exists(client, number):
                raise self._damaged("is older than it was, or its log was cut")
            return []
        looked_for = range(number + 1, number + 1 + READ_AT_ONCE)
        there = at_once(lambda each: self._exists(client, each), looked_for)
        return at_once(lambda each: self._judged(client, each), looked_for[: (*there, False).index(False)])

    def last(self, client: Client) -> int:
        """The last number; 0 where there is none. Cost: 2 log entries requests, fewer the next time."""
        step, there = 1, self._known
        while self._exists(client, there + step):
            there += step
            step *= 2
        while step > 1:
            step //= 2
            if self._exists(client, there + step):
                there += step
        self._known = there
        return there

    def _exists(self, client: Client, number: int) -> bool:
        return self._documents.read(client, self._documents.at("destroyed", number))[0] is not None

    def _judged(self, client: Client, number: int) -> Told:
        fields, _ = self._documents.read(client, self._documents.at("destroyed", number))
        try:
            if fields is None:
                raise ValueError("no entry")
            key_id, version = bytes.fromhex(fields["key_id"]), uint32(fields["version"])
        except (KeyError, TypeError, ValueError):
            raise self._damaged("has a log that Sealwire did not write") from None
        standing = self._documents.standing_of_id(client, key_id)
        state = EntryState.OPEN if standing.version == version else EntryState.DROPPED
        # Without a row, somebody has deleted it past Sealwire: who has it at hand is to forget it as well.
        if standing.row is None or standing.row.is_destroyed:
            state = EntryState.DESTROYED
        return Told(number, key_id, state)

    def _damaged(self, what: str) -> DamagedFile:
        hint = "restore the newest snapshot of Vault's own, then restart the proxies"
        return DamagedFile(KeysReason.SCHEMA, f"{self._documents.place} {what}", hint)
