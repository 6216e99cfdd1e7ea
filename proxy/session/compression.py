"""What the two peers of one session have agreed to compress: the client with us, and we with the server.

Theory of operation. Each side is negotiated on its own, in the handshake that passes anyway: the client's
offer is answered with what this proxy offers too, and what this proxy offers to the server takes its place.
Messages are inflated before anybody looks at them, and compressed when all effects are known: so what lies
between knows nothing of it. A session whose proxy offers nothing to either side has no Compression, and pays
one comparison for each message.

A reply is compressed when its request was, by the same compressor. To the server all but logins is.
Source: OP_COMPRESSED (driver specifications).
"""

from collections.abc import Sequence
from typing import Final, final

from sealwire.proxy.session import effects
from sealwire.wire.compressors import Compressor
from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.framing import COMPRESSED, MSG, LongMessage, op_code_of, request_id_of, response_to_of
from sealwire.wire.op_compressed import compress, compressor_of, inflate
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg, parse_op_msg
from sealwire.wire.raw_bson import Cursor, find_element

LOGINS: Final = frozenset(
    b"""saslStart saslContinue getnonce authenticate createUser updateUser copydb copydbgetnonce
    copydbSaslStart""".split()
)
"""What may hold a password beside text that somebody else chose: its length would tell. A client that
compresses one is cut off; no driver does."""
NEVER_COMPRESSED: Final = LOGINS | {b"hello", b"isMaster", b"ismaster"}
"""What goes to the server as it is. Node's driver compresses a later `hello` in some versions, and servers
take that: so does this proxy, unless a login begins with it."""

MAX_STEP_BYTES: Final = 1 << 20
"""When so much has come out of the messages of one step, the others wait for the next. What a few thousand
bytes may become would else be in memory all at once."""

# More than can await their replies (`requests.MAX_AWAITED`). What is left over is of streams whose server
# names the first request in each reply.
_MAX_REQUESTS: Final = 2048

_FLAGS: Final = 16


