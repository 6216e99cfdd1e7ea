"""Between which versions of its keyring a deterministic class moves, in each direction."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import click

from sealwire.cli.options.keys import KekOptions, open_keyring_store
from sealwire.keys.frontier.frontier import ClassVersion
from sealwire.keys.kek.kek import KeyEncryptionKey
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import open_record, read_record
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.store import KeyringStore
from sealwire.keys.keyring.turning import activate, begin_move, rotate
from sealwire.keys.providers import Providers
from sealwire.policies.file.schema import FieldClass
from sealwire.sidecars.migration.errors import MigrationReason, MigrationRefused
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.windows.moving import Versions
from sealwire.sidecars.migration.windows.strays import Strays


class _Pair(NamedTuple):
    old: DataKey
    new: DataKey

    @property
    def direction(self) -> Direction:
        if self.new.is_plaintext:
            return Direction.DECRYPT
        return Direction.ENCRYPT if self.old.is_plaintext else Direction.REENCRYPT


class ClassKeys:
    """A keyring that was opened, and one class of it that is to move."""

    def __init__(self, keyring: str, kek: KekOptions, field_class: FieldClass) -> None:
        """Raises as `open_record` does."""
        providers = Providers()
        self._store: KeyringStore = open_keyring_store(keyring, providers)
        self._kek: KeyEncryptionKey = kek.open(providers)
        self._class_name = field_class.name
        self._field_class = field_class
        self._pair: _Pair | None = None
        self._keys: Sequence[DataKey] = self._read()

    @property
    def keyring(self) -> Keyring:
        """All keys, ready to use."""
        return Keyring(self._keys)

    @property
    def versions(self) -> Versions:
        """Between which the class moves, once `prepare` or `find` was called."""
        old, new = self._chosen
        keyring = self.keyring
        made = [
            ClassVersion(keyring.cipher_by_id(key.class_id, key.version), key.is_plaintext)
            for key in (old, new)
        ]
        # the key of a context outlives versions: what the class's own key made is named before a move begins
        is_keyed = self._field_class.per is not None and old != new
        strays = None if is_keyed else Strays(self._keys, self._field_class, made)
        return Versions.of_class(made[0], made[1], self._field_class, strays)

    def prepare(self, direction: Direction, *, rotates: bool = False, dry_run: bool) -> None:
        """See that the class can begin to move in a direction, and give it the version for it.

        To or from plaintext that is one write of the keyring; `reencrypt` finds the key that a rotation made,
        or makes it with `rotates`.
        Raises MigrationRefused NOTHING, OTHER_MOVE, and as `turning.rotate` does.
        """
        active, pending = self._of(KeyState.ACTIVE), self._of(KeyState.PENDING)
        if active is not None and pending is not None:
            self._pair = _fitting(_Pair(active, pending), direction)
            return
        has_key = active is not None and not active.is_plaintext
        if not (rotates and has_key and direction is Direction.REENCRYPT):
            self._refuse_what_is_done(direction, active)
        to_plaintext = direction is Direction.DECRYPT
        (made,) = rotate(
            self._store,
            self._kek,
            {self._class_name: True},
            datetime.now(UTC),
            to_plaintext=to_plaintext,
            dry_run=dry_run,
        )
        if not dry_run:
            what = "plaintext" if to_plaintext else "a new key"
            text = f"class {self._class_name} has a pending version {made.version}: {what}"
            click.echo(text, err=True)
            self._keys = self._read()
            self.prepare(direction, dry_run=False)

    def _refuse_what_is_done(self, direction: Direction, active: DataKey | None) -> None:
        name = self._class_name
        if direction is Direction.REENCRYPT:
            text = "no key of the class is pending: its values have nowhere to move to"
            raise MigrationRefused(
                MigrationReason.NOTHING,
                text,
                "make one first: sealwire keys rotate CLASS; if verify counts older values, sealwire migrate "
                "repair POLICY CLASS moves them",
            )
        if active is None:
            return
        if direction is Direction.ENCRYPT and not active.is_plaintext:
            text = f"class {name} is encrypted already"
            hint = "sealwire migrate verify shows what lies in clear; sealwire policy drift, why"
            raise MigrationRefused(MigrationReason.NOTHING, text, hint)
        if direction is Direction.DECRYPT and active.is_plaintext:
            text = f"class {name} is in clear already"
            raise MigrationRefused(MigrationReason.NOTHING, text, "take its paths out of the policy")

    def find(self, direction: Direction) -> None:
        """The versions of a move that has begun; the new one may be active already.

        Raises MigrationRefused NOTHING, OTHER_MOVE.
        """
        active, pending = self._of(KeyState.ACTIVE), self._of(KeyState.PENDING)
        replaced = self._of(KeyState.DECRYPT_ONLY)
        if active is not None and pending is not None:
            self._pair = _fitting(_Pair(active, pending), direction)
        elif active is not None and replaced is not None and replaced.version < active.version:
            self._pair = _fitting(_Pair(replaced, active), direction)
        else:
            text = "no version of the class is pending: its values have nowhere to move to"
            raise MigrationRefused(MigrationReason.NOTHING, text, "abort the job, and begin a new one")

    def stay(self) -> None:
        """Take the active version for a repair. Raises MigrationRefused OTHER_MOVE; UnknownKey."""
        active, pending = self._of(KeyState.ACTIVE), self._of(KeyState.PENDING)
        if active is None:
            self.keyring.cipher_for(self._class_name)
            raise ValueError("the keyring has an active key that it does not list")
        if pending is not None:
            name = self._class_name
            text = f"class {name} has a pending version {pending.version}: a move takes other versions along"
            command = _Pair(active, pending).direction.value
            hint = f"let it end first: sealwire migrate {command} POLICY {name}"
            raise MigrationRefused(MigrationReason.OTHER_MOVE, text, hint)
        self._pair = _Pair(active, active)

    @property
    def begun_in(self) -> str:
        """The place of the frontier by the keyring, if data may have begun to move to the new version."""
        return self._chosen.new.begun_in

    def mark_begun(self, place: str) -> None:
        """Write down that data moves to the new version, and where its frontier is."""
        begin_move(self._store, self._kek, self._class_name, place, datetime.now(UTC))

    def activate(self) -> None:
        """Make the new version the active one; nothing where an earlier process has done it."""
        if self._chosen.new.state is KeyState.PENDING:
            activate(self._store, self._kek, self._class_name, datetime.now(UTC))

    def is_still_pending(self) -> bool:
        """Whether the new version is pending in the keyring as it is now. Raises as `open_record` does."""
        new = self._chosen.new
        return any(key.ids == new.ids and key.state is KeyState.PENDING for key in self._read())

    @property
    def _chosen(self) -> _Pair:
        if self._pair is None:
            raise ValueError("no move was chosen")
        return self._pair

    def _read(self) -> Sequence[DataKey]:
        return open_record(read_record(self._store), self._kek, self._store)

    def _of(self, state: KeyState) -> DataKey | None:
        """The newest version of the class in a state."""
        mine = [key for key in self._keys if key.class_name == self._class_name and key.state is state]
        return mine[-1] if mine else None


def _fitting(pair: _Pair, direction: Direction) -> _Pair:
    if pair.direction is not direction:
        name = pair.new.class_name
        text = f"class {name} is moving from version {pair.old.version} to version {pair.new.version}"
        hint = f"let it end first: sealwire migrate {pair.direction.value} POLICY {name}"
        raise MigrationRefused(MigrationReason.OTHER_MOVE, text, hint)
    return pair
