"""What must hold of the effects of any input, however malformed."""

import struct

from sealwire.proxy.session.effects import Close, Effect, ToClient
from sealwire.wire.framing import Framer
from sealwire.wire.op_msg import parse_op_msg, sequence_documents
from sealwire.wire.op_query import parse_op_query
from sealwire.wire.raw_bson import validate
from tests.proxy.session.world import body_of, decoded


def assert_closed_or_answered(effects: list[Effect]) -> None:
    last = effects[-1]
    if isinstance(last, Close):
        assert not any(isinstance(effect, ToClient) for effect in effects)
        return
    assert isinstance(last, ToClient)
    op_code = struct.unpack_from("<i", last.data, 12)[0]
    error = body_of(last.data) if op_code == 2013 else decoded(last.data[36:])
    if error["ok"]:
        # every statement of a write was refused
        assert error.get("writeErrors") or error.get("nErrors")
        return
    assert error["ok"] == 0.0
    assert error["code"]
    assert error["codeName"]


def assert_parses(data: bytes) -> None:
    """Every message in `data` is whole, and so is everything in it that a policy has to do with."""
    framer = Framer()
    for message in framer.feed(data):
        if struct.unpack_from("<i", message, 12)[0] == 2004:
            query = parse_op_query(message)
            validate(message, query.query, len(message))
            continue
        parsed = parse_op_msg(message)
        if _is_for_patients(message):
            for sequence in parsed.sequences:
                for start in sequence_documents(message, sequence):
                    validate(message, start, sequence.end)
    assert framer.pending_bytes == 0


def _is_for_patients(message: bytes) -> bool:
    """Whether a message names the protected collection, as far as its bytes can tell."""
    if b"nsInfo" in message:
        return b"bulkWrite\0" in message and b"\x10\0\0\0clinic.patients\0" in message
    return b"patients" in message and b"clinic" in message
