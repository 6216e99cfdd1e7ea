"""Gives the values of an open window their new form, all those of a document at once, until none is left."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import inf
from typing import Final, NamedTuple

from sealwire.crypto.envelope import BINARY_HEAD, binary
from sealwire.crypto.errors import UnsupportedValue
from sealwire.keys.frontier.frontier import (
    AFTER_ALL,
    BEFORE_ALL,
    ClassVersion,
    Window,
    position_of,
    position_of_plaintext,
)
from sealwire.keys.frontier.record import IN_FLIGHT_S
from sealwire.policies.file.ranges import RangeDomain
from sealwire.policies.file.schema import PER_DATABASE, FieldClass, ValueType
from sealwire.sidecars.direct import identity_of
from sealwire.sidecars.migration.contexts import JobContexts, ValueSpot
from sealwire.sidecars.migration.engine import Stuck
from sealwire.sidecars.migration.forms import (
    ContextCiphers,
    Form,
    InCollection,
    Left,
    NewForm,
    class_value,
    header_of,
    opened_or_left,
)
from sealwire.sidecars.migration.job import LeftValue, Tally
from sealwire.sidecars.migration.server import Patch, Problem, chunks, patch_of
from sealwire.sidecars.migration.windows.order import ClassPaths, EnvelopeOrder, Order
from sealwire.sidecars.migration.windows.plaintext import PlaintextOrder
from sealwire.sidecars.migration.windows.server import Values, batches
from sealwire.sidecars.migration.windows.strays import Strays
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError

_steady = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""A BSON Binary is an int32 length and the subtype, then the content."""
WHOLE: Final = Window(BEFORE_ALL, AFTER_ALL)
_PASSES: Final = 16
"""How often a window is searched: nobody writes an old form there meanwhile, so that two are enough."""


_PASSES_OF_CONTEXTS: Final = 256
"""The same where an array is compared as a whole: others of its elements may be written."""


class Versions(NamedTuple):
    """Between which versions a class moves; one of them at most is plaintext."""

    old: ClassVersion
    new: ClassVersion
    value_type: ValueType
    """That of the class."""
    domain: RangeDomain | None = None
    """The grid of the class, if it has one."""
    class_name: str = ""
    per: bytes | None = None
    """What its contexts depend on, where each has a key, which the form has that is no plaintext."""
    strays: Strays | None = None
    """Values that earlier versions have left behind; None: they are not looked for."""

    @classmethod
    def of_class(
        cls, old: ClassVersion, new: ClassVersion, field_class: FieldClass, strays: Strays | None = None
    ) -> "Versions":
        """Those of a deterministic class. Raises ValueError for another one, which declares no type."""
        if field_class.value_type is None:
            raise ValueError("a deterministic class declares a type")
        name, per = field_class.name, field_class.per
        return cls(old, new, field_class.value_type, field_class.domain, name, per, strays)

    @property
    def is_repair(self) -> bool:
        """Whether both are one: only what earlier versions have left behind gets another form."""
        return self.old == self.new

    @property
    def fields(self) -> dict[str, bytes]:
        """As `patch_of` takes them: what a document has to say still when its values get their new form.

        An envelope says by itself which context's it is.
        """
        is_said = (self.old.is_plaintext or self.is_repair) and not self.new.is_plaintext
        is_said = is_said and self.per not in (None, PER_DATABASE)
        return {self.class_name: self.per} if is_said and self.per is not None else {}

    def order(self, version: ClassVersion) -> Order:
        """The order of the forms that one of them makes."""
        if version.is_plaintext:
            return PlaintextOrder(self.value_type, self.domain)
        if self.per is not None:
            return EnvelopeOrder.of_contexts(version.cipher.class_id)
        return EnvelopeOrder.of(version.cipher)


NO_VALUE: Final = frozenset({Left.WRONG_TYPE, Left.NO_CONTEXT})
"""Why what lies in clear is no value of its class, though nothing is wrong with its bytes."""
_STAY: Final = NO_VALUE | {Left.DAMAGED, Left.DESTROYED_KEY, Left.RETIRED_KEY}
"""Why a value may stay as it is: the frontier says nothing of it, or nobody may ask for it any more."""
_DUPLICATE_KEY: Final = 11000


def swept_forms(versions: Versions, within: ContextCiphers | None = None) -> NewForm:
    """The new form of all that a class has, also of what other versions have left behind; as `new_forms`."""
    strays = versions.strays
    choose = _nothing if versions.is_repair else new_forms(versions, WHOLE, within)
    if strays is None:
        return choose

    def choose_any(kind: int, value: bytes, spot: ValueSpot) -> Form | Left | None:
        if not strays.holds(kind, value):
            return choose(kind, value, spot)
        inside = strays.opened(kind, value, within)
        return inside if isinstance(inside, Left) else _stored(versions, inside, spot, within)

    return choose_any


