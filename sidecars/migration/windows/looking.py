"""Looks at what a class has: before anything moves, and to repair what other versions have left behind."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import KEY_BYTES, KEY_ID_BYTES, MAX_ID, EnvelopeHeader
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.direct import identity_of
from sealwire.sidecars.migration.contexts import JobContexts, ValueSpot, context_at, spot_of
from sealwire.sidecars.migration.engine import Engine, Pace, StepTaken
from sealwire.sidecars.migration.forms import ContextCiphers, Form, InCollection, Left, header_of
from sealwire.sidecars.migration.job import MAX_REPORTED, Job, LeftValue, Standing, Tally, now, short
from sealwire.sidecars.migration.ledger import Notes
from sealwire.sidecars.migration.server import Problem, patch_of
from sealwire.sidecars.migration.windows.moving import WHOLE, Versions, WindowMover, swept_forms
from sealwire.sidecars.migration.windows.order import ClassPaths
from sealwire.sidecars.migration.windows.server import Values
from sealwire.wire.errors import BsonError

_LARGE: Final = 256 << 10
"""The update of a smaller document passes what a server takes only if its paths have hundreds of bytes."""


class Seen(NamedTuple):
    """The versions that a document has values of, or that one value is of."""

    has_old: bool = False
    has_new: bool = False
    problems: tuple[Problem, ...] = ()
    """Values that need a new form and cannot be given one, and those that are none of the class; where the
    class is to be in clear, those that are so already."""


_NOTHING: Final = Seen()


class _StandIn:
    """A key that nobody has, for forms of the right size: none is made in a store before anything moves."""

    def cipher_at(self, _spot: ValueSpot) -> ContextCipher:
        return ContextCipher(os.urandom(KEY_BYTES), MAX_ID, os.urandom(KEY_ID_BYTES))

    def opened(self, _value: bytes) -> Form | Left:
        """As `ContextCiphers`. It opens nothing."""
        return Left.UNKNOWN_KEY


def _ciphers(versions: Versions, contexts: JobContexts | None) -> ContextCiphers | None:
    """Raises ValueError where nothing opens the envelopes of contexts."""
    if versions.per is None:
        return None
    if not versions.new.is_plaintext:
        return _StandIn()
    if contexts is None:
        raise ValueError("a class with a key for each context, and no store of them")
    return InCollection(contexts, "")


class FirstLook:
    """Looks at the documents of one class."""

    def __init__(self, versions: Versions, contexts: JobContexts | None = None) -> None:
        """`contexts`: what opens the envelopes of a class that has a key for each."""
        self._per = versions.per
        self._class_id = versions.new.cipher.class_id
        self._old, self._new = versions.order(versions.old), versions.order(versions.new)
        self._within = _ciphers(versions, contexts)
        self._choose = swept_forms(versions, self._within)
        self._fields = versions.fields
        self._strays = versions.strays
        self._is_repair = versions.is_repair
        self._is_typed = versions.old.is_plaintext
        self._is_to_be_clear = versions.new.is_plaintext
        self._is_single = versions.old.is_plaintext and versions.domain is not None
        """Whether paths hold single values: of an array, a range over ciphertexts means something else."""

    def at(self, raw: bytes, where: ClassPaths) -> Seen:
        """What a document has at the class's paths.

        Raises BsonError. Cost: O(bytes); of a large document, one encryption for each value
        """
        strays = self._strays
        if not (
            self._old.may_be_in(raw)
            or self._new.may_be_in(raw)
            or (strays is not None and strays.may_be_in(raw))
        ):
            return _NOTHING
        has_old = has_new = False
        problems: dict[Problem, None] = {}
        walk = StoredValues(raw, where.tree)
        while walk.next_value():
            found = self._look(walk, raw, where.namespace)
            has_old |= found.has_old
            has_new |= found.has_new
            problems |= dict.fromkeys(found.problems)
        if has_old and len(raw) >= _LARGE:
            patch = patch_of(raw, where.tree, self._choose, self._fields)
            problems |= {each: None for each in patch.problems if each.why is Left.TOO_LARGE}
        return Seen(has_old, has_new, tuple(problems))

    def _look(self, walk: StoredValues, raw: bytes, namespace: str) -> Seen:
        """At the value at which the walk is."""
        kind, value = walk.kind, raw[walk.value : walk.end]
        is_old = is_new = False
        why: Left | None = None
        if self._strays is not None and self._strays.holds(kind, value):
            # the last sweep moves it, and needs no search to find it
            is_old, why = True, None if walk.is_addressable() else Left.NOT_ADDRESSABLE
        elif self._is_repair:
            return _NOTHING
        elif self._old.place(kind, value) is not None:
            is_old, why = True, self._why_old_stays(walk, raw, namespace)
        elif (is_of_class_key := self._is_of_class_key(kind, value)) and self._is_to_be_clear:
            why = Left.OTHER_CLASS
        elif self._new.place(kind, value) is not None or is_of_class_key:
            is_new, why = True, Left.IN_CLEAR if self._is_to_be_clear else None
        elif self._is_typed and self._choose(kind, value, spot_of(walk, raw)) is Left.WRONG_TYPE:
            why = Left.WRONG_TYPE
        return Seen(is_old, is_new, () if why is None else (Problem(walk.node.path, why),))

    def _why_old_stays(self, walk: StoredValues, raw: bytes, namespace: str) -> Left | None:
        """Why an old form could not be moved; None where it can."""
        in_array = self._is_single and walk.place.count(b".") != walk.node.path.count(".")
        if in_array or not walk.is_addressable() or not walk.is_found_by_path():
            return Left.NOT_ADDRESSABLE
        per = self._per if self._is_typed else None
        if per is not None and context_at(per, namespace, spot_of(walk, raw)) is None:
            return Left.NO_CONTEXT
        return Left.UNKNOWN_KEY if self._lacks_key(raw[walk.value : walk.end]) else None

    def _lacks_key(self, value: bytes) -> bool:
        """Whether it is an old form whose context's key is nowhere: a window with it could not move."""
        if self._is_typed or self._within is None:
            return False
        return self._within.opened(value) is Left.UNKNOWN_KEY

    def _is_of_class_key(self, kind: int, value: bytes) -> bool:
        """Whether the class's own key made an envelope, where each context has one by now."""
        if self._per is None:
            return False
        header = header_of(kind, value)
        return isinstance(header, EnvelopeHeader) and header.class_id == self._class_id