@final
class Compression:
    """One of each session of a proxy that offers compression."""

    __slots__ = (
        "_counts",
        "_for_clients",
        "_for_server",
        "_requests",
        "_with_client",
        "_with_server",
        "inflated_bytes",
    )

    def __init__(self, for_clients: tuple[Compressor, ...], for_server: tuple[Compressor, ...]) -> None:
        self._for_clients = for_clients
        self._for_server = for_server
        self._with_client: tuple[Compressor, ...] = ()
        self._with_server: Compressor | None = None
        # By what a request was compressed, by the id that the next reply to it answers.
        self._requests: dict[int, Compressor] = {}
        # Compressed messages that no effect has told of yet.
        self._counts: list[effects.Effect] = []
        self.inflated_bytes = 0
        """What has come out of messages in the present step; the session resets it."""

    # -- the handshake ---------------------------------------------------------------------------------------

    def client_offers(self, names: Sequence[str]) -> None:
        """The client's handshake names these; of what we know, its order counts, as with a server."""
        ours = {compressor.name: compressor for compressor in self._for_clients}
        self._with_client = tuple(ours[name] for name in dict.fromkeys(names) if name in ours)

    @property
    def for_client(self) -> list[str]:
        """What the client is told."""
        return [compressor.name for compressor in self._with_client]

    @property
    def for_server(self) -> list[str]:
        """What the server is offered."""
        return [compressor.name for compressor in self._for_server]

    def server_answers(self, names: Sequence[str]) -> None:
        """The server names these of what it was offered; our order counts."""
        found = (compressor for compressor in self._for_server if compressor.name in names)
        self._with_server = next(found, self._with_server)

    # -- messages --------------------------------------------------------------------------------------------

    def from_client(self, message: bytes, max_message_bytes: int) -> bytes:
        """A message as the client has meant it. Raises ProtocolError, also for a compressed login."""
        if op_code_of(message) != COMPRESSED:
            return message
        compressor = compressor_of(message, self._with_client)
        inflated = inflate(message, compressor, max_message_bytes)
        self.inflated_bytes += len(inflated)
        self._count("client", "received", compressor)
        parsed = parse_op_msg(inflated)
        if _is_login(inflated, parsed):
            raise ProtocolError(WireReason.COMPRESSED_LOGIN, 0)
        if not parsed.flags & MORE_TO_COME:
            if len(self._requests) >= _MAX_REQUESTS:
                self._requests.clear()
            self._requests[request_id_of(inflated)] = compressor
        return inflated

    def from_server(self, message: bytes | LongMessage, max_message_bytes: int) -> bytes | LongMessage:
        """A message as the server has meant it. Raises ProtocolError, also where nothing was agreed."""
        head = message.head if isinstance(message, LongMessage) else message
        if op_code_of(head) != COMPRESSED:
            return message
        whole = message.joined() if isinstance(message, LongMessage) else message
        # a server may answer by any that it was offered and has named
        allowed = () if self._with_server is None else self._for_server
        compressor = compressor_of(whole, allowed)
        inflated = inflate(whole, compressor, max_message_bytes)
        self.inflated_bytes += len(inflated)
        self._count("server", "received", compressor)
        return inflated

    def packed(self, given: list[effects.Effect]) -> list[effects.Effect]:
        """The effects, with messages compressed as agreed, after a Count for each that is or was compressed.

        Cost: O(bytes of these messages), at once
        """
        packed = [self._packed(effect) for effect in given]
        counts, self._counts = self._counts, []
        return counts + packed

    def _packed(self, effect: effects.Effect) -> effects.Effect:
        match effect:
            case effects.ToClient() if self._requests:
                return effects.ToClient(self._reply(effect.data))
            case effects.LongToClient() if self._requests:
                return effects.ToClient(self._reply(_joined(effect.pieces)))
            case effects.ToServer() if self._with_server is not None:
                return effects.ToServer(self._request(effect.data, self._with_server))
            case effects.LongToServer() if self._with_server is not None:
                return effects.ToServer(self._request(_joined(effect.pieces), self._with_server))
            case _:
                return effect

    def _reply(self, message: bytes) -> bytes:
        compressor = self._requests.pop(response_to_of(message), None)
        if compressor is None or op_code_of(message) != MSG:
            return message
        if message[_FLAGS] & MORE_TO_COME:
            # in a stream each reply answers the one before it
            self._requests[request_id_of(message)] = compressor
        return self._compressed("client", message, compressor)

    def _request(self, message: bytes, compressor: Compressor) -> bytes:
        if op_code_of(message) != MSG or _command_of(message, parse_op_msg(message)) in NEVER_COMPRESSED:
            return message
        return self._compressed("server", message, compressor)

    def _compressed(self, peer: str, message: bytes, compressor: Compressor) -> bytes:
        """As it is where it would not become shorter."""
        smaller = compress(message, compressor)
        if op_code_of(smaller) == COMPRESSED:
            self._count(peer, "sent", compressor)
        return smaller

    def _count(self, peer: str, direction: str, compressor: Compressor) -> None:
        label = compressed_label(peer, direction, compressor.name)
        self._counts.append(effects.Count(effects.Counter.COMPRESSED_MESSAGES, label=label))


def compressed_label(peer: str, direction: str, compressor: str) -> str:
    """Under what a compressed message is counted."""
    return f"{peer} {direction} {compressor}"


def _command_of(message: bytes, parsed: OpMsg) -> bytes:
    """The name of the command in an OP_MSG. Raises BsonError."""
    cursor = Cursor(message, parsed.body)
    return cursor.name if cursor.advance() else b""


def _is_login(message: bytes, parsed: OpMsg) -> bool:
    """Whether a login may begin or go on with a command. Raises BsonError."""
    name = _command_of(message, parsed)
    if name in NEVER_COMPRESSED and name not in LOGINS:
        return find_element(message, parsed.body, b"speculativeAuthenticate") is not None
    return name in LOGINS


def _joined(pieces: list[bytes]) -> bytes:
    """All of them in one piece, for they are compressed at once; takes them."""
    whole = b"".join(pieces)
    pieces.clear()
    return whole
