"""Open envelopes as far as a client's rights go: in clear, as a mask, as ciphertext, or not at all.

What class a value is of, its envelope says. So a field that was renamed, projected, joined, grouped or put
into an error is shown as it would be where the policy names it.

Plaintext where ciphertext belongs says nothing of the kind. It is recognised by the path at which it stands.
"""

from collections.abc import Callable
from typing import Final, final

from sealwire.crypto.envelope import class_id_of
from sealwire.policies.file.schema import PathNode
from sealwire.policies.file.stored import StoredValues
from sealwire.policies.roles.masks import masked
from sealwire.policies.roles.role import Disclosure, Level, Mask, Rights
from sealwire.proxy.session.replies import ReadDenied
from sealwire.proxy.session.revealing.plaintext import is_encrypted
from sealwire.proxy.session.revealing.reveal import OpenEnvelope
from sealwire.wire import kinds
from sealwire.wire.op_msg import refresh_checksum
from sealwire.wire.splice import Edit, splice


def withhold_plaintext(message: bytes, body: int, tree: PathNode, rights: Rights) -> bytes:
    """A reply whose plaintext at covered paths is shown as far as the rights go: in clear, or as a mask.

    `tree` has the covered paths of the documents, or of the distinct values, in it. Raises ReadDenied for a
    class of which the client sees nothing, or ciphertext, which is not there; BsonError. Cost: O(elements on
    the way to covered paths).
    """
    batches = PathNode("", {b"firstBatch": tree, b"nextBatch": tree})
    walk = StoredValues(message, PathNode("", {b"cursor": batches, b"value": tree, b"values": tree}), body)
    edits: list[Edit] = []
    while walk.next_value():
        disclosure = rights.access(walk.leaf.name).read
        if disclosure.level is Level.CLEAR:
            continue
        if walk.kind == kinds.BIN_DATA and is_encrypted(message, walk.value):
            continue
        if disclosure.level is not Level.MASKED:
            raise ReadDenied
        kind, value = masked(disclosure.mask, walk.kind, message[walk.value : walk.end])
        parents = (0, *walk.parents)
        edits.append(Edit(walk.start, walk.start + 1, bytes((kind,)), parents))
        edits.append(Edit(walk.value, walk.end, value, parents))
    return refresh_checksum(splice(message, edits)) if edits else message


# A BSON Binary's length and subtype, before the envelope.
_BINARY_HEAD_BYTES: Final = 5


@final
class Shown:
    """Opens envelopes for one client. Made anew for other rights, and for another keyring."""

    __slots__ = ("_classes_of", "_counts", "_known", "_masks_denied", "_open", "rights")

    def __init__(
        self,
        rights: Rights,
        classes_of: Callable[[int], tuple[str, ...]],
        open_envelope: OpenEnvelope,
        *,
        masks_denied: bool = False,
    ) -> None:
        """`classes_of`: the classes whose envelopes may have a class id. With `masks_denied` a denied value
        is masked, and does not withhold the reply.
        """
        self.rights: Final = rights
        self._masks_denied = masks_denied
        self._counts: dict[int, int] = {}
        self._classes_of = classes_of
        self._open = open_envelope
        self._known: dict[int, Disclosure] = {}

    def open_envelope(self, buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        """As `Keyring.open_envelope`: what the client is shown. Raises ReadDenied, and as that."""
        class_id = class_id_of(buf, start)
        disclosure = self._known.get(class_id)
        if disclosure is None:
            names = self._classes_of(class_id)
            if not names:
                self._open(buf, start, end)  # says which key is wanted
                raise ReadDenied
            disclosure = self._known[class_id] = self.rights.disclosure(names)
        self._counts[class_id] = self._counts.get(class_id, 0) + 1
        level = disclosure.level
        if level is Level.CLEAR:
            return self._open(buf, start, end)
        if level is Level.MASKED:
            return masked(disclosure.mask, *self._open(buf, start, end))
        if level is Level.CIPHERTEXT:
            return kinds.BIN_DATA, buf[start - _BINARY_HEAD_BYTES : end]
        if self._masks_denied:
            return masked(Mask.FIXED, kinds.STRING, b"")
        raise ReadDenied

    @property
    def most_of_a_class(self) -> int:
        """How many values were met of the class of which there were most."""
        return max(self._counts.values(), default=0)
