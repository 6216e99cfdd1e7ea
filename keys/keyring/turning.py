"""Keys that turn: a new version of a class's key, its activation, and a step on the way of an old one.

Every function writes the keyring once, whole or not at all, as `file.change_keys` does, and raises and costs
what that does. Proxies see the change when they load their keyring again: after `keys.refresh_s`, or at once
when they meet a key that they do not have.

An old key ends step by step: retired, announced for destruction, destroyed. `announce` writes down from when
a destruction is allowed, and `destroy` does it then. In between, `call_off` and `take_back` undo what was
done. Each of these takes a key and gives it as it is after the step; `change_version` writes that into a
keyring. All raise KeySettingError KEY_STATE for a key in another state.

A class borrows the active key of another one as its next version, or as its first. As the next it is pending,
and the class moves to it as to any other key (docs/adr/0031). As the first it is active at once: of a new
class, for paths that had the lender's class until now and are to leave it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from sealwire.crypto.envelope import MAX_ID
from sealwire.keys.errors import KeyringBusy, KeySettingError, KeysReason, UnknownKey
from sealwire.keys.kek.kek import KeyEncryptionKey
from sealwire.keys.keyring.data_key import DataKey, KeyEvent, KeyState, generate_data_key, move, whole_seconds
from sealwire.keys.keyring.file import KeyringWriter, change_keys, with_new_classes
from sealwire.keys.keyring.record import MAX_VERSIONS, format_time
from sealwire.keys.keyring.store import KeyringStore

_WAITS_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Between the tries of a job while somebody else writes the keyring: jobs of two classes may end together."""


def rotate(
    place: Path | KeyringStore,
    kek: KeyEncryptionKey,
    deterministic: Mapping[str, bool],
    now: datetime,
    *,
    to_plaintext: bool = False,
    dry_run: bool = False,
) -> tuple[DataKey, ...]:
    """Make a new version of each class's key, in one write: active at once, or pending if deterministic.

    `deterministic` says for each class whether it is; `to_plaintext`: the new version of each is plaintext.
    Returns the new keys in that order.
    Raises:  UnknownKey CLASS_UNKNOWN
             KeySettingError KEY_STATE: the class has a pending key, or is in clear and is to be so again;
             VERSION_COUNT: it has too many
    """
    made: list[DataKey] = []

    def change(keys: tuple[DataKey, ...]) -> tuple[DataKey, ...]:
        for name, pends in deterministic.items():
            keys = with_class(keys, name, partial(_rotated, now=now, pends=pends, to_plaintext=to_plaintext))
            made.append(next(key for key in reversed(keys) if key.class_name == name))
        return keys

    change_keys(KeyringWriter(place, kek, now, dry_run), change)
    return tuple(made)


def moving_command(class_name: str, *, from_plaintext: bool = False, to_plaintext: bool = False) -> str:
    """What an operator runs to move the data of a deterministic class to its pending version."""
    verb = "encrypt" if from_plaintext else "decrypt" if to_plaintext else "reencrypt"
    return f"sealwire migrate {verb} POLICY {class_name}"


def begin_move(writer: KeyringWriter, class_name: str, place: str) -> DataKey:
    """Write down that data is about to move to the pending key of a class, and where its frontier is.

    To be called once its first frontier is on the server, and before its first window opens. `place` is the
    UUID of the collection of frontiers in hexadecimal digits: a copy that is put back is another collection.
    From then on a proxy refuses the class when it finds no frontier there, and the key cannot be cancelled.
    Waits about 3 s for somebody else who writes the keyring.

    Raises UnknownKey CLASS_UNKNOWN; KeySettingError KEY_STATE: nothing is pending, or by another place.
    """

    def change(versions: Sequence[DataKey]) -> tuple[DataKey, ...]:
        *older, pending = versions
        move(pending, KeyEvent.ACTIVATED)  # refused unless it is pending
        if pending.begun_in not in ("", place):
            raise KeySettingError(
                KeysReason.KEY_STATE,
                f"data has begun to move to version {pending.version} of class {class_name} by frontiers of "
                "another database sealwire",
                "bring the collection sealwire.frontiers back as it was: a copy has lost what moved since",
            )
        return (*older, replace(pending, begun_in=place))

    return _patiently(lambda: _change_class(writer, class_name, change))[-1]


