"""Carry out a plan: put envelopes where it says, correct the lengths, keep every other byte."""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.keyring import Keyring
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.plan import Plan, RangeEdit, ValueEdit
from sealwire.policies.schema import Mode
from sealwire.wire import kinds
from sealwire.wire.op_msg import refresh_checksum
from sealwire.wire.splice import Edit, resized, splice

# maxBsonObjectSize of every MongoDB server, and the 16 KiB more that it allows a command around a document.
# Whether a document in between is too large, only the server can tell, and it does.
MAX_COMMAND_BYTES: Final = 16 * 1024 * 1024 + 16 * 1024

_BINARY: Final = bytes((kinds.BIN_DATA,))
_binary_head: Final = struct.Struct("<iB").pack
_pack_int32: Final = struct.Struct("<i").pack

# Two centuries of days under one key: about 12 MB in all.
MAX_KEPT_VALUES: Final = 73_100


def apply_plan(plan: Plan, keyring: Keyring, max_message_bytes: int) -> bytes:
    """The message of `plan` with its covered values encrypted.

    Returns the very same bytes when the plan has no edits.
    Raises: UnknownKey; Refusal(TOO_LARGE) when a document or the message outgrows what the server accepts.
    Cost: O(message) and one AES-SIV call a value.
    """
    message = plan.buf
    if not plan.edits:
        return message
    edits = [_edit(message, planned, keyring.cipher_for(planned.field_class.name)) for planned in plan.edits]
    edits += [Edit(gone.element.start, gone.element.end, b"", gone.parents) for gone in plan.removals]
    lengths = resized(message, edits)
    _check_sizes(edits, lengths, max_message_bytes)
    return refresh_checksum(splice(message, edits, lengths))


def _edit(message: bytes, planned: ValueEdit | RangeEdit, cipher: ValueCipher) -> Edit:
    if isinstance(planned, RangeEdit):
        return _listed(planned, cipher)
    return _encrypted(message, planned, cipher)


def _listed(planned: RangeEdit, cipher: ValueCipher) -> Edit:
    """`$in` with an envelope for each value of the range, in the order of the ciphertexts.

    In the order of the values the list would tell the server the order that the ciphertexts hide.
    """
    domain, value_type = planned.field_class.domain, planned.field_class.value_type
    if domain is None or value_type is None:
        raise TypeError("a range without a domain")
    kind = value_type.kind
    binaries = sorted(_grid_binary(cipher, kind, value) for value in domain.values(kind, planned.positions))
    inside = b"".join(b"%b%d\0%b" % (_BINARY, index, binary) for index, binary in enumerate(binaries))
    data = b"".join((b"\x04$in\0", _pack_int32(len(inside) + 5), inside, b"\0"))
    return Edit(planned.element.start, planned.element.end, data, planned.parents)


# Ranges over the same years are asked again and again, and each value costs an AES-SIV call. What is kept are
# ciphertexts of whole grids, which say nothing about what is stored; see the threat model.
@lru_cache(maxsize=MAX_KEPT_VALUES)
def _grid_binary(cipher: ValueCipher, kind: int, value: bytes) -> bytes:
    return _binary(cipher.encrypt_deterministically(kind, value))


def forget_grids() -> None:
    """Drop what is kept of grids, and with it the ciphers under which they lie."""
    _grid_binary.cache_clear()


def _binary(envelope: bytes) -> bytes:
    return _binary_head(len(envelope), SUBTYPE) + envelope


def _encrypted(message: bytes, planned: ValueEdit, cipher: ValueCipher) -> Edit:
    element = planned.element
    value = planned.value
    if value is None:
        value = message[element.value : element.end]
    if planned.field_class.mode is Mode.DETERMINISTIC:
        envelope = cipher.encrypt_deterministically(planned.kind, value)
    else:
        envelope = cipher.encrypt_randomly(planned.kind, value)
    # The name with its NUL lies between the type byte and the value.
    name = message[element.start + 1 : element.value]
    data = b"".join((_BINARY, name, _binary(envelope)))
    return Edit(element.start, element.end, data, planned.parents)


def _check_sizes(edits: Sequence[Edit], lengths: dict[int, int], max_message_bytes: int) -> None:
    """Refuse what the server would refuse, so that the client hears why.

    In an edit's parents the first length is the message's; the one directly below it may be a document
    sequence, which is as large as the message allows. Everything below that is a document.
    """
    if lengths.get(0, 0) > max_message_bytes:
        raise Refusal(Reason.TOO_LARGE)
    if max(lengths.values(), default=0) <= MAX_COMMAND_BYTES:
        return
    if any(lengths.get(parent, 0) > MAX_COMMAND_BYTES for edit in edits for parent in edit.parents[2:]):
        raise Refusal(Reason.TOO_LARGE)
