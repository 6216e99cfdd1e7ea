"""The one login that cannot pass through a proxy: MONGODB-X509.

It names the user by the certificate of the TLS connection, and the server's connection has the proxy's own:
sent on, every client would be logged in as the proxy. So it ends here: the proxy has verified the client's
certificate, and logs it in as whom the configuration says (`sides.certificate_login`), or refuses. All other
mechanisms carry their proof in messages, which pass as received.
Source: Authentication (driver specifications), MONGODB-X509 and speculative authentication.
"""

from collections.abc import Iterator
from typing import Final, final

from bson import encode

from sealwire.proxy.session.effects import Effect, ToClient
from sealwire.wire import kinds
from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.framing import MSG, op_code_of, request_id_of, response_to_of
from sealwire.wire.op_msg import build_op_msg, parse_op_msg
from sealwire.wire.op_query import OpQuery, build_op_reply
from sealwire.wire.raw_bson import Edit, Element, elements, find_element, int32_at, splice, string_bytes

_MECHANISM: Final = b"MONGODB-X509"
_EXTERNAL: Final = b"$external"


# Commands that some drivers still send in a legacy query while they connect; all later ones are messages.
#
# Servers answer these in OP_QUERY for the sake of drivers, above all of Java's before 4.0 (MongoDB's
# tickets SERVER-58338, 59069, 61030 and 66806). Here such a query becomes the OP_MSG that it stands for,
# and what answers it becomes an OP_REPLY, so that nothing behind this knows of another opcode.

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

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked: dict[int, None] = {}
        """Their ids."""

    def as_message(self, message: bytes, query: OpQuery) -> bytes:
        """The OP_MSG that a query of one of LEGACY_COMMANDS stands for.

        Raises ProtocolError where an exhaust stream is asked for, or much is asked and nothing is awaited.
        """
        request_id = request_id_of(message)
        # one that had to wait comes again
        is_full = len(self.asked) >= _MAX_ASKED and request_id not in self.asked
        if query.flags & _EXHAUST or is_full:
            raise ProtocolError(WireReason.FLAGS, 16)
        database = query.namespace.removesuffix(COMMAND_SUFFIX) + b"\0"
        body = message[query.query : query.end]
        named = b"\x02$db\0" + len(database).to_bytes(4, "little") + database
        last = len(body) - 1
        body = splice(body, [Edit(last, last, named, (0,))])
        self.asked[request_id] = None
        return build_op_msg(request_id, 0, body)

    def answered(self, effects: list[Effect]) -> list[Effect]:
        """The effects, with what answers such a query as an OP_REPLY. Raises ProtocolError."""
        return [self._answer(effect) if isinstance(effect, ToClient) else effect for effect in effects]

    def _answer(self, effect: ToClient) -> ToClient:
        message = effect.data
        response_to = response_to_of(message)
        if response_to not in self.asked or op_code_of(message) != MSG:
            return effect
        del self.asked[response_to]
        parsed = parse_op_msg(message)
        if parsed.sequences:
            # no reply to one of these commands has any, and an OP_REPLY has no place for them
            raise ProtocolError(WireReason.OPCODE, 12)
        body = message[parsed.body : parsed.body + int32_at(message, parsed.body)]
        return ToClient(build_op_reply(request_id_of(message), response_to, body))


# By which mechanism a client logs in, as a label for figures: one of a closed set, never the client's
# word.
#
# Source: Authentication (driver specifications), "Supported authentication methods".

OTHER: Final = "other"
CERTIFICATE: Final = "MONGODB-X509"

MECHANISMS: Final = (
    *("SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN", "GSSAPI"),
    *("MONGODB-AWS", "MONGODB-OIDC", CERTIFICATE, OTHER),
)
"""By the names that drivers use."""

_LABELS: Final = {name.encode(): name for name in MECHANISMS}


def mechanism_in(message: bytes, document: int) -> str:
    """What the `mechanism` of a `saslStart`, or of one inside a hello, is counted as. Raises BsonError."""
    named = find_element(message, document, b"mechanism")
    if named is None or named.kind != kinds.STRING:
        return OTHER
    return _LABELS.get(string_bytes(message, named), OTHER)


