"""Ask the server, on the client's own connection, what names are, and read what it says.

`listCollections` tells a view's definition. A user who may not run it can still see the names that it may
read and whether they are views (`authorizedCollections`): then a view is known to be one, and no more. A name
that is not listed there may be anything: it is taken for a view of which nothing is known.

What is learned counts for the command that waits for it, and for nothing else (`policies.aggregation.views`).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from bson import encode

from sealwire.policies.aggregation.views import MAX_NAMES, UNREADABLE, UNSEEN, NamespaceUnknown, View
from sealwire.policies.commands.command import DocumentSequence
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import PathNode
from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import Conversation, LookUp
from sealwire.proxy.session.effects import Effect, PauseClient, ToServer
from sealwire.proxy.session.moving.moves import Hold
from sealwire.proxy.session.requests import NAME_UNKNOWN, Request, RequestKind
from sealwire.proxy.session.states import Event
from sealwire.proxy.session.write_errors.merging import without_envelopes
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.header import request_id_of, response_to_of
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg, build_op_msg
from sealwire.wire.raw_bson import Element, elements, find_element, int32_at, string_bytes

API_VERSION: Final = "apiVersion"
_API_OPTIONS: Final = (API_VERSION.encode(), b"apiStrict", b"apiDeprecationErrors")
"""What a server may demand of each command; our question takes it from the command that waits."""

# An int32, a version and a NUL; the only version there is has one digit.
_MAX_API_BYTES: Final = 16

# Unauthorized, and AtlasError, which Atlas answers in its place.
_DENIED: Final = frozenset({13, 8000})


def ask(
    conversation: Conversation, namespaces: Sequence[str], api: dict[str, object], *, names_only: bool = False
) -> ToServer:
    """The question for names of one database; its answer is awaited.

    `api` are the options that say which API the client speaks. Raises ProtocolError when too much is awaited.
    """
    request_id = asking(conversation, RequestKind.LOOK_UP, "listCollections")
    database = namespaces[0].partition(".")[0]
    names = tuple(name.partition(".")[2] for name in namespaces)
    conversation.look_up = LookUp(database, names, api, names_only)
    conversation.states.happened(Event.ASKED)
    return ToServer(_question(request_id, conversation.look_up))


def asking(conversation: Conversation, kind: RequestKind, command: str, hold: Hold | None = None) -> int:
    """The id of a question of ours, whose answer is awaited. Raises ProtocolError when too much is."""
    request_id = conversation.new_id()
    while not conversation.awaited.has_room_for(request_id):
        if conversation.awaited.full:
            raise ProtocolError(WireReason.REQUEST_ID, 4)
        request_id = conversation.new_id()
    request = Request(kind, command, "")
    request.hold = hold
    conversation.awaited.add(request_id, request)
    return request_id


def api_of(message: bytes, body: int) -> dict[str, object]:
    """The API options of a command, as an encoder takes them. Raises BsonError."""
    options: dict[str, object] = {}
    for element in elements(message, body):
        if element.name in _API_OPTIONS:
            if element.kind == kinds.STRING and element.end - element.value <= _MAX_API_BYTES:
                options[element.name.decode()] = string_bytes(message, element).decode("utf-8", "replace")
            elif element.kind == kinds.BOOL:
                options[element.name.decode()] = bool(message[element.value])
    return options


def other_names(
    conversation: Conversation,
    namespace: str,
    message: bytes,
    body: int,
    sequences: tuple[DocumentSequence, ...],
) -> list[str]:
    """Other names of the database of `namespace` that a command leads to, so that one question does for all.

    Found by planning the command as if each unknown name were a plain collection; the plan is thrown away.
    What this misses is asked for later. Cost: as planning.
    """
    database = namespace.partition(".")[0]
    found: dict[str, None] = {}

    def note(name: str) -> PathNode | None:
        try:
            return conversation.views.covered(name)
        except NamespaceUnknown as unknown:
            if unknown.namespace.partition(".")[0] == database:
                found[unknown.namespace] = None
            return None

    with suppress(Refusal, BsonError):
        policy, work = conversation.shared.settings.policy, conversation.views.work
        plan_command(policy, message, body, sequences=sequences, covered=note, work=work)
    found.pop(namespace, None)
    return list(found)


def answered(conversation: Conversation, message: bytes, parsed: OpMsg) -> list[Effect]:
    """The reply to the question that is open: another question, or what the waiting command needs.

    Raises BsonError, ProtocolError.
    """
    if parsed.flags & MORE_TO_COME:
        raise ProtocolError(WireReason.RESPONSE_TO, 8)
    conversation.awaited.answer(response_to_of(message), request_id_of(message), more_to_come=False)
    asked = conversation.look_up
    denied = _is_denied(message, parsed.body)
    if denied and not asked.names_only:
        return [ask(conversation, asked.namespaces, asked.api, names_only=True)]
    if denied or replies.is_ok(message, parsed.body):
        told = {} if denied else _read(message, parsed.body, names_only=asked.names_only)
        # what an answer leaves out is no such name only when the whole answer is here, and for all eyes
        is_whole = not denied and not asked.names_only and _is_whole(message, parsed.body)
        for name, namespace in zip(asked.names, asked.namespaces, strict=True):
            conversation.views.learn(namespace, told.get(name, None if is_whole else UNSEEN))
    else:
        deque(elements(message, parsed.body), maxlen=0)  # if it is malformed, that is the server's fault
        said = message if conversation.entitled.roles is None else without_envelopes(message)
        conversation.unanswered = NAME_UNKNOWN, said[parsed.body : parsed.body + int32_at(said, parsed.body)]
    conversation.states.happened(Event.ANSWERED)
    return [PauseClient(False)]


def _question(request_id: int, asked: LookUp) -> bytes:
    """The command that asks for names."""
    sought: object = asked.names[0] if len(asked.names) == 1 else {"$in": list(asked.names)}
    command: dict[str, object] = {
        "listCollections": 1,
        "filter": {"name": sought},
        "cursor": {"batchSize": MAX_NAMES},
        # a secondary answers only those who say that it may
        "$readPreference": {"mode": "primaryPreferred"},
    }
    if asked.names_only:
        command |= {"nameOnly": True, "authorizedCollections": True}
    return build_op_msg(request_id, 0, encode({**command, **asked.api, "$db": asked.database}))


def _is_denied(message: bytes, body: int) -> bool:
    """Whether it failed because the user may not do that."""
    if replies.is_ok(message, body):
        return False
    code = find_element(message, body, b"code")
    return code is not None and code.kind == kinds.INT and int32_at(message, code.value) in _DENIED


def _is_whole(message: bytes, body: int) -> bool:
    """Whether all that was found is in the first batch. Raises BsonError."""
    number = find_element(message, _cursor(message, body).value, b"id")
    return number is not None and not any(message[number.value : number.end])


def _read(message: bytes, body: int, *, names_only: bool) -> dict[str, View | None]:
    """What a reply says of each name: a view, or None for anything else. Raises BsonError."""
    told: dict[str, View | None] = {}
    for listed in _listed(message, body):
        name, kind = (find_element(message, listed.value, part) for part in (b"name", b"type"))
        if name is None:
            raise BsonError(WireReason.BSON_VALUE, listed.value)
        is_view = kind is not None and _text(message, kind) == b"view"
        definition = (UNREADABLE if names_only else _definition(message, listed)) if is_view else None
        told[_text(message, name).decode("utf-8", "surrogateescape")] = definition
    return told


def _definition(message: bytes, listed: Element) -> View:
    options = find_element(message, listed.value, b"options")
    if options is None or options.kind != kinds.OBJECT:
        return UNREADABLE
    on, pipeline = (find_element(message, options.value, name) for name in (b"viewOn", b"pipeline"))
    if on is None or pipeline is None or pipeline.kind != kinds.ARRAY:
        return UNREADABLE
    array = b"\4pipeline\0" + message[pipeline.value : pipeline.end]
    definition = (len(array) + 5).to_bytes(4, "little") + array + b"\0"
    return View(_text(message, on).decode("utf-8", "surrogateescape"), definition)


def _cursor(message: bytes, body: int) -> Element:
    cursor = find_element(message, body, b"cursor")
    if cursor is None or cursor.kind != kinds.OBJECT:
        raise BsonError(WireReason.BSON_VALUE, body)
    return cursor


def _listed(message: bytes, body: int) -> Iterator[Element]:
    """The documents of the first batch."""
    cursor = _cursor(message, body)
    batch = find_element(message, cursor.value, b"firstBatch")
    if batch is None or batch.kind != kinds.ARRAY:
        raise BsonError(WireReason.BSON_VALUE, cursor.value)
    for item in elements(message, batch.value):
        if item.kind != kinds.OBJECT:
            raise BsonError(WireReason.BSON_VALUE, item.value)
        yield item


def _text(message: bytes, element: Element) -> bytes:
    if element.kind != kinds.STRING:
        raise BsonError(WireReason.BSON_VALUE, element.value)
    return string_bytes(message, element)
