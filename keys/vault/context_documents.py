"""The documents that keys of contexts are in Vault: where each lies, what is in it, and single steps with it.

    store                        {"format": 1}: these are keys of contexts, in this form; while they move to
                                 another store, or from one, "mark": {"kind", "other", "token"} too
    tags/CLASS/TT/TAG            {"row": the row of the context}, or {"row": null} once it was let in again
    ids/II/ID                    {"class_id", "tag"}: where the key of this id is; never changes
    former/CLASS/ID              {"row"}: a destroyed key whose context was let in again

CLASS is a class id; tags and ids are hexadecimal, and their first byte is a folder, since the engine lists
a folder whole. The key itself stands in one document only, so that one check-and-set makes, replaces or
destroys it. `ids` is written first. A writer that dies before the row leaves an id that leads to a row of
another id, or to none: no key was ever behind it, and a reader finds nothing.

Every function raises DamagedFile for a document that Sealwire did not write, or that somebody deleted.
"""

import base64
import binascii
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from hvac import Client

from sealwire.keys.contexts.store import TAG_BYTES, ContextRow, MarkKind, StoreMark, parse_moment
from sealwire.keys.errors import DamagedFile, KekUnavailable, KeySettingError, KeysReason
from sealwire.keys.keyring.record import format_time
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.vault.kv import VersionMoved, list_names, put_document, read_document, will_end

THREADS = 8
"""Fewer than the connections that the transport keeps."""

T = TypeVar("T")
R = TypeVar("R")