def activate(writer: KeyringWriter, class_name: str) -> DataKey:
    """Make the pending key of a class its active one, once all of its data has moved; waits as `begin_move`.

    Raises UnknownKey CLASS_UNKNOWN; KeySettingError KEY_STATE: nothing is pending.
    """

    def change(versions: Sequence[DataKey]) -> tuple[DataKey, ...]:
        *older, pending = versions
        return (*_replaced(older), move(pending, KeyEvent.ACTIVATED))

    return _patiently(lambda: _change_class(writer, class_name, change))[-1]


def cancel(writer: KeyringWriter, class_name: str) -> DataKey:
    """Retire the pending key of a class. Whoever calls this has seen that no data has begun to move to it.

    It keeps its version, which no other key gets. Raises UnknownKey CLASS_UNKNOWN; KeySettingError KEY_STATE.
    """

    def change(versions: Sequence[DataKey]) -> tuple[DataKey, ...]:
        *older, pending = versions
        if pending.begun_in:
            raise KeySettingError(
                KeysReason.KEY_STATE,
                f"data has begun to move to version {pending.version} of class {class_name}",
                f"let the move end first: {_command_for(versions)}",
            )
        return (*older, move(pending, KeyEvent.CANCELLED))

    return _change_class(writer, class_name, change)[-1]


def renew(writer: KeyringWriter, class_name: str) -> DataKey:
    """Make a cancelled key pending again; it counts as made now, because proxies have to load it.

    Raises UnknownKey CLASS_UNKNOWN; KeySettingError KEY_STATE: the newest key of the class was not cancelled;
    LENT: it was borrowed, and its lender encrypts with another one by now.
    """

    def change(versions: Sequence[DataKey]) -> tuple[DataKey, ...]:
        *older, last = versions
        if all(key.state is not KeyState.ACTIVE for key in older):
            raise KeySettingError(
                KeysReason.KEY_STATE,
                f"version {last.version} of class {class_name} is {last.state.value}, and was not cancelled",
                "sealwire keys list shows the versions",
            )
        return (*older, replace(move(last, KeyEvent.RENEWED), created=whole_seconds(writer.now)))

    return _change_class(writer, class_name, change)[-1]


def change_version(
    writer: KeyringWriter, key: tuple[str, int], change: Callable[[DataKey], DataKey]
) -> DataKey:
    """Take one step with `key`, as (class, version): `change` is `retire` or its like.

    Raises what `change` raises; UnknownKey CLASS_UNKNOWN, VERSION_UNKNOWN.
    """
    class_name, version = key

    def change_one(versions: Sequence[DataKey]) -> tuple[DataKey, ...]:
        if all(found.version != version for found in versions):
            raise UnknownKey(
                KeysReason.VERSION_UNKNOWN,
                f"class {class_name} has no version {version}",
                "sealwire keys list shows the versions",
            )
        return tuple(change(found) if found.version == version else found for found in versions)

    changed = _change_class(writer, class_name, change_one)
    return next(found for found in changed if found.version == version)


def _change_class(
    writer: KeyringWriter, class_name: str, change: Callable[[Sequence[DataKey]], tuple[DataKey, ...]]
) -> tuple[DataKey, ...]:
    """All versions of a class after `change`, which gets those before it."""
    return _changed(writer, class_name, lambda keys: with_class(keys, class_name, change))


def _changed(
    writer: KeyringWriter, class_name: str, change: Callable[[tuple[DataKey, ...]], tuple[DataKey, ...]]
) -> tuple[DataKey, ...]:
    """All versions of a class after `change`, which gets all keys of the keyring."""
    changed: tuple[DataKey, ...] = ()

    def noted(keys: tuple[DataKey, ...]) -> tuple[DataKey, ...]:
        nonlocal changed
        after = change(keys)
        changed = tuple(key for key in after if key.class_name == class_name)
        return after

    change_keys(writer, noted)
    return changed


def _patiently(change: Callable[[], tuple[DataKey, ...]]) -> tuple[DataKey, ...]:
    for wait_s in _WAITS_S:
        try:
            return change()
        except KeyringBusy:
            time.sleep(wait_s)
    return change()