def _nothing(_kind: int, _value: bytes, _spot: ValueSpot) -> None:
    """All stays as it is."""


def _stored(versions: Versions, inside: Form, spot: ValueSpot, within: ContextCiphers | None) -> Form | Left:
    """The new form of a value, under the key of its context if it has one."""
    try:
        if within is None or versions.new.is_plaintext:
            return versions.new.stored(*inside)
        cipher = within.cipher_at(spot)
        if isinstance(cipher, Left):
            return cipher
        return kinds.BIN_DATA, binary(cipher.encrypt_deterministically(*inside))
    except UnsupportedValue:
        return Left.TOO_LARGE


def new_forms(versions: Versions, window: Window, within: ContextCiphers | None = None) -> NewForm:
    """The new form of what stands in the window; all else stays. Cost of a call: one opening, one sealing.

    `within` a collection, where the class has a key for each context. WRONG_TYPE is what lies in clear where
    the class does, and is no value of it: it stands in no window.
    """
    if versions.old.is_plaintext:
        return _from_plaintext(versions, window, within)
    old, new, order = versions.old.cipher, versions.new, versions.order(versions.old)

    def choose(kind: int, value: bytes, _spot: ValueSpot) -> Form | Left | None:
        if order.place(kind, value) is None:
            return None
        envelope = value[BINARY_HEAD:]
        if not window.holds(position_of(envelope)):
            return None
        inside = opened_or_left(lambda: old.decrypt(envelope)) if within is None else within.opened(value)
        return inside if isinstance(inside, Left) else new.stored(*inside)

    return choose


def _from_plaintext(versions: Versions, window: Window, within: ContextCiphers | None) -> NewForm:
    value_type = versions.value_type

    def choose(kind: int, value: bytes, spot: ValueSpot) -> Form | Left | None:
        header = header_of(kind, value)
        if header is not None:
            return header if isinstance(header, Left) else None
        found = class_value(kind, value, value_type, versions.domain)
        if found is None:
            return Left.WRONG_TYPE
        if not window.holds(position_of_plaintext(value_type.kind, found)):
            return None
        return _stored(versions, (value_type.kind, found), spot, within)

    return choose


