"""Our own questions to the server, on the client's own connection, while the client's command waits.

What names are: `listCollections` tells a view's definition. A user who may not run it can still see the names
that it may read and whether they are views (`authorizedCollections`): then a view is known to be one, and no
more. A name that is not listed there may be anything: it is taken for a view of which nothing is known. What
is learned counts for the command that waits for it, and for nothing else (`policies.commands.views`).

Who has logged in: it is asked before the first command after each step of a login. The server handles the
messages of a connection in order: so its answer is about the login under which it handles that command. A
login whose steps cross other commands brings nobody another's name.

A login by certificate: one question if the server sees the certificate that the proxy shows for this client,
two or three with a user and his password. Then the command comes again, and is answered by what came of it.
Only the connection of this client is logged in, and what the server says of its users counts for roles and
audit, as after every other login.
"""

import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, final

from bson import encode

from sealwire.policies.commands.command import DocumentSequence
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.views import MAX_NAMES, UNREADABLE, UNSEEN, NamespaceUnknown, View
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import PathNode
from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import ClientLogin, Conversation, Question
from sealwire.proxy.session.effects import Audit, Count, Counter, Effect, PauseClient, ToClient, ToServer
from sealwire.proxy.session.login import authentication, identities
from sealwire.proxy.session.login.caller import described, users_in
from sealwire.proxy.session.requests import NAME_UNKNOWN
from sealwire.proxy.session.sides.denying import failed
from sealwire.proxy.session.states import Event, State
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.framing import request_id_of
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg, build_op_msg
from sealwire.wire.raw_bson import Element, elements, enclosed, find_element, string_bytes

API_VERSION: Final = "apiVersion"
_API_OPTIONS: Final = (API_VERSION.encode(), b"apiStrict", b"apiDeprecationErrors")
"""What a server may demand of each command; our question takes it from the command that waits."""

# An int32, a version and a NUL; the only version there is has one digit.
_MAX_API_BYTES: Final = 16

# Unauthorized, and AtlasError, which Atlas answers in its place.
_DENIED: Final = frozenset({13, 8000})