def _replaced(versions: Sequence[DataKey]) -> tuple[DataKey, ...]:
    return tuple(move(key, KeyEvent.REPLACED) if key.state is KeyState.ACTIVE else key for key in versions)


def _rotated(
    versions: Sequence[DataKey], now: datetime, *, pends: bool, to_plaintext: bool
) -> tuple[DataKey, ...]:
    active = next((key for key in versions if key.state is KeyState.ACTIVE), None)
    if to_plaintext and active is not None and active.is_plaintext:
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"class {active.class_name} is in clear already",
            f"{moving_command(active.class_name, from_plaintext=True)} takes it in",
        )
    new = next_version(versions, now, KeyState.PENDING if pends else KeyState.ACTIVE)
    new = replace(new, is_plaintext=to_plaintext)
    return (*(versions if pends else _replaced(versions)), new)


def next_version(versions: Sequence[DataKey], now: datetime, state: KeyState) -> DataKey:
    """A new key in a class of these versions. Raises KeySettingError KEY_STATE, VERSION_COUNT."""
    last = versions[-1]
    if last.state is KeyState.PENDING:
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"version {last.version} of class {last.class_name} is still pending",
            f"move its data first: {_command_for(versions)}; if it was made by mistake: sealwire keys cancel "
            f"{last.class_name}",
        )
    if len(versions) >= MAX_VERSIONS or last.version >= MAX_ID:
        raise KeySettingError(
            KeysReason.VERSION_COUNT,
            f"class {last.class_name} has {len(versions)} versions, and no more can be counted",
            "move its fields to a new class",
        )
    return generate_data_key(last.class_name, last.class_id, last.version + 1, now, state)


def _command_for(versions: Sequence[DataKey]) -> str:
    """What moves the data to the last version, which is pending."""
    last = versions[-1]
    active = next((key for key in versions if key.state is KeyState.ACTIVE), last)
    return moving_command(last.class_name, from_plaintext=active.is_plaintext, to_plaintext=last.is_plaintext)


def with_class(
    keys: tuple[DataKey, ...], class_name: str, change: Callable[[Sequence[DataKey]], tuple[DataKey, ...]]
) -> tuple[DataKey, ...]:
    """`keys` with the versions of one class as `change` makes them. Raises UnknownKey CLASS_UNKNOWN."""
    at = [number for number, key in enumerate(keys) if key.class_name == class_name]
    if not at:
        raise UnknownKey(
            KeysReason.CLASS_UNKNOWN,
            f"the keyring has no class {class_name}",
            "sealwire keys list shows the classes",
        )
    # the versions of one class stand together
    begin, end = at[0], at[-1] + 1
    return (*keys[:begin], *change(keys[begin:end]), *keys[end:])


DEFAULT_WAIT = timedelta(days=30)
"""Whatever runs once a month has then missed a key that it still needs."""
MINIMUM_WAIT = timedelta(days=1)
"""Less is for an emergency, and has to be confirmed."""


def retire(key: DataKey) -> DataKey:
    """A decrypt-only key then opens nothing any more; nor does an active one that is borrowed.

    Who retires an active key has seen that no policy names its class: what it opened, its lender opens, and
    nothing encrypts for the class any more.
    """
    is_returned = key.lender is not None and key.state is KeyState.ACTIVE
    return move(key, KeyEvent.RETURNED if is_returned else KeyEvent.RETIRED)


def take_back(key: DataKey) -> DataKey:
    """A retired key then decrypts again, and its destruction is off."""
    return move(key, KeyEvent.TAKEN_BACK)


def announce(key: DataKey, now: datetime, wait: timedelta = DEFAULT_WAIT) -> DataKey:
    """A retired key may then be destroyed after `wait`; refused where that was announced already."""
    move(key, KeyEvent.DESTROYED)
    if key.destroy_after is not None:
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"version {key.version} of class {key.class_name} waits for its destruction already, after "
            f"{format_time(key.destroy_after)}",
            "sealwire keys destroy --cancel takes that back",
        )
    return replace(key, destroy_after=whole_seconds(now + wait))


def call_off(key: DataKey) -> DataKey:
    """The key then stays retired, without an end. Refused where nothing was announced."""
    _announced(key)
    return replace(key, destroy_after=None)


