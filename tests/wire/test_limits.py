"""Numbers of MongoDB's wire protocol, and bounds that the rest of the proxy counts on."""

import pytest

from sealwire.wire import header, op_msg, op_query
from sealwire.wire.framing import MAX_MESSAGE_BYTES
from sealwire.wire.header import HEADER_BYTES
from sealwire.wire.long_message import HEAD_BYTES, LONG_BYTES, PART_BYTES, SMALL_BYTES
from sealwire.wire.raw_bson import MAX_DEPTH, MIN_DOCUMENT_BYTES
from sealwire.wire.splice import JOINED_BYTES


@pytest.mark.parametrize(
    ("limit", "number"),
    [
        # maxMessageSizeBytes of every MongoDB server
        (MAX_MESSAGE_BYTES, 48_000_000),
        # header, flags, a section's kind and the length of its document
        (HEAD_BYTES, 25),
        (HEADER_BYTES, 16),
        (MIN_DOCUMENT_BYTES, 5),
        (header.MSG, 2013),
        (op_msg.CHECKSUM_PRESENT, 1),
        (op_msg.MORE_TO_COME, 2),
        (op_msg.CHECKSUM_BYTES, 4),
        (op_msg.MAX_SEQUENCES, 16),
        (op_query.AWAIT_CAPABLE, 8),
        (MAX_DEPTH, 200),
        (LONG_BYTES, 1_048_576),
        (PART_BYTES, 131_072),
        (SMALL_BYTES, 4096),
        (JOINED_BYTES, 1_048_576),
    ],
)
def test_a_limit_is_what_it_was(limit: int, number: int) -> None:
    assert limit == number
