"""What the documents of `sealwire.frontiers` say of each class of a keyring: no I/O, no time, no lease.

A class without an answer does not move: it has no pending key, and no document speaks of a newer one.
"""

from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.errors import DamagedFile
from sealwire.keys.frontier.frontier import Frontier, has_moved
from sealwire.keys.frontier.record import parse_frontier, stated_generation
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass, Mode

Seen = Mapping[tuple[int, int], int]
"""By class id and new version: the highest generation that this process has read."""


class Others(NamedTuple):
    """The rest of the database `sealwire`, as far as it tells copies of documents from the documents."""

    place: str = ""
    """The UUID of their collection in hexadecimal digits; empty if there is none."""
    seen: Mapping[tuple[int, int], int] = {}
    """The same of all processes, as they say."""


class Loss(Enum):
    """Why nobody can say which form of a class's values is valid. The value is the word in the log."""

    NO_SETTING = "no-setting"
    NO_LEASE = "no-lease"
    NEWER_KEY = "newer-key"
    DAMAGED = "damaged"
    WENT_BACK = "went-back"
    MISSING = "missing"


HINTS: Final[Mapping[Loss, str]] = {
    Loss.NO_SETTING: "its values move, or have moved once: set frontier.uri_file, and restart",
    Loss.NO_LEASE: "it goes on by itself once the frontier was read",
    Loss.NEWER_KEY: "the keyring is loaded again; if that brings no newer key, this proxy has an old copy",
    Loss.DAMAGED: "find out who wrote the document; sealwire migrate status shows how far the move came",
    Loss.MISSING: "data has begun to move: bring the class's document of sealwire.frontiers back",
    Loss.WENT_BACK: "was the server put back to an older state? Find out before you restart this proxy",
}


class PendingClass(NamedTuple):
    """A class with a pending key."""

    old: ValueCipher
    new: ValueCipher
    begun_in: str = ""
    """Where the frontier is by the keyring, once data may have begun to move."""

    @property
    def first(self) -> Frontier:
        """The frontier while nothing has moved and none is written down."""
        return Frontier(self.new.class_id, self.old.key_version, self.new.key_version, walked=None)

    @property
    def key(self) -> tuple[int, int]:
        """Class id and new version."""
        return self.new.class_id, self.new.key_version


def moves_of(keyring: Keyring) -> dict[str, PendingClass]:
    """The classes that have a pending key. Raises nothing. Cost: O(classes that move)."""
    moves: dict[str, PendingClass] = {}
    for name in keyring.pending_classes:
        new = keyring.pending_cipher_for(name)
        if new is not None:
            moves[name] = PendingClass(keyring.cipher_for(name), new, keyring.begun.get(name, ""))
    return moves


def class_ids(keyring: Keyring) -> list[int]:
    """The ids of all classes that can be written: their documents are asked for."""
    return [keyring.cipher_for(name).class_id for name in keyring.active_classes]


def unnamed(keyring: Keyring, class_names: Collection[str]) -> frozenset[str]:
    """The classes without a path in the policy that move to or from a key which a class of the policy has.

    `class_names` are those that have one. It may take the values that move for values of such a class.
    Raises nothing. Cost: O(classes that move).
    """
    found = set()
    for name in keyring.pending_classes:
        sharing = {each for group in keyring.shared_keys if name in group for each in group}
        if name not in class_names and not sharing.isdisjoint(class_names):
            found.add(name)
    return frozenset(found)


def unfollowed(keyring: Keyring, classes: Iterable[FieldClass]) -> frozenset[str]:
    """The classes that a process without a server to ask refuses: those that move, and each of `classes` that
    has moved. With an older copy of the keyring it would go on with the form of before, and nobody would see.

    Raises nothing. Cost: O(classes x keys)
    """
    moved = {
        each.name
        for each in classes
        if each.mode is Mode.DETERMINISTIC and has_moved(keyring, each.name, is_keyed=each.per is not None)
    }
    return frozenset((*moved, *keyring.pending_classes))


def judge(
    keyring: Keyring, documents: Mapping[int, Mapping[str, Any]], seen: Seen, others: Others
) -> dict[str, Frontier | Loss]:
    """By class: its frontier, or why it has none; `documents` by class id, as they were read.

    Raises nothing. Cost: O(classes), one tag for each document that counts
    """
    moves = moves_of(keyring)
    answers: dict[str, Frontier | Loss] = {}
    for name in keyring.active_classes:
        active = keyring.cipher_for(name)
        move, document = moves.get(name), documents.get(active.class_id)
        answer = _answer(active, move, document, seen)
        if isinstance(answer, Frontier) and move is not None and _is_copy(move, document, others):
            answer = Loss.WENT_BACK
        if answer is not None:
            answers[name] = answer
    return answers


def _answer(
    active: ValueCipher, move: PendingClass | None, document: Mapping[str, Any] | None, seen: Seen
) -> Frontier | Loss | None:
    if document is not None:
        version = document.get("new")
        if not isinstance(version, int) or isinstance(version, bool):
            return Loss.DAMAGED
        if version > (active if move is None else move.new).key_version:
            return Loss.NEWER_KEY
        if version <= active.key_version:
            document = None  # a move that is over
    if move is None:
        return None
    if document is None:
        if move.key in seen:
            return Loss.WENT_BACK
        return Loss.MISSING if move.begun_in else move.first
    return _parsed(move, document, seen)


def _is_copy(move: PendingClass, document: Mapping[str, Any] | None, others: Others) -> bool:
    """Whether a document was put back: into another collection, or while a later one has been seen."""
    if move.begun_in not in ("", others.place):
        return True
    if document is None or document.get("new") != move.new.key_version:
        return move.key in others.seen
    try:
        return stated_generation(document) < others.seen.get(move.key, 0)
    except DamagedFile:
        return True


def _parsed(move: PendingClass, document: Mapping[str, Any], seen: Seen) -> Frontier | Loss:
    try:
        frontier = parse_frontier(document, move.new)
    except DamagedFile:
        return Loss.DAMAGED
    if frontier.old_version != move.old.key_version:
        return Loss.DAMAGED
    return Loss.WENT_BACK if frontier.generation < seen.get(move.key, 0) else frontier
