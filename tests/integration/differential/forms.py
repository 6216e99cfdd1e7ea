"""Which form of a stored value is the valid one, from the frontiers that lie on the server beside it."""

from collections.abc import Iterator, Mapping
from typing import Any

from pymongo.collection import Collection

from sealwire.crypto.envelope import EnvelopeMode, is_of_context, parse_any_header
from sealwire.keys.frontier.frontier import (
    ClassVersion,
    Form,
    Frontier,
    Position,
    pending_version_of,
    position_of,
    version_of,
)
from sealwire.keys.frontier.record import parse_frontier
from sealwire.keys.keyring.keyring import Keyring
from tests.integration.differential.compare import is_envelope
from tests.integration.differential.opening import Opens
from tests.integration.differential.values import Document

Moment = Mapping[int, Document]
"""By class id: the frontiers at one moment, as they are stored."""


class StoredForms:
    """Asks one server. A value whose frontier changes while it is looked at is not judged."""

    def __init__(self, frontiers: Collection[Document]) -> None:
        self._frontiers = frontiers
        self.judged = 0
        """How many values were."""

    def moment(self) -> Moment:
        """To be asked before the documents are read."""
        return {document["_id"]: document for document in self._frontiers.find()}

    def wrong(self, rows: list[Document], before: Moment, keyring: Keyring, opens: Opens) -> list[str]:
        """What is stored in a form that was not valid while `rows` were read, by path, class and version.

        Of a class with keys for contexts, its envelopes are one form, and plaintext the other.
        """
        after = self.moment()
        still = {
            class_id: parse_frontier(document, keyring.cipher_by_id(class_id, document["new"]))
            for class_id, document in after.items()
            if before.get(class_id) == document
        }
        return [
            f"{path}, {said}"
            for path, envelope in _envelopes(rows)
            for said in self._wrong(envelope, still, keyring, opens)
        ]

    def _wrong(
        self, envelope: bytes, still: Mapping[int, Frontier], keyring: Keyring, opens: Opens
    ) -> Iterator[str]:
        header = parse_any_header(envelope)
        frontier = still.get(header.class_id)
        if header.mode is not EnvelopeMode.DETERMINISTIC or frontier is None:
            return
        self.judged += 1
        valid = {Form.OLD: frontier.old_version, Form.NEW: frontier.new_version}
        cipher = keyring.cipher_by_id(header.class_id, frontier.old_version)
        old = ClassVersion(cipher, keyring.is_plaintext(cipher))
        version = header.key_version
        if is_of_context(envelope):
            version = frontier.new_version if old.is_plaintext else frontier.old_version
        form = frontier.form(_position(envelope, old, opens))
        moves = form is Form.MOVING and (frontier.is_moving or version == frontier.old_version)
        if version != valid.get(form) and not moves:
            yield f"class {header.class_id}: {form.value}, and version {version} of {valid}"


def _position(envelope: bytes, old: ClassVersion, opens: Opens) -> Position:
    """Where its value stands in the order of old forms."""
    if is_of_context(envelope) and not old.is_plaintext:
        return position_of(envelope)
    return old.position(*opens.open_envelope(envelope, 0, len(envelope)))


def may_be_clear(keyring: Keyring) -> frozenset[str]:
    """The deterministic classes that are stored in plaintext, or move from or to it."""
    return frozenset(
        name
        for name in keyring.active_classes
        for found in (version_of(keyring, name), pending_version_of(keyring, name))
        if found is not None and found.is_plaintext
    )


def _envelopes(value: Any, path: str = "") -> Iterator[tuple[str, bytes]]:
    """With the path of each, positions in arrays included."""
    if isinstance(value, list):
        value = {str(number): inner for number, inner in enumerate(value)}
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _envelopes(inner, f"{path}.{name}" if path else name)
    elif is_envelope(value):
        yield path, bytes(value)
