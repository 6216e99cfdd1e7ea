"""Context keys in a KV engine of version 2, which all hosts of a deployment share.

One row is one document (`context_documents`), and check-and-set gives each context one key, whoever asks at
the same time. Requests of one call run eight at once, and a call is made for 64 rows at a time: each has the
deadline of the connection, and other users of the connection get their turn between.

A store that moves says so in one document, and the rows are others. So who made or found a row sees to it
afterwards that this document had no mark `_HEEDED_S` ago or later, by its own steady clock, and the mover
waits for longer than that: what is made until then is seen by the mover, and what comes later serves nobody.

The engine keeps older versions of a document. A destroyed key is destroyed in all of them, and a key that
was wrapped anew as well. Vault's snapshots and its storage's own log may hold them longer.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from typing import TypeVar

from hvac import Client

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.contexts import store
from sealwire.keys.errors import KekDenied, KekUnavailable, KeysError, KeySettingError, KeysReason
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.vault import kv
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.context_documents import (
    FINDING,
    KEEPING,
    READ_AT_ONCE,
    SHARDS,
    ContextDocuments,
    DestroyedLog,
    EntryState,
    Told,
    at_once,
)
from sealwire.keys.vault.settings import check_path

_AT_ONCE = 64
_REMEMBERED = 1000
_HEEDED_S = 5.0
_CLOSING_S = 15.0
_PAUSE_S = 1.0
"""After a time-out nobody asks for so long: who waits for a server that is silent would else wait in turn."""

T = TypeVar("T")
R = TypeVar("R")


class VaultContextStore(Unpicklable):
    """A `contexts.store.ContextStore` at a path of a KV engine."""

    def __init__(
        self,
        connection: VaultConnection,
        place: VaultDocument,
        *,
        create: bool = True,
        for_move: bool = False,
        may_be_away: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Looks whether a store is there, or makes one; `for_move`: for the mover, who knows the mark.

        With `may_be_away`, a server that does not answer is asked again by the first call that is made.
        Raises KeySettingError VAULT_SETTING, VAULT_PATH, and FILE_MISSING without `create`; DamagedFile,
        KekDenied, KekUnavailable CONTEXTS; and as `store.require_usable`.
        """
        check_path(f"{place.mount}/{place.path}", "the path of the store of context keys")
        self._connection = connection
        self._documents = ContextDocuments(place)
        self._log = DestroyedLog(self._documents)
        self._clock = clock
        self._silent_until = clock()
        self._replaced: OrderedDict[bytes, VaultDocument] = OrderedDict()
        """By the SHA-256 of a wrapped key that was replaced here: the document that had it."""
        self._create = create
        self._for_move = for_move
        self._heeded_until = clock()
        self._is_open = False
        try:
            self._open()
        except KekUnavailable as error:
            if not may_be_away:
                raise self._away(error) from None

    def __str__(self) -> str:
        return str(self._documents.place)

    def __repr__(self) -> str:
        return f"VaultContextStore({str(self)!r})"

    def find(self, class_id: int, tags: Sequence[bytes]) -> list[store.ContextRow]:
        """See `contexts.store.ContextStore`. Cost: a request a tag."""
        look = self._documents.standing
        found = self._each(FINDING, lambda client, tag: look(client, class_id, tag).row, tags)
        self._heed_mark()
        return [row for row in found if row is not None]

    def find_ids(self, key_ids: Sequence[bytes]) -> list[store.ContextRow]:
        """See `contexts.store.ContextStore`. Cost: two requests an id."""
        found = self._of_ids(key_ids, None)
        self._heed_mark()
        return found

    def create(self, rows: Sequence[store.ContextRow]) -> list[store.ContextRow]:
        """See `contexts.store.ContextStore`. Cost: two requests a row."""

        def keep(client: Client, row: store.ContextRow) -> store.ContextRow:
            made = self._documents.create(client, row, row.tag or b"")
            if made is None:
                text = f"{self}: others write the key of a context just now"
                raise KekUnavailable(KeysReason.CONTEXTS, text, "try again")
            return made

        self._heed_mark()
        made = list({row.key_id: row for row in self._each(KEEPING, keep, rows)}.values())
        self._heed_mark()
        return made

    def adopt(self, rows: Sequence[store.ContextRow]) -> list[store.ContextRow]:
        """See `contexts.store.ContextStore`. Cost: 4 requests a row, some more for a destroyed one."""
        documents = self._documents

        def keep(client: Client, row: store.ContextRow) -> store.ContextRow | None:
            there = documents.standing_of_id(client, row.key_id).row
            if there is not None:
                return there
            if row.is_destroyed:
                # before the row, so that none is destroyed untold; it may be told twice
                self._log.append(client, row.key_id, 0)
            return documents.adopt(client, row)

        kept = self._each(KEEPING, keep, [row for row in rows if not row.is_destroyed])
        for row in rows:
            if row.is_destroyed:
                # one at a time: each takes the next number of the log
                kept += self._each(KEEPING, keep, [row])
        given = {row.key_id: row for row in rows}
        return [row for row in kept if row is not None and row != given.get(row.key_id)]

    def replace(self, old: store.ContextRow, new: store.ContextRow) -> bool:
        """See `contexts.store.ContextStore`; the tag stays, or is given up by a destroyed row.

        Cost: 2 requests, another one where the key is wrapped anew, 5 and a search where it is destroyed
        """
        tag = old.tag
        self._heed_mark()
        if tag is None:
            # it gave up its tag: nothing about it changes any more
            return old == new and self.find_ids([old.key_id]) == [old]
        documents = self._documents
        standing = self._asked(FINDING, lambda client: documents.standing(client, old.class_id, tag))
        if standing.row != old:
            return False
        place = documents.of_tag(old.class_id, tag)
        if new.is_destroyed and not old.is_destroyed:
            self._asked(KEEPING, lambda client: kv.keep_newest_only(client, place))
            self._asked(FINDING, self._log.last)
            self._asked(KEEPING, lambda client: self._log.append(client, old.key_id, standing.version))
        if new.tag is None:
            self._asked(KEEPING, lambda client: documents.put_former(client, new))
        row = None if new.tag is None else new
        try:
            self._asked(
                KEEPING,
                lambda client: documents.put_row(client, old.class_id, tag, row, standing.version),
                repeatable=False,
            )
        except kv.VersionMoved:
            return False
        if old.wrapped is not None and new.wrapped != old.wrapped:
            self._asked(KEEPING, lambda client: kv.destroy_versions(client, place, standing.version))
            self._remember(old.wrapped, place)
        self._heed_mark()
        return True

    def destroyed_after(self, mark: int) -> tuple[int, list[bytes]]:
        """See `contexts.store.ContextStore`. Cost: as `DestroyedLog.after` and `mark` say."""
        if mark < 0:
            # the search has a deadline of its own
            self._asked(FINDING, self._log.last)
            return self._asked(FINDING, self._log.mark), []
        told: list[Told] = []
        last = mark
        while found := self._asked(FINDING, partial(self._log.after, number=last)):
            told += found
            last = found[-1].number
            if len(found) < READ_AT_ONCE:
                break
        destroyed = [each.key_id for each in told if each.state is EntryState.DESTROYED]
        return next((each.number - 1 for each in told if each.state is EntryState.OPEN), last), destroyed

    def classes(self) -> list[int]:
        """See `contexts.store.ContextStore`. Cost: two requests."""
        return self._asked(FINDING, self._documents.classes)

    def size(self) -> int:
        """See `contexts.store.ContextStore`. Cost: 256 requests."""
        return sum(len(names) for _, names in self._shards("ids"))

    def mark(self) -> store.StoreMark | None:
        """See `contexts.store.ContextStore`. Cost: a request."""
        return self._asked(FINDING, self._documents.marked).mark

    def set_mark(self, old: store.StoreMark | None, new: store.StoreMark | None) -> bool:
        """See `contexts.store.ContextStore`. Cost: two requests."""
        standing = self._asked(FINDING, self._documents.marked)
        if standing.mark != old:
            return False
        try:
            self._asked(
                KEEPING,
                lambda client: self._documents.put_mark(client, new, standing.version),
                repeatable=False,
            )
        except kv.VersionMoved:
            return False
        return True

    @property
    def closing_s(self) -> float:
        """See `contexts.store.ContextStore`: three times as long as anybody goes by what was read."""
        return _CLOSING_S

    def count(self, class_id: int) -> store.ContextCount:
        """See `contexts.store.ContextStore`. Cost: 256 requests, and one a row of the class."""
        live = announced = 0
        versions: dict[int, int] = {}
        destroyed = set(
            self._asked(FINDING, lambda client: self._documents.listed(client, "former", class_id))
        )
        for shard, names in self._shards("tags", class_id):
            for row in self.find(class_id, [bytes([shard]) + each for each in names]):
                if row.is_destroyed:
                    destroyed.add(row.key_id)
                    continue
                versions[row.wrap_version] = versions.get(row.wrap_version, 0) + 1
                if row.tag != store.CLASS_TAG:
                    live += 1
                    announced += row.shred_after is not None
        return store.ContextCount(live, announced, len(destroyed), dict(sorted(versions.items())))

    def rows(self, class_id: int, after: bytes, limit: int) -> list[store.ContextRow]:
        """See `contexts.store.ContextStore`. Cost: a request for each of 256 folders, 1 or 2 an id."""
        found: list[store.ContextRow] = []
        for shard, names in self._shards("ids", first=after[0] if after else 0):
            ids = [key_id for key_id in (bytes([shard]) + each for each in names) if key_id > after]
            for start in range(0, len(ids), _AT_ONCE):
                found += self._of_ids(ids[start : start + _AT_ONCE], class_id)
                if len(found) >= limit:
                    return found[:limit]
        return found

    def has_bytes(self, wrapped: bytes) -> bool | None:
        """See `contexts.store.ContextStore`: True where a version that is left has them.

        Never False: nobody can look into Vault's storage. Only what was replaced here is looked for.
        """
        place = self._replaced.get(sha256(wrapped).digest())
        if place is None:
            return None
        left = self._asked(FINDING, lambda client: kv.standing_versions(client, place, FINDING))
        return True if any(self._documents.holds(fields, wrapped) for fields in left) else None

    def close(self) -> None:
        """Nothing: the connection serves others."""

    def _heed_mark(self) -> None:
        """See the module. Raises KekUnavailable CONTEXTS. Cost: a request now and then."""
        if self._for_move or self._clock() < self._heeded_until:
            return
        asked_at = self._clock()
        mark = self.mark()
        if mark is not None:
            raise store.closed(str(self), mark)
        self._heeded_until = asked_at + _HEEDED_S

    def _of_ids(self, key_ids: Sequence[bytes], class_id: int | None) -> list[store.ContextRow]:
        """The rows of these ids, of one class or any, in their order."""
        look = self._documents.standing_of_id
        found = self._each(FINDING, lambda client, key_id: look(client, key_id, class_id).row, key_ids)
        return [row for row in found if row is not None]

    def _shards(self, *folder: object, first: int = 0) -> Iterator[tuple[int, list[bytes]]]:
        """Every folder that has anything, by its byte, with what is in it. Lists more of them at a time."""
        size = 1
        while first < SHARDS:
            shards = range(first, min(first + size, SHARDS))

            def listed(client: Client, shard: int) -> list[bytes]:
                return self._documents.listed(client, *folder, f"{shard:02x}")

            for shard, names in zip(shards, self._each(FINDING, listed, shards), strict=True):
                if names:
                    yield shard, names
            first, size = shards.stop, min(2 * size, _AT_ONCE)

    def _each(self, what: str, work: Callable[[Client, T], R], items: Sequence[T]) -> list[R]:
        """What `work` gives for each item, in order. It may be done twice."""
        done: list[R] = []
        for start in range(0, len(items), _AT_ONCE):
            part = items[start : start + _AT_ONCE]

            def operation(client: Client, part: Sequence[T] = part) -> list[R]:
                return at_once(lambda item: work(client, item), part)

            done += self._asked(what, operation)
        return done

    def _asked(self, what: str, operation: Callable[[Client], R], *, repeatable: bool = True) -> R:
        """What `VaultConnection.call` gives, with the errors of a store of context keys."""
        if self._clock() < self._silent_until:
            raise KekUnavailable(
                KeysReason.CONTEXTS,
                f"{self}: Vault did not answer a moment ago",
                "check the server and network",
            )
        try:
            if not self._is_open:
                self._open()
            return self._connection.call(what, operation, repeatable=repeatable)
        except (KekUnavailable, KekDenied, KeySettingError) as error:
            raise self._away(error) from None

    def _open(self) -> None:
        """See `__init__`; raises what the connection raises. May be done by several threads."""
        marked = self._connection.call(FINDING, self._documents.marked)
        if marked.version:
            if not self._for_move:
                store.require_usable(str(self), marked.mark)
        elif self._create:
            self._connection.call(KEEPING, self._documents.make)
        else:
            raise KeySettingError(
                KeysReason.FILE_MISSING, f"{self} does not exist", "give the store that keys.contexts names"
            )
        self._is_open = True

    def _away(self, error: KeysError) -> KekUnavailable:
        """What is raised for an error of the connection."""
        if error.reason is KeysReason.VAULT_SLOW:
            self._silent_until = self._clock() + _PAUSE_S
        if isinstance(error, KekUnavailable) and error.reason is KeysReason.CONTEXTS:
            return error
        return KekUnavailable(KeysReason.CONTEXTS, f"{self}: {error}", error.hint)

    def _remember(self, wrapped: bytes, place: VaultDocument) -> None:
        self._replaced[sha256(wrapped).digest()] = place
        if len(self._replaced) > _REMEMBERED:
            self._replaced.popitem(last=False)