def at_once(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What `work` gives for each item, in their order. Raises the first error, and begins nothing after it.

    The threads are daemons: a server that never ends an answer does not keep the process from ending.
    """
    if len(items) < 2:
        return [work(item) for item in items]
    results: dict[int, R] = {}
    errors: list[BaseException] = []
    todo = iter(range(len(items)))
    lock = threading.Lock()

    def run() -> None:
        while not errors:
            with lock:
                index = next(todo, None)
            if index is None:
                return
            try:
                results[index] = work(items[index])
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                errors.append(error)

    threads = [
        threading.Thread(target=run, name="vault-part", daemon=True) for _ in range(min(THREADS, len(items)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(items))]


FINDING = "look for keys of contexts"
KEEPING = "keep keys of contexts"
SHARDS = 256
"""Folders that tags and ids are spread over, by their first byte."""
_ID_BYTES = 16
_FORMAT = 1
_FREE: Mapping[str, Any] = {"row": None}


# Which keys of contexts were destroyed, one after the other: what a running proxy reads to forget them.
#
#     destroyed/N    {"key_id", "version"}: the key of this id is to be destroyed; so far its document has
#                    this version
#
# N counts from 1 without a gap: a writer takes the number after the last one, by check-and-set, and
# whoever comes second takes the next. So the last number is found by halving, and what is new by reading
# on. No folder is listed.
#
# An entry is written before its key is destroyed, so that no destruction goes untold. Until that
# happened, or the row was changed otherwise, the entry is open: nobody is told, and no mark passes it.
# One whose writer died stays open until its context is shredded once more, or that is taken back. Until
# then everybody reads at every look what follows it.

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


class RowAt(NamedTuple):
    """What stands in the document of a context, and its version, which a change has to name."""

    row: ContextRow | None
    version: int


class MarkAt(NamedTuple):
    """The mark of a store, and the version of its document."""

    mark: StoreMark | None
    version: int


class ContextDocuments:
    """The documents of one store. Holds no connection: every method gets the client of an operation."""

    def __init__(self, place: VaultDocument) -> None:
        self.place = place
        """Above all documents."""

    def at(self, *parts: object) -> VaultDocument:
        """A place below the store's."""
        return VaultDocument(self.place.mount, "/".join([self.place.path, *map(str, parts)]))

    def of_tag(self, class_id: int, tag: bytes) -> VaultDocument:
        """Where the row of a context is."""
        return self.at("tags", class_id, tag[:1].hex(), tag[1:].hex())

    def of_id(self, key_id: bytes) -> VaultDocument:
        """Where it says where the key of an id is."""
        return self.at("ids", key_id[:1].hex(), key_id[1:].hex())

    def marked(self, client: Client) -> MarkAt:
        """The mark of the store's move; version 0 where no store is. Raises DamagedFile for another form."""
        fields, version = self.read(client, self.at("store"))
        if fields is None:
            return MarkAt(None, 0)
        try:
            mark = None
            if "mark" in fields:
                named = fields["mark"]
                mark = StoreMark(MarkKind(named["kind"]), str(named["other"]), str(named["token"]))
        except (KeyError, TypeError, ValueError):
            raise self._not_ours() from None
        if fields != _store_fields(mark):
            raise self._damaged("is not a store of context keys, or of a newer release")
        return MarkAt(mark, version)

    def put_mark(self, client: Client, mark: StoreMark | None, version: int) -> None:
        """Change it. Raises VersionMoved where the document has another version by now."""
        self.put(client, self.at("store"), _store_fields(mark), version)

    def make(self, client: Client) -> None:
        """Say that a store is here. May be repeated."""
        try:
            self.put_mark(client, None, 0)
        except VersionMoved:
            self.marked(client)

    def standing(self, client: Client, class_id: int, tag: bytes) -> RowAt:
        """The row of a context; none with the version that a first, or another, row has to name."""
        fields, version = self.read(client, self.of_tag(class_id, tag))
        if fields is None:
            return RowAt(None, 0)
        row = None if fields == _FREE else self._row(fields)
        if row is not None and (row.class_id, row.tag) != (class_id, tag):
            raise self._damaged("has the row of one context in the place of another")
        return RowAt(row, version)

    def standing_of_id(self, client: Client, key_id: bytes, class_id: int | None = None) -> RowAt:
        """The row of a key, if it has one; with a `class_id`, none of another. Cost: 2 or 3 requests."""
        fields, _ = self.read(client, self.of_id(key_id))
        if fields is None:
            return RowAt(None, 0)
        try:
            of_class, tag = uint32(fields["class_id"]), _bytes(fields["tag"], TAG_BYTES)
        except (KeyError, TypeError, ValueError):
            raise self._not_ours() from None
        if class_id not in {None, of_class}:
            return RowAt(None, 0)
        standing = self.standing(client, of_class, tag)
        if standing.row is not None and standing.row.key_id == key_id:
            return standing
        return RowAt(self.former(client, of_class, key_id), 0)

    def create(self, client: Client, row: ContextRow, tag: bytes) -> ContextRow | None:
        """Keep a row unless its context has one; the row that then stands, None where others write as well.

        May be repeated: a second time it finds its own. Cost: 2 requests
        """
        pointer = {"class_id": row.class_id, "tag": tag.hex()}
        try:
            self.put(client, self.of_id(row.key_id), pointer, 0)
        except VersionMoved:
            if self.read(client, self.of_id(row.key_id))[0] != pointer:
                raise self._damaged("has the id of a new key already") from None
        version = 0
        for _ in range(3):
            try:
                self.put(client, self.of_tag(row.class_id, tag), {"row": _fields(row)}, version)
                return row
            except VersionMoved:
                standing = self.standing(client, row.class_id, tag)
                if standing.row is not None:
                    return standing.row
                version = standing.version
        return None

    def adopt(self, client: Client, row: ContextRow) -> ContextRow | None:
        """Keep a row of another store; the row that then stands, None where others write as well.

        Who gave up its tag had one that is known no more: its id then leads to a tag that no context has.
        """
        if row.tag is not None:
            return self.create(client, row, row.tag)
        pointer = {"class_id": row.class_id, "tag": row.key_id.hex()}
        with suppress(VersionMoved):
            self.put(client, self.of_id(row.key_id), pointer, 0)
        self.put_former(client, row)
        return row

    def classes(self, client: Client) -> list[int]:
        """The ids of the classes that have any row, in rising order."""
        names = [
            name for folder in ("tags", "former") for name in list_names(client, self.at(folder), FINDING)
        ]
        try:
            return sorted({int(name.removesuffix("/")) for name in names})
        except ValueError:
            raise self._not_ours() from None

    def put_row(
        self, client: Client, class_id: int, tag: bytes, new: ContextRow | None, version: int
    ) -> None:
        """Change what stands for a context. Raises VersionMoved where it has another version by now."""
        fields = _FREE if new is None else {"row": _fields(new)}
        self.put(client, self.of_tag(class_id, tag), fields, version)

    def put_former(self, client: Client, row: ContextRow) -> None:
        """Keep a destroyed row that gives up its tag. May be repeated."""
        place = self.at("former", row.class_id, row.key_id.hex())
        try:
            self.put(client, place, {"row": _fields(row)}, 0)
        except VersionMoved:
            if self.former(client, row.class_id, row.key_id) != row:
                raise self._not_ours() from None

    def former(self, client: Client, class_id: int, key_id: bytes) -> ContextRow | None:
        """A destroyed row that gave up its tag."""
        fields, _ = self.read(client, self.at("former", class_id, key_id.hex()))
        return None if fields is None else self._row(fields)

    def listed(self, client: Client, *folder: object) -> list[bytes]:
        """The tags or ids in a folder, in rising order, without the byte that the folder is named by."""
        try:
            return [bytes.fromhex(name) for name in list_names(client, self.at(*folder), FINDING)]
        except ValueError:
            raise self._not_ours() from None

    def holds(self, fields: Any, wrapped: bytes) -> bool:
        """Whether a version of a context's document has this wrapped key, or may have."""
        if not isinstance(fields, Mapping):
            return True
        return fields != _FREE and self._row(fields).wrapped == wrapped

    def read(self, client: Client, place: VaultDocument) -> tuple[Mapping[str, Any] | None, int]:
        """Fields and version; None where nothing was ever written. Raises as `put` does, too."""
        held = read_document(client, place, FINDING)
        if held.fields is None and held.version == 0:
            return None, 0
        if not isinstance(held.fields, Mapping):
            raise self._damaged("has a document that somebody deleted")
        if held.ends:
            raise self._ends()
        return held.fields, held.version

    def put(self, client: Client, place: VaultDocument, fields: Mapping[str, Any], version: int) -> None:
        """Write a document. Raises VersionMoved; KeySettingError where the engine would delete it again."""
        if will_end(put_document(client, place, fields, version, KEEPING)):
            raise self._ends()

    def _row(self, fields: Mapping[str, Any]) -> ContextRow:
        try:
            row = fields["row"]
            tag, wrapped = row["tag"], row["wrapped"]
            after, destroyed = (
                None if row[each] is None else parse_moment(row[each])
                for each in ("shred_after", "destroyed")
            )
            made = ContextRow(
                _bytes(row["key_id"], _ID_BYTES),
                uint32(row["class_id"]),
                None if tag is None else _bytes(tag, TAG_BYTES),
                uint32(row["wrap_version"]),
                None if wrapped is None else base64.b64decode(wrapped, validate=True),
                parse_moment(row["created"]),
                after,
                destroyed,
            )
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise self._not_ours() from None
        if made.is_destroyed == (made.destroyed is None) or (made.tag is None and not made.is_destroyed):
            raise self._not_ours()
        return made

    def _ends(self) -> KeySettingError:
        return KeySettingError(
            KeysReason.VAULT_SETTING,
            f"the engine at {self.place.mount} deletes by itself what it keeps",
            "set its delete_version_after to 0s, and that of documents that were written before",
        )

    def _not_ours(self) -> DamagedFile:
        return self._damaged("has a document that Sealwire did not write")

    def _damaged(self, what: str) -> DamagedFile:
        hint = "undelete the document, or restore a snapshot of Vault's own"
        return DamagedFile(KeysReason.SCHEMA, f"{self.place} {what}", hint)


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


def _store_fields(mark: StoreMark | None) -> dict[str, Any]:
    """What the document says that a store is here, with its mark."""
    fields: dict[str, Any] = {"format": _FORMAT}
    if mark is None:
        return fields
    return fields | {"mark": {"kind": mark.kind.value, "other": mark.other, "token": mark.token}}


def _fields(row: ContextRow) -> dict[str, Any]:
    after, destroyed = (
        None if each is None else format_time(each) for each in (row.shred_after, row.destroyed)
    )
    return {
        "key_id": row.key_id.hex(),
        "class_id": row.class_id,
        "tag": None if row.tag is None else row.tag.hex(),
        "wrap_version": row.wrap_version,
        "wrapped": None if row.wrapped is None else base64.b64encode(row.wrapped).decode("ascii"),
        "created": format_time(row.created),
        "shred_after": after,
        "destroyed": destroyed,
    }


def _bytes(text: Any, length: int) -> bytes:
    """Raises ValueError, TypeError for what is not so many bytes in hexadecimal."""
    raw = bytes.fromhex(text)
    if len(raw) != length:
        raise ValueError("not of this length")
    return raw


def uint32(value: Any) -> int:
    """A whole number of four bytes. Raises ValueError for what is none."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
        raise ValueError("not a number of four bytes")
    return value
