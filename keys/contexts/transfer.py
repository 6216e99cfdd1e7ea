"""All keys of contexts from one store to another: from a file to Vault, or back, while proxies run.

    1. The new store is marked: nobody opens it to use it.      4. Every row is copied as it is.
    2. The old one is marked: nobody makes or changes a key.    5. Both stores are compared, row by row.
    3. Wait until everybody heeds that.                         6. All left, says the old mark; the new goes.

So no context gets two keys, whichever of the two a proxy has open. Killed anywhere, a second run goes on; up
to the sixth step `call_off` opens the old store again. Keys stay wrapped, and no keyring is needed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from secrets import token_hex

from sealwire.keys.contexts.store import ContextRow, ContextStore, MarkKind, StoreMark, every_row
from sealwire.keys.errors import AlreadyExists, KeyringBusy, KeySettingError, KeysReason

_BATCH = 500
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Transferred:
    """What is at the new place."""

    rows: int
    """Keys of contexts, destroyed ones and the own rows of classes among them."""
    destroyed: int
    """Among them."""


def count_rows(store: ContextStore) -> Transferred:
    """What a transfer from this store would move. Cost: O(rows)."""
    counts = [store.count(class_id) for class_id in store.classes()]
    destroyed = sum(each.destroyed for each in counts)
    return Transferred(destroyed + sum(sum(each.wrapped_by.values()) for each in counts), destroyed)


def require_room(old: ContextStore, new: ContextStore | None, place: str) -> None:
    """See that keys may go from `old` to `place`, where `new` is, or nothing yet. Changes nothing.

    Raises:  KeySettingError CONTEXTS: the old store's keys go, or went, to another place or come from one
             AlreadyExists CONTEXTS: the new one has keys of its own
    """
    leaving = old.mark()
    if leaving is not None and (not leaving.is_closed or leaving.other != place):
        way = "to" if leaving.is_closed else "from"
        raise KeySettingError(
            KeysReason.CONTEXTS,
            f"{old}: its keys are being moved {way} {leaving.other}, or were",
            "end that move first, or call it off: sealwire keys move-contexts --cancel",
        )
    is_over = leaving is not None and leaving.kind is MarkKind.LEFT
    if new is None and is_over:
        raise KeySettingError(
            KeysReason.CONTEXTS, f"{old}: its keys were moved to {place}, and there is no store", "restore it"
        )
    if new is None or is_over:
        return
    arriving = new.mark()
    is_ours = arriving is not None and arriving.names(MarkKind.ARRIVING, str(old))
    if not is_ours and (arriving is not None or new.size()):
        raise AlreadyExists(
            KeysReason.CONTEXTS,
            f"{new} has keys of contexts that are not those of {old}",
            "name a place where no store is; which one is in use, keys.contexts says",
        )


def transfer(
    old: ContextStore,
    new: ContextStore,
    moved: Callable[[int], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Transferred:
    """Move everything; both stores were opened for it. `moved` is told how many rows were copied since.

    Raises what `require_room` and the stores raise; KeyringBusy WRITER where somebody else changes a mark, or
    a row that this one cannot follow. Cost: one write a row, and O(rows) reads of both stores
    """
    require_room(old, new, str(new))
    arriving, left = StoreMark(MarkKind.ARRIVING, str(old)), StoreMark(MarkKind.LEFT, str(new))
    standing = old.mark()
    if standing == left:
        _put_mark(new, arriving, None)
        return count_rows(new)
    leaving = standing or StoreMark(MarkKind.LEAVING, str(new), token_hex(8))
    _put_mark(new, None, arriving)
    _put_mark(old, None, leaving)
    sleep(old.closing_s)
    for _ in range(_ROUNDS):
        _copy(old, new, moved)
        done = _compared(old, new)
        if done is not None:
            _put_mark(old, leaving, left)
            _put_mark(new, arriving, None)
            return done
    raise _changed(old)


def call_off(old: ContextStore, other: str) -> None:
    """Open the old store again. What was copied stays where it is, and is used by nobody.

    Raises KeySettingError CONTEXTS where no keys leave it for `other`, or all have left; KeyringBusy WRITER.
    """
    leaving = old.mark()
    if leaving is None or not leaving.names(MarkKind.LEAVING, other):
        raise KeySettingError(
            KeysReason.CONTEXTS,
            f"{old}: no move of its keys to {other} is under way",
            "once it is over, move them back to a place where no store is",
        )
    _put_mark(old, leaving, None)


def _copy(old: ContextStore, new: ContextStore, moved: Callable[[int], None]) -> None:
    """Every row of the old store, as it is; one that an earlier run copied as it was then is changed."""
    for class_id in old.classes():
        after = b""
        while rows := old.rows(class_id, after, _BATCH):
            clashes = new.adopt(rows)
            for row in {each.key_id: each for each in clashes}.values():
                _bring_up_to_date(old, new, row)
            # what stood in the way did so until now
            if clashes and (left := new.adopt(rows)):
                raise _foreign(old, new, left[0])
            moved(len(rows))
            after = rows[-1].key_id


def _bring_up_to_date(old: ContextStore, new: ContextStore, standing: ContextRow) -> None:
    """For a row that an earlier run copied, which was then called off. Raises AlreadyExists, KeyringBusy."""
    now = next(iter(old.find_ids([standing.key_id])), None)
    if now is None or now.class_id != standing.class_id:
        raise _foreign(old, new, standing)
    if now != standing and not new.replace(standing, now):
        raise _changed(new)


def _compared(old: ContextStore, new: ContextStore) -> Transferred | None:
    """What both hold; None where the old one has a row by now that is to be copied. Raises AlreadyExists."""
    rows = destroyed = 0
    for class_id in sorted({*old.classes(), *new.classes()}):
        for one, other in zip_longest(every_row(old, class_id), every_row(new, class_id)):
            if one != other:
                if other is not None and not old.find_ids([other.key_id]):
                    raise _foreign(old, new, other)
                return None
            rows += 1
            destroyed += one is not None and one.is_destroyed
    return Transferred(rows, destroyed)


def _put_mark(store: ContextStore, before: StoreMark | None, after: StoreMark | None) -> None:
    """May be done already."""
    if store.mark() != after and not store.set_mark(before, after):
        raise _changed(store)


def _foreign(old: ContextStore, new: ContextStore, row: ContextRow) -> AlreadyExists:
    return AlreadyExists(
        KeysReason.CONTEXTS,
        f"{new} has a key of class id {row.class_id} that {old} has not, or another one for a context",
        "find out what uses it; then call the move off, and name a place where no store is",
    )


def _changed(store: ContextStore) -> KeyringBusy:
    return KeyringBusy(
        KeysReason.WRITER, f"{store} was changed by somebody else meanwhile", "run the command again"
    )
