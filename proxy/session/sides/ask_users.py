"""Ask the server, on the client's own connection, who has logged in there.

It is asked before the first command after each step of a login, and that command waits. The server handles
the messages of a connection in order: so its answer is about the login under which it handles that command.
A login whose steps cross other commands brings nobody another's name.
"""

from bson import encode

from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import Conversation
from sealwire.proxy.session.effects import Audit, Effect, PauseClient, ToServer
from sealwire.proxy.session.login.authentication import mechanism_in
from sealwire.proxy.session.login.caller import described, users_in
from sealwire.proxy.session.requests import RequestKind
from sealwire.proxy.session.sides.look_up import API_VERSION, asking
from sealwire.proxy.session.states import Event
from sealwire.wire import kinds
from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.header import request_id_of, response_to_of
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg, build_op_msg
from sealwire.wire.raw_bson import find_element


def introduced(conversation: Conversation, message: bytes, hello: int) -> None:
    """A handshake goes to the server, and a login may begin with it. Raises BsonError."""
    conversation.introduce(*described(message, hello))
    speculation = find_element(message, hello, b"speculativeAuthenticate")
    if speculation is not None:
        if speculation.kind == kinds.OBJECT:
            conversation.mechanism = mechanism_in(message, speculation.value)
        conversation.forget_users()


def ask(conversation: Conversation, api: dict[str, object]) -> list[Effect]:
    """The question; its answer is awaited. `api` and errors as of `look_up.ask`."""
    request_id = asking(conversation, RequestKind.USERS, "connectionStatus")
    # the command is in no stable API, so a client that is strict about it must not make the question so
    version = {name: value for name, value in api.items() if name == API_VERSION}
    conversation.states.happened(Event.ASKED)
    question = {"connectionStatus": 1, **version, "$db": "admin"}
    return [PauseClient(True), ToServer(build_op_msg(request_id, 0, encode(question)))]


def answered(conversation: Conversation, message: bytes, parsed: OpMsg) -> list[Effect]:
    """The reply: the waiting command goes on, also where the server does not say. Raises as `look_up`'s."""
    if parsed.flags & MORE_TO_COME:
        raise ProtocolError(WireReason.RESPONSE_TO, 8)
    conversation.awaited.answer(response_to_of(message), request_id_of(message), more_to_come=False)
    said = users_in(message, parsed.body) if replies.is_ok(message, parsed.body) else ()
    conversation.know_users(said)
    conversation.states.happened(Event.ANSWERED)
    effects: list[Effect] = [PauseClient(False)]
    return [Audit("login", "", ""), *effects] if said else effects
