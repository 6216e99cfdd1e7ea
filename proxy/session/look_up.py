"""Ask the server, on the client's own connection, whether a name is a view, and read what it says.

`listCollections` tells a view's definition. A user who may not run it can still see the names that it may
read and whether they are views (`authorizedCollections`): then a view is known to be one, and no more.
"""

from collections.abc import Iterator
from typing import Final

from bson import encode

from sealwire.policies.views import View
from sealwire.proxy.session.conversation import Conversation, LookUp
from sealwire.proxy.session.effects import Effect, PauseClient, ToServer
from sealwire.proxy.session.requests import Request, RequestKind
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.header import request_id_of, response_to_of
from sealwire.wire.int32 import int32_at
from sealwire.wire.op_msg import OpMsg, OpMsgFlag, build_op_msg
from sealwire.wire.raw_bson import Element, elements, string_bytes

# A definition that no pipeline planner can follow: the view is known, what it yields is not.
UNREADABLE: Final = View("", b"\5\0\0\0\0")


def ask(conversation: Conversation, namespace: str, *, names_only: bool) -> ToServer:
    """The question for one name; its answer is awaited. Raises ProtocolError when too much is."""
    request_id = conversation.new_id()
    while not conversation.awaited.has_room_for(request_id):
        if conversation.awaited.full:
            raise ProtocolError(WireReason.REQUEST_ID, 4)
        request_id = conversation.new_id()
    conversation.awaited.add(request_id, Request(RequestKind.LOOK_UP, "listCollections", ""))
    conversation.look_up = LookUp(namespace, names_only)
    return ToServer(_question(request_id, namespace, names_only=names_only))


def answered(conversation: Conversation, message: bytes, parsed: OpMsg) -> list[Effect]:
    """The reply to the question that is open: another question, or what the waiting command needs."""
    if parsed.flags & OpMsgFlag.MORE_TO_COME:
        raise ProtocolError(WireReason.RESPONSE_TO, 8)
    conversation.awaited.answer(response_to_of(message), request_id_of(message), more_to_come=False)
    asked = conversation.look_up
    if asked is None:
        raise ProtocolError(WireReason.RESPONSE_TO, 8)
    conversation.look_up = None
    if not _is_error(message, parsed.body):
        conversation.settings.views.learn(asked.namespace, _read(message, parsed.body))
    elif not asked.names_only:
        return [ask(conversation, asked.namespace, names_only=True)]
    else:
        size = int32_at(message, parsed.body)
        conversation.unanswered = (asked.namespace, message[parsed.body : parsed.body + size])
    return [PauseClient(False)]


def _question(request_id: int, namespace: str, *, names_only: bool) -> bytes:
    """The command that asks for one name."""
    database, _, collection = namespace.partition(".")
    command: dict[str, object] = {"listCollections": 1, "filter": {"name": collection}}
    # a secondary answers only those who say that it may
    command["$readPreference"] = {"mode": "primaryPreferred"}
    if names_only:
        command |= {"nameOnly": True, "authorizedCollections": True}
    return build_op_msg(request_id, 0, encode({**command, "$db": database}))


def _is_error(message: bytes, body: int) -> bool:
    """Whether a reply says that the command failed."""
    ok = _part(message, body, b"ok")
    return ok is None or not any(message[ok.value : ok.end])


def _read(message: bytes, body: int) -> View | None:
    """The view that a reply describes; None for a collection, and for no such name. Raises BsonError."""
    for listed in _listed(message, body):
        kind = _part(message, listed.value, b"type")
        if kind is None or _text(message, kind) != b"view":
            return None
        options = _part(message, listed.value, b"options")
        if options is None or options.kind != kinds.OBJECT:
            return UNREADABLE
        on, pipeline = (_part(message, options.value, name) for name in (b"viewOn", b"pipeline"))
        if on is None or pipeline is None or pipeline.kind != kinds.ARRAY:
            return UNREADABLE
        array = b"\4pipeline\0" + message[pipeline.value : pipeline.end]
        definition = (len(array) + 5).to_bytes(4, "little") + array + b"\0"
        return View(_text(message, on).decode("utf-8", "surrogateescape"), definition)
    return None


def _listed(message: bytes, body: int) -> Iterator[Element]:
    """The documents of the first batch."""
    cursor = _part(message, body, b"cursor")
    if cursor is None or cursor.kind != kinds.OBJECT:
        raise BsonError(WireReason.BSON_VALUE, body)
    batch = _part(message, cursor.value, b"firstBatch")
    if batch is None or batch.kind != kinds.ARRAY:
        raise BsonError(WireReason.BSON_VALUE, cursor.value)
    for item in elements(message, batch.value):
        if item.kind != kinds.OBJECT:
            raise BsonError(WireReason.BSON_VALUE, item.value)
        yield item


def _part(message: bytes, start: int, name: bytes) -> Element | None:
    return next((element for element in elements(message, start) if element.name == name), None)


def _text(message: bytes, element: Element) -> bytes:
    if element.kind != kinds.STRING:
        raise BsonError(WireReason.BSON_VALUE, element.value)
    return string_bytes(message, element)
