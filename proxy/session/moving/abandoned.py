"""A transaction that may not be committed any more is aborted in its commit's place.

The server would else keep it open, with its locks, for as long as a transaction may last: a driver aborts
nothing after a commit that has failed.
"""

import struct
from typing import Final

from sealwire.wire import kinds
from sealwire.wire.header import request_id_of
from sealwire.wire.op_msg import OpMsg, build_op_msg
from sealwire.wire.raw_bson import elements

_ABORT: Final = bytes((kinds.INT,)) + b"abortTransaction\0\1\0\0\0"
_int32: Final = struct.Struct("<i").pack


def abort_of(message: bytes, parsed: OpMsg) -> bytes:
    """The command that aborts what this `commitTransaction` would commit, under the same request id.

    Everything else stays as it is: session, number, write concern. Raises BsonError. Cost: O(message)
    """
    others = [
        message[element.start : element.end]
        for element in elements(message, parsed.body)
        if element.name != b"commitTransaction"
    ]
    content = b"".join((_ABORT, *others))
    return build_op_msg(request_id_of(message), 0, _int32(len(content) + 5) + content + b"\0")