@final
class NamesAsked(Question):
    """What names of one database are, for the command at hand."""

    __slots__ = ("_api", "_names_only", "_namespaces")

    def __init__(self, conversation: Conversation, namespaces: Sequence[str], api: dict[str, object]) -> None:
        """`api`: the options that say which API the client speaks."""
        super().__init__(conversation)
        self._namespaces = namespaces
        self._api = api
        self._names_only = False
        """Whether it is asked again, for a user who may not see definitions."""

    def ask(self) -> ToServer:
        """The command that asks. Raises ProtocolError when too much is awaited."""
        names = [_name_of(each) for each in self._namespaces]
        command: dict[str, object] = {
            "listCollections": 1,
            "filter": {"name": names[0] if len(names) == 1 else {"$in": names}},
            "cursor": {"batchSize": MAX_NAMES},
            # a secondary answers only those who say that it may
            "$readPreference": {"mode": "primaryPreferred"},
        }
        if self._names_only:
            command |= {"nameOnly": True, "authorizedCollections": True}
        database = self._namespaces[0].partition(".")[0]
        return self.send("listCollections", encode({**command, **self._api, "$db": database}))

    def answered(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        """It is asked again, or the waiting command has what it needs. Raises BsonError, ProtocolError."""
        self.take(message)
        body, at_hand = parsed.body, self._conversation.at_hand
        denied = _is_denied(message, body)
        if denied and not self._names_only:
            self._names_only = True
            return [self.ask()]
        if denied or replies.is_ok(message, body):
            told = {} if denied else _names_in(message, body, names_only=self._names_only)
            # what an answer leaves out is no such name only when the whole answer is here, and for all eyes
            is_whole = not denied and not self._names_only and _is_all_told(message, body)
            for namespace in self._namespaces:
                at_hand.views.learn(namespace, told.get(_name_of(namespace), None if is_whole else UNSEEN))
        else:
            deque(elements(message, body), maxlen=0)  # if it is malformed, that is the server's fault
            at_hand.unanswered = NAME_UNKNOWN, self.error_in(message, body)
        return [self.over()]


def _name_of(namespace: str) -> str:
    return namespace.partition(".")[2]


def ask_names(conversation: Conversation, namespaces: Sequence[str], api: dict[str, object]) -> list[Effect]:
    """Ask for names of one database. Raises ProtocolError when too much is awaited."""
    question = NamesAsked(conversation, namespaces, api)
    return [Count(Counter.LOOK_UPS), PauseClient(True), question.ask()]


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
            return conversation.at_hand.views.covered(name)
        except NamespaceUnknown as unknown:
            if unknown.namespace.partition(".")[0] == database:
                found[unknown.namespace] = None
            return None

    with suppress(Refusal, BsonError):
        policy, work = conversation.shared.settings.policy, conversation.at_hand.views.work
        plan_command(policy, message, body, sequences=sequences, covered=note, work=work)
    found.pop(namespace, None)
    return list(found)


def _is_denied(message: bytes, body: int) -> bool:
    """Whether it failed because the user may not do that."""
    return not replies.is_ok(message, body) and replies.code_of(message, body) in _DENIED


def _is_all_told(message: bytes, body: int) -> bool:
    """Whether all that was found is in the first batch. Raises BsonError."""
    number = find_element(message, _cursor(message, body).value, b"id")
    return number is not None and not any(message[number.value : number.end])


def _names_in(message: bytes, body: int, *, names_only: bool) -> dict[str, View | None]:
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
    return View(_text(message, on).decode("utf-8", "surrogateescape"), enclosed(array))


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


def _version_of(api: dict[str, object]) -> dict[str, object]:
    """No more of it: what is in no stable API must not be asked by a client that is strict about that."""
    return {name: value for name, value in api.items() if name == API_VERSION}


def introduced(conversation: Conversation, message: bytes, hello: int) -> None:
    """A handshake goes to the server. A login may begin with it; one by certificate is taken out of it.

    Raises BsonError.
    """
    login = conversation.login
    login.introduce(*described(message, hello))
    speculation = find_element(message, hello, b"speculativeAuthenticate")
    if speculation is not None:
        is_document = speculation.kind == kinds.OBJECT
        login.step(authentication.mechanism_in(message, speculation.value) if is_document else None)
    _speculated(login, message, hello)


@final
class UsersAsked(Question):
    """Who has logged in."""

    __slots__ = ()

    def answered(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        """The waiting command goes on, also where the server does not say. Raises BsonError."""
        self.take(message)
        conversation = self._conversation
        said = users_in(message, parsed.body) if replies.is_ok(message, parsed.body) else ()
        conversation.states.happened(Event.USERS_TOLD)
        conversation.login.name_users(said)
        return [Audit("login", "", ""), self.over()] if said else [self.over()]


def ask_users(conversation: Conversation, api: dict[str, object]) -> list[Effect]:
    """Ask who has logged in. `api` and errors as of `ask_names`."""
    question = encode({"connectionStatus": 1, **_version_of(api), "$db": "admin"})
    return [PauseClient(True), UsersAsked(conversation).send("connectionStatus", question)]


_COMMAND: Final = "authenticate"


def failed_or_begun(
    conversation: Conversation, failure: Exception, message: bytes, parsed: OpMsg
) -> list[Effect]:
    """Answer what cannot be carried out; of a login by certificate ask the server, if it can be.

    Raises BsonError, and ProtocolError when too much is awaited.
    """
    if isinstance(failure, authentication.CertificateLogin):
        return _login(conversation, failure, message, parsed)
    return failed(conversation, failure, message, parsed)


def _login(
    conversation: Conversation, failure: authentication.CertificateLogin, message: bytes, parsed: OpMsg
) -> list[Effect]:
    """A login by certificate, for the first time or again: ask the server, answer, or refuse."""
    login = conversation.login
    outcome = login.take_outcome()
    is_plain = not parsed.sequences and not parsed.flags & MORE_TO_COME
    if not is_plain or not authentication.is_own_claim(message, parsed.body, b"$db", login.certified.names):
        return failed(conversation, failure, message, parsed)
    if outcome is not State.UNDECIDED:
        return [_answer(conversation, message, parsed, is_yes=outcome is State.ACCEPTED)]
    identity = login.identity
    if identity is None:
        return failed(conversation, failure, message, parsed)
    return _begin(conversation, identity, api_of(message, parsed.body))


def _speculated(login: ClientLogin, message: bytes, hello: int) -> None:
    """Note the command of a login by certificate that would begin with a hello. Raises BsonError."""
    login.speculation = b""
    login.take_outcome()
    if login.identity is None:
        return
    names = login.certified.names
    for each in authentication.certificate_speculations(message, hello):
        if each.kind == kinds.OBJECT and authentication.is_own_claim(message, each.value, b"db", names):
            first = next(elements(message, each.value), None)
            login.speculation = b"" if first is None else first.name


def before_hello_reply(conversation: Conversation) -> list[Effect]:
    """The server has answered a hello that began such a login: the reply waits until that has ended.

    Nothing where there is none to wait for. Raises ProtocolError when too much is awaited.
    """
    login, states = conversation.login, conversation.states
    identity = login.identity
    if not login.speculation or states.certificate is not State.UNDECIDED or identity is None:
        return []
    if states.messages is not State.OPEN:
        # somebody waits for something else already; the driver will ask for its login by itself
        login.speculation = b""
        return []
    return _begin(conversation, identity, {})


def hello_reply(login: ClientLogin, message: bytes, hello: int) -> bytes:
    """A hello's reply with what the client learns of logins by certificate. Raises BsonError."""
    if login.identity is None:
        message = authentication.without_certificate_mechanism(message, hello)
    outcome = login.take_outcome()
    name, login.speculation = login.speculation, b""
    if name and outcome is State.ACCEPTED:
        return authentication.with_speculation(message, hello, name, login.certified.names[0])
    return message


@final
class LoginAsked(Question):
    """The commands of a login by certificate, one after the other."""

    __slots__ = ("_api", "_steps")

    def __init__(self, conversation: Conversation, steps: identities.Steps, api: dict[str, object]) -> None:
        super().__init__(conversation)
        self._steps = steps
        self._api = api

    def ask(self, command: identities.Command) -> ToServer:
        """The next one. Raises ProtocolError when too much is awaited."""
        return self.send(_COMMAND, encode({**command, **self._api}))

    def answered(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        """It goes on, or what waits finds what came of it. Raises BsonError, ProtocolError."""
        self.take(message)
        login, states = self._conversation.login, self._conversation.states
        try:
            return [self.ask(self._steps.send((message, parsed.body)))]
        except StopIteration:
            login.has_failed_early = False
            states.happened(Event.LOGIN_ACCEPTED)
            return [login.succeed(), self.over()]
        except identities.NotLoggedIn as failure:
            states.happened(Event.LOGIN_REJECTED)
            return [*_lines_of_failure(login, failure), self.over()]


def _lines_of_failure(login: ClientLogin, failure: identities.NotLoggedIn) -> list[Effect]:
    """What is said of a login that has failed, once: a driver asks again for the one of its handshake."""
    is_early, is_known = bool(login.speculation), login.has_failed_early
    login.has_failed_early = is_early
    if is_known and not is_early:
        return []
    line = Audit("login-failed", "", _COMMAND, failure.why)
    return [line, Count(Counter.LOGIN_FAILURES, label=authentication.CERTIFICATE)]


def _begin(
    conversation: Conversation, identity: identities.UpstreamIdentity, api: dict[str, object]
) -> list[Effect]:
    """The first question. Who was there before is not there any more, whatever comes of it."""
    conversation.login.mechanism = authentication.CERTIFICATE
    conversation.login.log_out()
    if isinstance(identity, identities.ScramIdentity):
        steps = identities.scram_steps(identity, secrets.token_bytes(identities.NONCE_BYTES))
    else:
        steps = identities.certificate_steps()
    question = LoginAsked(conversation, steps, _version_of(api))
    return [PauseClient(True), question.ask(next(steps))]


def _answer(conversation: Conversation, message: bytes, parsed: OpMsg, *, is_yes: bool) -> ToClient:
    if is_yes:
        name = next(elements(message, parsed.body)).name
        body = encode(authentication.answer_of(name, conversation.login.certified.names[0]))
    else:
        body = replies.error_body(replies.AUTHENTICATION_FAILED, replies.CERTIFICATE_NOT_TAKEN)
    return ToClient(build_op_msg(conversation.new_id(), request_id_of(message), body))