class WindowMover:
    """Moves the values of one window. Every method may be repeated: what is moved is found no more."""

    def __init__(
        self,
        values: Values,
        versions: Versions,
        window: Window,
        contexts: JobContexts | None = None,
        clock: Callable[[], float] = _steady,
    ) -> None:
        """`contexts`: their keys, if the class has one for each. `clock` goes on while a machine sleeps."""
        self.tally = Tally()
        self._values = values
        self._versions = versions
        self._window = window
        self._contexts = contexts
        self._ranges = tuple(versions.order(versions.old).ranges(window.start, window.end))
        self._prepared: dict[str, list[Patch]] = {}
        self._clock = clock
        self._confirm: Callable[[], None] = lambda: None
        self._confirmed_at = -inf
        self._is_sweep = False
        self._stays = _STAY if versions.per is not None else _STAY | {Left.UNKNOWN_KEY}
        """An envelope of a context whose key is nowhere would be missed."""

    def prepare(self, places: Iterable[ClassPaths], documents: Mapping[str, Sequence[bytes]]) -> None:
        """Make the updates of documents that are known, before the window is opened. Raises Stuck."""
        for where in places:
            self._prepared[where.namespace] = self._patches(where, documents.get(where.namespace, ()))

    def begin(self) -> None:
        """The frontier is about to be written, which confirms it as well."""
        self._confirmed_at = self._clock()

    def move(self, confirm: Callable[[], None]) -> None:
        """Move all of an open window that every proxy has let go; `confirm` is `Frontiers.confirm`.

        No update is sent more than IN_FLIGHT_S after that: this process may have been stopped meanwhile.
        Raises:  Stuck, JobTaken, Unavailable, and what the driver raises
        """
        self._confirm = confirm
        for namespace, patches in self._prepared.items():
            self._send(namespace, patches)
        for _ in self._until_none_is_left(self._found):
            pass

    def sweep(self, confirm: Callable[[], None]) -> Iterator[int]:
        """The same by reading all documents of all collections, also for what earlier versions left behind.

        It goes on while it is asked for more, and says of each batch how many documents it was. A document
        that a unique index keeps from its new form is left and named. Raises as `move`.
        """
        self._is_sweep = True
        self._confirm = confirm
        yield from self._until_none_is_left(lambda where: [self._values.all(where.namespace)])

    def _until_none_is_left(self, read: Callable[[ClassPaths], Iterable[Iterator[bytes]]]) -> Iterator[int]:
        for _ in range(_PASSES_OF_CONTEXTS if self._versions.fields else _PASSES):
            self._confirm_now()
            self.tally.left.clear()
            self.tally.reported.clear()
            found = 0
            for where in self._values.places():
                for each in read(where):
                    found += yield from self._pass(where, each)
            if not found:
                return
        raise Stuck([LeftValue("", "", b"", Left.CONTENDED)])

    def _confirm_now(self) -> None:
        began = self._clock()
        self._confirm()
        self._confirmed_at = began

    def _found(self, where: ClassPaths) -> Iterator[Iterator[bytes]]:
        for path in where.paths:
            for within in self._ranges:
                yield self._values.between(where.namespace, path, within)

    def _pass(self, where: ClassPaths, documents: Iterator[bytes]) -> Generator[int, None, int]:
        """The size of each batch; at last, how many documents had something to move, and were not left."""
        count = 0
        for batch in batches(documents):
            patches = self._patches(where, batch)
            refused = self._send(where.namespace, patches)
            count += len(patches) - (self._leave_refused(where, batch, refused) if refused else 0)
            yield len(batch)
        return count

    def _patches(self, where: ClassPaths, raws: Sequence[bytes]) -> list[Patch]:
        patches: dict[bytes, Patch] = {}
        stuck: list[LeftValue] = []
        choose = self._choice(where, raws)
        for raw in raws:
            patch = self._patch(where, raw, choose)
            if patch.update:
                patches[patch.identity] = patch
            for each in patch.problems:
                left = LeftValue(where.namespace, each.path, patch.identity, each.why)
                if each.why in self._stays or self._versions.is_repair:
                    self.tally.leave(left)
                else:
                    stuck.append(left)
        if stuck:
            raise Stuck(stuck)
        return list(patches.values())

    def _choice(self, where: ClassPaths, raws: Sequence[bytes]) -> NewForm:
        within = self._within(where, raws)
        if self._is_sweep:
            return swept_forms(self._versions, within)
        return new_forms(self._versions, self._window, within)

    def _within(self, where: ClassPaths, raws: Sequence[bytes]) -> InCollection | None:
        """With the keys of all contexts of these documents; new ones are made for plaintext, in one write."""
        if self._contexts is None:
            return None
        if not self._versions.new.is_plaintext:
            self._contexts.prepare(where.namespace, raws, self._versions.class_name)
        else:
            self._contexts.prepare_opening(raws, where.tree)
        return InCollection(self._contexts, where.namespace)

    def _patch(self, where: ClassPaths, raw: bytes, choose: NewForm) -> Patch:
        try:
            return patch_of(raw, where.tree, choose, self._versions.fields)
        except BsonError:
            return Patch(identity_of(raw), b"", 0, (Problem("", Left.DAMAGED),))

    def _send(self, namespace: str, patches: Sequence[Patch]) -> list[tuple[Patch, int]]:
        """Those that the server refused and that may be left, with its codes. Raises Stuck for others.

        One whose document was changed since it was read does nothing; the next pass finds what is left.
        """
        refused: list[tuple[Patch, int]] = []
        for chunk in chunks(patches):
            if self._clock() - self._confirmed_at > IN_FLIGHT_S:
                self._confirm_now()
            written = self._values.update(namespace, [patch.update for patch in chunk])
            errors = [(chunk[index], code) for index, code in written.errors]
            stuck = [each for each in errors if not self._may_be_refused(each[1])]
            if stuck:
                raise Stuck(
                    [LeftValue(namespace, "", patch.identity, Left.SERVER, code) for patch, code in stuck]
                )
            refused += errors
            self.tally.documents += written.matched
            self.tally.values += sum(patch.values for patch in chunk) * written.matched // len(chunk)
            self.tally.races += len(chunk) - written.matched - len(errors)
        return refused

    def _may_be_refused(self, code: int) -> bool:
        return self._is_sweep and (code == _DUPLICATE_KEY or self._versions.is_repair)

    def _leave_refused(
        self, where: ClassPaths, raws: Sequence[bytes], refused: Sequence[tuple[Patch, int]]
    ) -> int:
        """Try the paths of these documents one by one, and name those that stay; how many have any."""
        found = {identity_of(raw): raw for raw in raws}
        choose = self._choice(where, [found[patch.identity] for patch, _ in refused])
        count = 0
        for patch, code in refused:
            staying = [(path, code) for path in patch.paths]
            if len(patch.paths) > 1:
                raw = found[patch.identity]
                single = [(path, self._patch(where, raw, _only(path, choose))) for path in patch.paths]
                staying = [
                    (path, again)
                    for path, one in single
                    if one.update
                    for _, again in self._send(where.namespace, [one])
                ]
            for path, why in staying:
                self.tally.leave(LeftValue(where.namespace, path, patch.identity, Left.SERVER, why))
            count += bool(staying)
        return count


def _only(path: str, choose: NewForm) -> NewForm:
    """The same for the values of one path."""
    return lambda kind, value, spot: choose(kind, value, spot) if spot.path == path else None
