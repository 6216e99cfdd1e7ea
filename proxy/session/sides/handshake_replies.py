"""What a client is told in answer to handshakes and logins, and of the members of a replica set."""

from collections.abc import Callable
from typing import Final

from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import Conversation
from sealwire.proxy.session.effects import Audit, CloseReason, Count, Counter, Effect, StrangerMet, ToClient
from sealwire.proxy.session.login.caller import is_speculative_yes, is_yes
from sealwire.proxy.session.login.handshake import UnknownMember, names_stranger
from sealwire.proxy.session.login.members import rewrite_members
from sealwire.proxy.session.requests import Request, RequestKind
from sealwire.proxy.session.sides import certificate_login, on_record
from sealwire.proxy.session.sides.server_errors import counted_errors
from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.header import response_to_of
from sealwire.wire.op_msg import OpMsg, refresh_checksum

_GONE: Final = replies.NO_SUCH_TRANSACTION[0]
"""The server's answer to the abort of a transaction that it has aborted itself."""


def handshake_reply(
    conversation: Conversation, request: Request, message: bytes, parsed: OpMsg
) -> list[Effect]:
    """The reply to what is no ordinary command: a handshake, a step of a login, a question for members.

    Raises ProtocolError, BsonError.
    """
    body = parsed.body
    if request.kind is RequestKind.LEGACY_HELLO:
        # answered in another opcode, it would reach the client with the members' own addresses
        raise ProtocolError(WireReason.OPCODE, 12)
    if request.kind is RequestKind.HELLO:
        return hello_reply(conversation, message, body, refresh_checksum)
    if request.kind is RequestKind.MEMBERS:
        rewritten = rewrite_members(message, body, conversation.topology)
        done = on_record.of_reply(conversation.shared, request, message, parsed)
        return [*done, ToClient(refresh_checksum(rewritten)), *counted_errors(request, message, body)]
    if request.kind is RequestKind.ABORT:
        is_aborted = replies.is_ok(message, body) or replies.has_code(message, body, _GONE)
        error = replies.abandoned_body(is_aborted=is_aborted)
        return [ToClient(replies.command_error(conversation.new_id(), response_to_of(message), error))]
    reply: list[Effect] = [ToClient(message)]
    if is_yes(message, body):
        conversation.log_in()
        reply.append(Count(Counter.LOGINS, label=conversation.mechanism))
    if not replies.is_ok(message, body):
        failed = Audit("login-failed", "", request.command, replies.code_text(message, body))
        reply = [failed, Count(Counter.LOGIN_FAILURES, label=conversation.mechanism), *reply]
    return reply


def hello_reply(
    conversation: Conversation, message: bytes, document: int, finish: Callable[[bytes], bytes]
) -> list[Effect]:
    """The reply to a hello, with our addresses, and with its `document` put right by `finish`.

    A member without an address here ends the session. Raises BsonError.
    """
    topology = conversation.topology
    strangers: list[Effect] = []
    if topology.withholds and names_stranger(message, document, topology):
        strangers.append(StrangerMet())
    try:
        told = certificate_login.hello_reply(conversation, message, document)
        rewritten = finish(conversation.hello_reply(told, document))
    except UnknownMember as error:
        return [*strangers, conversation.end(CloseReason.TOPOLOGY, str(error))]
    reply: list[Effect] = [ToClient(rewritten), *strangers]
    if is_speculative_yes(message, document):
        conversation.log_in()
        reply.append(Count(Counter.LOGINS, label=conversation.mechanism))
    return reply
