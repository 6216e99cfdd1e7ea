"""Commands that some drivers still send in a legacy query while they connect; all later ones are messages.

Servers answer these in OP_QUERY for the sake of drivers, above all of Java's before 4.0 (MongoDB's tickets
SERVER-58338, 59069, 61030 and 66806). Here such a query becomes the OP_MSG that it stands for, and what
answers it becomes an OP_REPLY, so that nothing behind this knows of another opcode.
"""

from typing import Final, final

from sealwire.proxy.session.effects import Effect, ToClient
from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.header import MSG, op_code_of, request_id_of, response_to_of
from sealwire.wire.int32 import int32_at
from sealwire.wire.op_msg import build_op_msg, parse_op_msg
from sealwire.wire.op_query import OpQuery, build_op_reply
from sealwire.wire.splice import Edit, splice

LEGACY_COMMANDS: Final = frozenset(
    b"buildInfo buildinfo saslStart saslContinue authenticate getnonce".split()
)
"""Those that servers answer, but for the handshake and one that only servers send."""

COMMAND_SUFFIX: Final = b".$cmd"
_EXHAUST: Final = 1 << 6
_MAX_ASKED: Final = 16
"""A driver asks one after the other; a client that does not read its replies cannot fill memory here."""


@final
class LegacyQueries:
    """The legacy queries of one client that await their reply."""

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def as_message(self, message: bytes, query: OpQuery) -> bytes:
        """The OP_MSG that a query of one of LEGACY_COMMANDS stands for.

        Raises ProtocolError where an exhaust stream is asked for, or much is asked and nothing is awaited.
        """
        request_id = request_id_of(message)
        # one that had to wait comes again
        is_full = len(self._asked) >= _MAX_ASKED and request_id not in self._asked
        if query.flags & _EXHAUST or is_full:
            raise ProtocolError(WireReason.FLAGS, 16)
        database = query.namespace.removesuffix(COMMAND_SUFFIX) + b"\0"
        body = message[query.query : query.end]
        named = b"\x02$db\0" + len(database).to_bytes(4, "little") + database
        last = len(body) - 1
        body = splice(body, [Edit(last, last, named, (0,))])
        self._asked[request_id] = None
        return build_op_msg(request_id, 0, body)

    def answered(self, effects: list[Effect]) -> list[Effect]:
        """The effects, with what answers such a query as an OP_REPLY. Raises ProtocolError."""
        return [self._answer(effect) if isinstance(effect, ToClient) else effect for effect in effects]

    def _answer(self, effect: ToClient) -> ToClient:
        message = effect.data
        response_to = response_to_of(message)
        if response_to not in self._asked or op_code_of(message) != MSG:
            return effect
        del self._asked[response_to]
        parsed = parse_op_msg(message)
        if parsed.sequences:
            # no reply to one of these commands has any, and an OP_REPLY has no place for them
            raise ProtocolError(WireReason.OPCODE, 12)
        body = message[parsed.body : parsed.body + int32_at(message, parsed.body)]
        return ToClient(build_op_reply(request_id_of(message), response_to, body))