def destroy(key: DataKey, now: datetime) -> DataKey:
    """The key then has no material. Older copies of the keyring still have it.

    Raises KeySettingError DESTROY_EARLY before the announced time, KEY_STATE where nothing was announced.
    """
    allowed = _announced(key)
    if now < allowed:
        raise KeySettingError(
            KeysReason.DESTROY_EARLY,
            f"version {key.version} of class {key.class_name} is kept until {format_time(allowed)}",
            "wait until then, or take it back: sealwire keys destroy --cancel",
        )
    return move(key, KeyEvent.DESTROYED)


def _announced(key: DataKey) -> datetime:
    move(key, KeyEvent.DESTROYED)
    if key.destroy_after is None:
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"no destruction of version {key.version} of class {key.class_name} was announced",
            "sealwire keys destroy announces it, and destroys after the waiting period",
        )
    return key.destroy_after


def borrow(writer: KeyringWriter, names: tuple[str, str]) -> DataKey:
    """Make a pending version of a class that is the active key of another. `names`: borrower and lender.

    Raises:  UnknownKey CLASS_UNKNOWN of either class
             KeySettingError LENT: the lender has no key to lend, or the class encrypts with it already;
             KEY_STATE: the class has a pending version, or no active one; VERSION_COUNT
    """
    borrower, lender = names

    def change(keys: tuple[DataKey, ...]) -> tuple[DataKey, ...]:
        lent = _lendable(keys, lender)
        return with_class(keys, borrower, partial(_with_borrowed, lent=lent, now=writer.now))

    return _changed(writer, borrower, change)[-1]


def create_borrowed(writer: KeyringWriter, names: tuple[str, str]) -> DataKey:
    """Make a new class whose first version, active at once, is the active key of another; as `borrow`.

    Raises:  AlreadyExists CLASS_EXISTS; UnknownKey CLASS_UNKNOWN of the lender
             KeySettingError LENT: the lender has no key to lend; CLASS_NAME, CLASS_COUNT
    """
    borrower, lender = names

    def change(keys: tuple[DataKey, ...]) -> tuple[DataKey, ...]:
        lent = _lendable(keys, lender)
        *others, new = with_new_classes(keys, [borrower], writer.now, ())
        return (*others, _copy(new, lent))

    return _changed(writer, borrower, change)[-1]


def _with_borrowed(versions: Sequence[DataKey], lent: DataKey, now: datetime) -> tuple[DataKey, ...]:
    active = next((key for key in versions if key.state is KeyState.ACTIVE), None)
    if active is None:
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"class {versions[-1].class_name} has no active version, so no data that could move",
            "give its paths the lender's class in the policy, or a class of another name",
        )
    if lent.ids in (active.ids, active.lender):
        raise KeySettingError(
            KeysReason.LENT,
            f"class {active.class_name} encrypts with that key already",
            "sealwire keys status shows which key is whose",
        )
    return (*versions, _copy(next_version(versions, now, KeyState.PENDING), lent))


def _copy(new: DataKey, lent: DataKey) -> DataKey:
    return replace(new, material=lent.material, lender=lent.ids)


def _lendable(keys: Sequence[DataKey], name: str) -> DataKey:
    """The active key of a class, or the key that this one is itself. Raises UnknownKey, KeySettingError."""
    versions = [key for key in keys if key.class_name == name]
    if not versions:
        raise UnknownKey(
            KeysReason.CLASS_UNKNOWN,
            f"the keyring has no class {name}, whose key was to be borrowed",
            "sealwire keys list shows the classes",
        )
    active = next((key for key in versions if key.state is KeyState.ACTIVE), None)
    if active is None or active.is_plaintext:
        raise KeySettingError(
            KeysReason.LENT,
            f"class {name} is in clear or has no active key: there is none to borrow",
            "borrow the key of a class that is encrypted",
        )
    if versions[-1].state is KeyState.PENDING:
        raise KeySettingError(
            KeysReason.LENT,
            f"class {name} moves to version {versions[-1].version}, and lends no key meanwhile",
            "let that move end first: sealwire migrate status",
        )
    if active.lender is None:
        return active
    return next(key for key in keys if key.ids == active.lender)