# moves what other versions of a deterministic class have left behind, while the class itself does not move


def would_repair(job: Job, values: Values, versions: Versions, contexts: JobContexts | None = None) -> Job:
    """The job with how many documents it would change, and those that it could not. Changes nothing.

    Raises what the driver raises. Cost: reads all documents
    """
    look = FirstLook(versions, contexts)
    expected = 0
    reported: list[LeftValue] = []
    for where in values.places():
        for raw in values.all(where.namespace):
            try:
                seen = look.at(raw, where)
            except BsonError:
                continue
            expected += seen.has_old
            for each in seen.problems[: MAX_REPORTED - len(reported)]:
                reported.append(short(LeftValue(where.namespace, each.path, identity_of(raw), each.why)))
    return replace(job, expected=expected, reported=tuple(reported))


class Repair(Engine):
    """The steps of a repair: work until nothing is left that can be moved."""

    def __init__(  # noqa: PLR0913, PLR0917 - one for each thing that it needs
        self,
        job: Job,
        versions: Versions,
        values: Values,
        confirm: Callable[[], None],
        notes: Notes,
        pace: Pace,
        contexts: JobContexts | None = None,
    ) -> None:
        """`versions` are one and the same; `confirm` sees that nothing moves the class, behind a barrier."""
        super().__init__(job, notes, pace)
        self._before = job
        self._mover = WindowMover(values, versions, WHOLE, contexts)
        self._confirm = confirm

    def _steps(self) -> Iterator[StepTaken]:
        tally = self._mover.tally
        began = self._pace.clock()
        for read in self._mover.sweep(self._confirm):
            yield StepTaken(began, partial(self._counted, tally, read))
            if self._stopped.is_set():
                self._end(Standing.PAUSED)
                return
            began = self._pace.clock()
        done = replace(self._counted(tally, 0), standing=Standing.DONE, left=dict(tally.left))
        yield StepTaken(began, lambda: replace(done, reported=tuple(map(short, tally.reported))))

    def _counted(self, tally: Tally, read: int) -> Job:
        """A tally counts from the beginning of the sweep on."""
        before = replace(self._before, revision=self.job.revision, read=self.job.read)
        return before.counted(tally, read, now())
