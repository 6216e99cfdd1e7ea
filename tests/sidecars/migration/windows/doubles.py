"""A server in memory whose ranges are real ones, a frontier with proxies that follow, a class of two keys."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import bson
from bson.binary import Binary
from bson.decimal128 import Decimal128

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import HEADER_BYTES, SUBTYPE
from sealwire.keys.frontier.frontier import ClassVersion, Form, Frontier, StoredForm
from sealwire.keys.frontier.record import Lease, frontier_document, parse_frontier
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, PolicySet, ValueType
from sealwire.sidecars.errors import JobTaken, MigrationReason, Unusable
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.server import Written
from sealwire.sidecars.migration.windows.moving import Versions
from sealwire.sidecars.migration.windows.order import ClassPaths, Range, class_paths, moves_of_paths
from sealwire.wire import kinds
from sealwire.wire.raw_bson import enclosed
from tests.keys.samples import NOW
from tests.sidecars.migration.doubles import Fate, MemoryServer

Document = dict[str, Any]

CLASS_ID = 7
NHS = "nhs_number"
PATIENTS, VISITS = "clinic.patients", "clinic.visits"
OLD = ValueCipher(bytes(range(64)), CLASS_ID, 1)
NEW = ValueCipher(bytes(range(64, 128)), CLASS_ID, 2)
VERSIONS = Versions(ClassVersion(OLD), ClassVersion(NEW), ValueType.STRING)
ENCRYPTING = Versions(ClassVersion(OLD, is_plaintext=True), ClassVersion(NEW), ValueType.STRING)
DECRYPTING = Versions(ClassVersion(OLD), ClassVersion(NEW, is_plaintext=True), ValueType.STRING)

# The keys of another class, as versions of this one: their envelopes name the other class.
LENDER_ID = 99
BORROWED_OLD = ValueCipher(bytes(range(64)), CLASS_ID, 1, (LENDER_ID, 5))
BORROWED_NEW = ValueCipher(bytes(range(64, 128)), CLASS_ID, 2, (LENDER_ID, 6))
JOINING = Versions(ClassVersion(OLD, is_plaintext=True), ClassVersion(BORROWED_NEW), ValueType.STRING)
REJOINING = Versions(ClassVersion(OLD), ClassVersion(BORROWED_NEW), ValueType.STRING)
LEAVING = Versions(ClassVersion(BORROWED_OLD), ClassVersion(NEW, is_plaintext=True), ValueType.STRING)
PARTING = Versions(ClassVersion(BORROWED_OLD), ClassVersion(NEW), ValueType.STRING)
_BY_HEADER = {**OLD.by_header, **NEW.by_header, **BORROWED_OLD.by_header, **BORROWED_NEW.by_header}

_FIELD = FieldClass(NHS, Mode.DETERMINISTIC, ValueType.STRING)
_OTHER = FieldClass("other", Mode.DETERMINISTIC, ValueType.STRING)


def _leaf(path: str, field_class: FieldClass = _FIELD) -> PathNode:
    return PathNode(path, leaf=field_class)


POLICIES = PolicySet(
    {NHS: _FIELD, "other": _OTHER},
    {
        PATIENTS: PathNode(
            "",
            {
                b"nhs": _leaf("nhs"),
                b"kin": PathNode("kin", {b"nhs": _leaf("kin.nhs")}),
                b"o": _leaf("o", _OTHER),
            },
        ),
        VISITS: PathNode("", {b"who": _leaf("who")}),
    },
)
PLACES = class_paths(POLICIES, [PATIENTS, VISITS], NHS)


def sealed(value: str, cipher: ValueCipher = OLD) -> Binary:
    """The form of a text under a key."""
    inside = bson.encode({"v": value})[7:-1]
    return Binary(cipher.encrypt_deterministically(kinds.STRING, inside), SUBTYPE)


def opened(value: Any) -> Any:
    """What envelopes hold, in a whole document."""
    if isinstance(value, Binary) and value.subtype == SUBTYPE:
        inside = _BY_HEADER[bytes(value[:HEADER_BYTES])].open(value, 0, len(value))
        return inside[4:-1].decode()
    if isinstance(value, dict):
        return {name: opened(each) for name, each in value.items()}
    if isinstance(value, list):
        return [opened(each) for each in value]
    return value


def envelopes(value: Any) -> Iterator[Binary]:
    """All envelopes of a document."""
    if isinstance(value, Binary) and value.subtype == SUBTYPE:
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from envelopes(each)


def job(versions: Versions = VERSIONS, wrong_type: WrongType = WrongType.SKIP) -> Job:
    moves = moves_of_paths(PLACES, NHS)
    direction = Direction.REENCRYPT
    if versions.old.is_plaintext or versions.new.is_plaintext:
        direction = Direction.ENCRYPT if versions.old.is_plaintext else Direction.DECRYPT
    return Job("job-1", direction, wrong_type, moves, (), NOW, NOW)


def reached(document: Any, path: str) -> Iterator[Any]:
    """What `{path: value}` compares with: through one array a step, and the elements of a last one."""
    name, _, rest = path.partition(".")
    for holder in document if isinstance(document, list) else [document]:
        if isinstance(holder, dict) and name in holder:
            value = holder[name]
            if rest:
                yield from reached(value, rest)
            else:
                yield from value if isinstance(value, list) else [value]


def form_of(value: Any) -> StoredForm | None:
    """A value as it is stored; None for one that never is in a range."""
    if isinstance(value, dict | list) or value is None:
        return None
    raw = bson.encode({"v": value})
    return StoredForm(raw[4], raw[7:-1])


def compared(form: StoredForm, by_bytes: bool) -> Any:
    """As the server compares values of types that compare."""
    if form.kind == kinds.BIN_DATA:
        length, subtype, content = form.data[3::-1], form.data[4], form.data[5:]
        return content if by_bytes else (length, subtype, content)
    if form.kind in (kinds.STRING, kinds.SYMBOL):
        return form.data[4:-1]
    value = bson.decode(enclosed(b"%cv\0%b" % (form.kind, form.data)))["v"]
    return value.to_decimal() if isinstance(value, Decimal128) else value


@lru_cache(maxsize=4096)
def _keys(raw: bytes, path: str, types: frozenset[int], by_bytes: bool) -> tuple[Any, ...]:
    """What an index of the path has for a document. Each is asked for hundreds of times in a move."""
    forms = (form_of(each) for each in reached(bson.decode(raw), path))
    return tuple(compared(each, by_bytes) for each in forms if each is not None and each.kind in types)


class MemoryValues:
    """Collections whose ranges are in the order of MongoDB, or with `by_bytes` in that of the bytes alone."""

    def __init__(
        self,
        documents: Mapping[str, Sequence[Document]],
        fate: Fate,
        *,
        by_bytes: bool = False,
        is_sorted: bool = True,
    ) -> None:
        self.servers = {name: MemoryServer(each, fate) for name, each in documents.items()}
        self.fate = fate
        self.indexes: set[tuple[str, str]] = set()
        self._by_bytes = by_bytes
        self._is_sorted = is_sorted

    def documents(self) -> dict[str, list[Document]]:
        return {name: each.documents for name, each in self.servers.items()}

    def places(self) -> list[ClassPaths]:
        return [each for each in PLACES if each.namespace in self.servers]

    def index(self, places: Sequence[ClassPaths]) -> None:
        self.fate.step()
        self.indexes |= {(each.namespace, path) for each in places for path in each.paths}

    def walked(self, places: Sequence[ClassPaths]) -> frozenset[bytes]:
        return frozenset({b"ward"})

    def unindex(self) -> None:
        self.fate.step()
        self.indexes.clear()

    def between(self, namespace: str, path: str, within: Range) -> Iterator[bytes]:
        low, last, behind = (None if each is None else compared(each, self._by_bytes) for each in within[1:])
        types = frozenset(within.types)
        found = []
        for raw in self.servers[namespace].raws.values():
            keys = _keys(raw, path, types, self._by_bytes)
            above = [key for key in keys if low is None or key >= low]
            # both bounds may be met by different elements, as in MongoDB
            below = [key for key in keys if last is None or key <= last]
            below = below if last is not None or behind is None else [key for key in keys if key < behind]
            if above and below:
                found.append((min(above), raw))
        if self._is_sorted:
            found.sort()
        for _, raw in found:
            yield raw

    def all(self, namespace: str) -> Iterator[bytes]:
        yield from list(self.servers[namespace].raws.values())

    def update(self, namespace: str, updates: Sequence[bytes]) -> Written:
        return self.servers[namespace].update(namespace, updates)


@dataclass
class FollowingProxy:
    """Lets a window go at its n-th look, as a proxy does whose uses of the values end some time."""

    name: str
    slowness: int = 1
    stands: bool = True
    acknowledged: dict[int, int] = field(default_factory=dict)
    place: str = ""
    renewed: datetime | None = None
    """When its lease was renewed for the last time; None: now."""
    _looks: int = 0

    def look(self, frontier: Frontier) -> None:
        self._looks += 1
        if self._looks % self.slowness == 0:
            self.acknowledged = {frontier.class_id: frontier.generation}


class HoldingProxy(FollowingProxy):
    """Holds windows up for a number of looks in a row, as a cursor does that is not read on."""

    def look(self, frontier: Frontier) -> None:
        self.slowness -= 1
        if self.slowness <= 0 or frontier.window.is_empty:
            self.acknowledged = {frontier.class_id: frontier.generation}


_FIRST = Frontier(CLASS_ID, 1, 2)


class MemoryFrontiers:
    """The frontier as a document, and proxies that look at it whenever the job looks at their leases.

    It sees to it that no move begins that they do not know of, and no window that they have not let go.
    """

    def __init__(self, fate: Fate, proxies: Sequence[FollowingProxy] = ()) -> None:
        self.document: Document | None = None
        self.fate = fate
        self.proxies = list(proxies)
        self.history: list[Frontier] = []
        self.cancelled_after = 10**9
        """How many times the key is found pending."""
        self.missing: Iterator[float] = iter(())
        """For how long a lost lease may matter, at each look."""
        self.missing_asked = 0
        self.counted: list[tuple[str, ...]] = []
        """The addresses of each count that was complete."""

    @property
    def frontier(self) -> Frontier | None:
        return None if self.document is None else parse_frontier(self.document, NEW)

    def load(self) -> Frontier | None:
        return self.frontier

    def expect_pending(self) -> None:
        self.cancelled_after -= 1
        if self.cancelled_after < 0:
            raise Unusable(MigrationReason.NOTHING, "cancelled")

    def begin(self) -> Frontier:
        self.fate.step()
        if self.document is not None:
            raise JobTaken(MigrationReason.TAKEN, "another process")
        assert all(each.acknowledged.get(CLASS_ID) == 1 for each in self.proxies if each.stands)
        return self._store(_FIRST)

    def save(self, frontier: Frontier) -> None:
        self.fate.step()
        present = self.frontier
        if present is None or present.generation != frontier.generation - 1:
            raise JobTaken(MigrationReason.TAKEN, "another process")
        assert not frontier.is_moving or self._are_all_let_go(present)
        self._store(frontier)

    def confirm(self, frontier: Frontier) -> None:
        self.fate.step()
        if self.frontier != frontier:
            raise JobTaken(MigrationReason.TAKEN, "another process")

    def place(self) -> str:
        return "ab" * 16

    def missing_s(self, counted: Sequence[str] | None = None, /) -> float:
        self.missing_asked += 1
        if counted is not None:
            assert self.frontier is None or not self.frontier.has_begun
            self.counted.append(tuple(counted))
        return next(self.missing, 0.0)

    def leases(self) -> list[Lease]:
        for proxy in self.proxies:
            proxy.look(self.frontier or _FIRST)
        now = datetime.now(UTC)
        return [
            Lease(each.name, each.renewed or now, now, dict(each.acknowledged), {}, each.place)
            for each in self.proxies
            if each.stands
        ]

    def _are_all_let_go(self, frontier: Frontier) -> bool:
        told = [each.acknowledged.get(CLASS_ID, 0) for each in self.proxies if each.stands]
        return all(each >= frontier.generation for each in told)

    def _store(self, frontier: Frontier) -> Frontier:
        self.document = frontier_document(frontier, NEW)
        self.history.append(frontier)
        return frontier


def check_forms(
    frontier: Frontier | None, documents: dict[str, list[Document]], versions: Versions = VERSIONS
) -> None:
    """See that each value has the form that the frontier says, as every proxy relies on it."""
    for name, found in documents.items():
        for each in found:
            for value in texts_of([each.get("nhs"), each.get("kin"), each.get("who")]):
                inside = bson.encode({"v": opened(value)})[7:-1]
                position = versions.old.position(kinds.STRING, inside)
                form = Form.OLD if frontier is None else frontier.form(position)
                stored = form_of(value)
                is_new = stored == versions.new.stored(kinds.STRING, inside)
                assert is_new or stored == versions.old.stored(kinds.STRING, inside)
                assert form is Form.MOVING or is_new == (form is Form.NEW), (name, form)


def texts_of(value: Any) -> Iterator[Any]:
    """All envelopes and strings of a document."""
    if isinstance(value, str) or (isinstance(value, Binary) and value.subtype == SUBTYPE):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_of(each)
