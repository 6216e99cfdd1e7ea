"""Log a client in that has shown a certificate: as whom the configuration says, on its own connection.

The client's command waits while the proxy talks with the server: one question where the server sees the
certificate that the proxy shows for this client, two or three with a user and his password. Then the command
comes again, and is answered by what came of it. Only the connection of this client is logged in, and what the
server says of its users counts for roles and audit, as after every other login.
"""

import secrets
from typing import Final

from bson import encode

from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import Conversation
from sealwire.proxy.session.effects import Audit, Count, Counter, Effect, PauseClient, ToClient, ToServer
from sealwire.proxy.session.login.authentication import (
    CERTIFICATE,
    CertificateLogin,
    answer_of,
    certificate_speculations,
    is_own_claim,
    with_speculation,
    without_certificate_mechanism,
)
from sealwire.proxy.session.login.caller import ScramIdentity, UpstreamIdentity
from sealwire.proxy.session.login.certificate_steps import CertificateSteps, NotLoggedIn, Question, ScramSteps
from sealwire.proxy.session.login.scram import NONCE_BYTES
from sealwire.proxy.session.requests import RequestKind
from sealwire.proxy.session.sides.denying import failed
from sealwire.proxy.session.sides.look_up import API_VERSION, api_of, asking
from sealwire.proxy.session.states import Event, State
from sealwire.wire import kinds
from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.header import request_id_of, response_to_of
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg, build_op_msg
from sealwire.wire.raw_bson import elements

_COMMAND: Final = "authenticate"


def failed_or_begun(
    conversation: Conversation, failure: Exception, message: bytes, parsed: OpMsg
) -> list[Effect]:
    """Answer what cannot be carried out; of a login by certificate ask the server, if it can be.

    Raises BsonError, and ProtocolError when too much is awaited.
    """
    if isinstance(failure, CertificateLogin):
        return _login(conversation, failure, message, parsed)
    return failed(conversation, failure, message, parsed)


def _login(
    conversation: Conversation, failure: CertificateLogin, message: bytes, parsed: OpMsg
) -> list[Effect]:
    """A login by certificate, for the first time or again: ask the server, answer, or refuse."""
    outcome, conversation.login_outcome = conversation.login_outcome, None
    is_plain = not parsed.sequences and not parsed.flags & MORE_TO_COME
    if not is_plain or not is_own_claim(message, parsed.body, b"$db", conversation.certified.names):
        return failed(conversation, failure, message, parsed)
    if outcome is not None:
        return [_answer(conversation, message, parsed, is_yes=outcome)]
    identity = _identity(conversation)
    if identity is None:
        return failed(conversation, failure, message, parsed)
    return _begin(conversation, identity, api_of(message, parsed.body))


def speculated(conversation: Conversation, message: bytes, hello: int) -> None:
    """A hello goes to the server, and with it may begin a login by certificate, which is taken out of it.

    Raises BsonError.
    """
    conversation.speculation = b""
    conversation.login_outcome = None
    if _identity(conversation) is None:
        return
    for each in certificate_speculations(message, hello):
        names = conversation.certified.names
        if each.kind == kinds.OBJECT and is_own_claim(message, each.value, b"db", names):
            first = next(elements(message, each.value), None)
            conversation.speculation = b"" if first is None else first.name


def before_hello_reply(conversation: Conversation) -> list[Effect]:
    """The server has answered a hello that began such a login: the reply waits until that has ended.

    Nothing where there is none to wait for. Raises ProtocolError when too much is awaited.
    """
    identity = _identity(conversation)
    if not conversation.speculation or conversation.login_outcome is not None or identity is None:
        return []
    if conversation.states.messages is not State.OPEN:
        # somebody waits for something else already; the driver will ask for its login by itself
        conversation.speculation = b""
        return []
    return _begin(conversation, identity, {})


def hello_reply(conversation: Conversation, message: bytes, hello: int) -> bytes:
    """A hello's reply with what the client learns of logins by certificate. Raises BsonError."""
    if _identity(conversation) is None:
        message = without_certificate_mechanism(message, hello)
    outcome, conversation.login_outcome = conversation.login_outcome, None
    name, conversation.speculation = conversation.speculation, b""
    if name and outcome:
        return with_speculation(message, hello, name, conversation.certified.names[0])
    return message


def answered(conversation: Conversation, message: bytes, parsed: OpMsg) -> list[Effect]:
    """The server's answer to one of our questions. Raises ProtocolError, BsonError."""
    steps = conversation.login_steps
    if parsed.flags & MORE_TO_COME or steps is None:
        raise ProtocolError(WireReason.RESPONSE_TO, 8)
    conversation.awaited.answer(response_to_of(message), request_id_of(message), more_to_come=False)
    try:
        question = steps.after(message, parsed.body)
    except NotLoggedIn as failure:
        return [*_lines_of_failure(conversation, failure), *_ended(conversation, is_yes=False)]
    if question is not None:
        return [_ask(conversation, question)]
    conversation.log_in()
    conversation.has_failed_early = False
    return [Count(Counter.LOGINS, label=CERTIFICATE), *_ended(conversation, is_yes=True)]


def _lines_of_failure(conversation: Conversation, failure: NotLoggedIn) -> list[Effect]:
    """What is said of a login that has failed, once: a driver asks again for the one of its handshake."""
    is_early, is_known = bool(conversation.speculation), conversation.has_failed_early
    conversation.has_failed_early = is_early
    if is_known and not is_early:
        return []
    line = Audit("login-failed", "", _COMMAND, failure.why)
    return [line, Count(Counter.LOGIN_FAILURES, label=CERTIFICATE)]


def _identity(conversation: Conversation) -> UpstreamIdentity | None:
    return conversation.certified.identity(conversation.shared.settings.identities)


def _begin(conversation: Conversation, identity: UpstreamIdentity, api: dict[str, object]) -> list[Effect]:
    """The first question. Who was there before is not there any more, whatever comes of it."""
    conversation.mechanism = CERTIFICATE
    conversation.log_out()
    if isinstance(identity, ScramIdentity):
        conversation.login_steps = ScramSteps(identity, secrets.token_bytes(NONCE_BYTES))
    else:
        conversation.login_steps = CertificateSteps()
    conversation.login_api = {name: value for name, value in api.items() if name == API_VERSION}
    return [PauseClient(True), _ask(conversation, conversation.login_steps.first())]


def _ask(conversation: Conversation, question: Question) -> ToServer:
    request_id = asking(conversation, RequestKind.CERTIFICATE_LOGIN, _COMMAND)
    conversation.states.happened(Event.ASKED)
    return ToServer(build_op_msg(request_id, 0, encode({**question, **conversation.login_api})))


def _ended(conversation: Conversation, *, is_yes: bool) -> list[Effect]:
    """What waits comes again, and finds this."""
    conversation.login_steps = None
    conversation.login_outcome = is_yes
    conversation.states.happened(Event.ANSWERED)
    return [PauseClient(False)]


def _answer(conversation: Conversation, message: bytes, parsed: OpMsg, *, is_yes: bool) -> ToClient:
    if is_yes:
        name = next(elements(message, parsed.body)).name
        body = encode(answer_of(name, conversation.certified.names[0]))
    else:
        body = replies.error_body(replies.AUTHENTICATION_FAILED, replies.CERTIFICATE_NOT_TAKEN)
    return ToClient(replies.command_error(conversation.new_id(), request_id_of(message), body))
