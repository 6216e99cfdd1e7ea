"""Find envelopes in messages, and decrypt those of a reply.

Envelopes describe themselves, so a reply is decrypted by what it holds and not by the paths of a policy:
renamed and projected fields, joined and grouped documents, change events and errors all come out in clear.
One search for the marker decides whether a message is walked at all, and which of its documents.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sealwire.crypto.envelope import MARKER
from sealwire.keys.keyring import Keyring
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.op_msg import OpMsg, refresh_checksum, sequence_documents
from sealwire.wire.raw_bson import MAX_DEPTH, BsonType, Element, int32_at, scope_document, seek
from sealwire.wire.splice import Edit, splice

Parents = tuple[int, ...]

# A BSON Binary begins with its int32 length; the subtype, where a marker stands, follows.
_SUBTYPE_OFFSET = 4
_CONTENT_OFFSET = 5

_OBJECT, _ARRAY = int(BsonType.OBJECT), int(BsonType.ARRAY)
_BIN_DATA, _SCOPED = int(BsonType.BIN_DATA), int(BsonType.JAVASCRIPT_WITH_SCOPE)


class Found(NamedTuple):
    """An element whose value is marked as an envelope."""

    element: Element
    parents: Parents


def find_envelopes(buf: bytes, documents: Sequence[tuple[int, Parents]]) -> list[Found]:
    """Every marked binary in `documents`, (offset, lengths above it) pairs in the order of the bytes.

    Raises BsonError. Cost: one search over the bytes; a walk of the documents with a hit only.
    """
    found: list[Found] = []
    hit = buf.find(MARKER)
    for start, parents in documents:
        if hit < 0:
            break
        hit = _walk(buf, start, parents, found, hit)
    return found


def _walk(buf: bytes, start: int, parents: Parents, found: list[Found], hit: int) -> int:
    """Collect from the document at `start`; `hit` is the next marker, the answer the next one behind."""
    if len(parents) > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, start)
    inner = (*parents, start)
    at, last = start + 4, start + int32_at(buf, start) - 1
    while 0 <= hit < last:
        element = seek(buf, at, last, hit)
        if element is None:
            break
        kind, _, _, value, at = element
        if hit >= value:
            if kind in (_OBJECT, _ARRAY):
                hit = _walk(buf, value, inner, found, hit)
            elif kind == _SCOPED:
                hit = _walk(buf, scope_document(buf, element), (*inner, value), found, hit)
            elif kind == _BIN_DATA and hit == value + _SUBTYPE_OFFSET:
                found.append(Found(element, inner))
            if 0 <= hit < at:
                hit = buf.find(MARKER, at)
        else:
            # in a name: what stands there is no value, but one may follow in the same element
            hit, at = buf.find(MARKER, value), element.start
    return hit


def message_documents(message: bytes, parsed: OpMsg) -> list[tuple[int, Parents]]:
    """The documents of an OP_MSG with the lengths above them, in the order of the bytes."""
    documents: list[tuple[int, Parents]] = [(parsed.body, (0,))]
    for sequence in parsed.sequences:
        parents = (0, sequence.start)
        documents.extend((start, parents) for start in sequence_documents(message, sequence))
    return sorted(documents)


def reveal(message: bytes, found: Sequence[Found], keyring: Keyring) -> bytes:
    """`message`, an OP_MSG, with the envelopes in `found` decrypted in place.

    Raises: InvalidEnvelope, UnknownKey, KeyDestroyed, DecryptionFailed; then nothing of the message may be
    passed on. Cost: O(message) and one AES-SIV call an envelope.
    """
    edits: list[Edit] = []
    for element, parents in found:
        envelope = message[element.value + _CONTENT_OFFSET : element.end]
        kind, value = keyring.cipher_for_envelope(envelope).decrypt(envelope)
        name = message[element.start + 1 : element.value]
        edits.append(Edit(element.start, element.end, b"".join((bytes((kind,)), name, value)), parents))
    return refresh_checksum(splice(message, edits))