class CertificateLogin(Exception):
    """A client wants to log in by certificate; the session logs it in, or answers AuthenticationFailed."""

    hint = "log in with SCRAM-SHA-256, or another mechanism whose proof travels in messages"


LOGINS_BY_CERTIFICATE: Final = frozenset({b"authenticate", b"saslStart"})
"""The commands that may be one."""


def check_login(message: bytes, body: int, name: bytes) -> None:
    """Raises CertificateLogin when the command `name` at `body` is a login by certificate.

    Cost: O(elements of `saslStart`).

    All of `authenticate` is one: no server since 4.0 knows another mechanism for it.
    """
    if name == b"authenticate" or (name == b"saslStart" and _names_certificate(message, body)):
        raise CertificateLogin("a login by certificate ends at the proxy")


def certificate_speculations(message: bytes, hello: int) -> Iterator[Element]:
    """The `speculativeAuthenticate` elements of a hello that would log in by certificate.

    A driver whose speculation is not answered sends the explicit command, and reads our error to that.
    """
    for element in elements(message, hello):
        if element.name == b"speculativeAuthenticate" and (
            element.kind != kinds.OBJECT or _is_certificate_login(message, element.value)
        ):
            yield element


def is_own_claim(message: bytes, document: int, database: bytes, names: tuple[str, ...]) -> bool:
    """Whether a login by certificate claims nothing but what the certificate says. Raises BsonError.

    `database` is the name of the element that says where the user is kept. The user may be left out; given,
    it is one of the spellings of the certificate's subject. Nobody is somebody else because he says so.
    """
    claimed: list[bytes] = []
    is_external = False
    for element in elements(message, document):
        text = string_bytes(message, element) if element.kind == kinds.STRING else None
        if element.name == b"mechanism" and text != _MECHANISM:
            return False
        if element.name == database:
            is_external = text == _EXTERNAL
        if element.name == b"user":
            claimed.append(b"?" if text is None else text)
        if element.name == b"payload":
            claimed.append(_payload(message, element))
    said = {claim for claim in claimed if claim}
    return is_external and said <= {name.encode() for name in names}


def _payload(message: bytes, element: Element) -> bytes:
    """The user in a `saslStart`: the bytes of a binary, after its length and subtype."""
    if element.kind == kinds.STRING:
        return string_bytes(message, element)
    return message[element.value + 5 : element.end] if element.kind == kinds.BIN_DATA else b"?"


def without_certificate_mechanism(message: bytes, hello: int) -> bytes:
    """A hello's reply whose `saslSupportedMechs` do not offer what would be refused. Raises BsonError."""
    offered = find_element(message, hello, b"saslSupportedMechs")
    if offered is None or offered.kind != kinds.ARRAY:
        return message
    items = (item for item in elements(message, offered.value) if item.kind == kinds.STRING)
    names = [string_bytes(message, item) for item in items]
    if _MECHANISM not in names:
        return message
    kept = [name.decode("utf-8", "replace") for name in names if name != _MECHANISM]
    array = encode({str(place): name for place, name in enumerate(kept)})
    return splice(message, [Edit(offered.value, offered.end, array, (0, hello))])


def answer_of(name: bytes, subject: str) -> dict[str, object]:
    """What a server answers to the command `name` that has logged the holder of a certificate in."""
    if name == b"saslStart":
        return {"conversationId": 1, "done": True, "payload": b"", "ok": 1.0}
    return {"dbname": _EXTERNAL.decode(), "user": subject, "ok": 1.0}


def with_speculation(message: bytes, hello: int, name: bytes, subject: str) -> bytes:
    """A hello's reply in which the login that began with the hello has ended well."""
    entry = encode({"speculativeAuthenticate": answer_of(name, subject)})[4:-1]
    end = hello + int.from_bytes(message[hello : hello + 4], "little") - 1
    return splice(message, [Edit(end, end, entry, (0, hello))])


def _is_certificate_login(message: bytes, document: int) -> bool:
    names = {element.name for element in elements(message, document)}
    return b"authenticate" in names or _names_certificate(message, document)


def _names_certificate(message: bytes, document: int) -> bool:
    """Whether any `mechanism` of a document is the certificate's: the server may take the first or last."""
    return any(
        element.name == b"mechanism" and _MECHANISM in message[element.value : element.end]
        for element in elements(message, document)
    )
