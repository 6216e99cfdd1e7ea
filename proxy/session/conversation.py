"""The state of one session that its two sides share."""

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import replace
from typing import Final, final

from sealwire.policies.commands.views import ViewCatalog
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.roles.role import Claim, Rights, Roles
from sealwire.proxy.session.compression import Compression
from sealwire.proxy.session.effects import (
    Close,
    CloseReason,
    Count,
    Counter,
    Effect,
    PauseClient,
    ToServer,
)
from sealwire.proxy.session.login.authentication import OTHER
from sealwire.proxy.session.login.caller import Caller, Stated
from sealwire.proxy.session.login.handshake import (
    BalancerMismatch,
    Topology,
    is_balanced,
    prepare_hello,
    rewrite_hello,
)
from sealwire.proxy.session.login.identities import NOT_CERTIFIED, Certified, UpstreamIdentity
from sealwire.proxy.session.moving.moves import Hold
from sealwire.proxy.session.requests import Again, AwaitedRequests, Request, RequestKind
from sealwire.proxy.session.shared import Shared
from sealwire.proxy.session.states import Event, State, States
from sealwire.proxy.session.write_errors import without_envelopes
from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.framing import Framer, LongMessage, request_id_of, response_to_of
from sealwire.wire.op_msg import OpMsg, build_op_msg
from sealwire.wire.raw_bson import int32_at

MAX_REMEMBERED: Final = 64
"""A purpose is whatever a client writes."""


@final
class ClientLogin:
    """The client's identity: what its certificate proves, the users that the server names, its roles.

    Rights are remembered until the next login, logout or other policy, so that none outlives its reason.
    """

    __slots__ = (
        "_claim",
        "_known",
        "_shared",
        "_states",
        "caller",
        "certified",
        "has_failed_early",
        "mechanism",
        "roles",
        "speculation",
    )

    def __init__(self, shared: Shared, states: States) -> None:
        self._shared = shared
        self._states = states
        self.roles = shared.settings.policy.roles
        """Those of the policy; without any, everybody may do everything."""
        self._claim = Claim()
        self._known: dict[tuple[str, bool], Rights] = {}
        self.caller = Caller()
        """Its users, application and driver, as far as they are known."""
        self.mechanism = OTHER
        """The mechanism of the login under way, or of the last one; a label."""
        self.certified = NOT_CERTIFIED
        """What its certificate proves."""
        self.speculation = b""
        """The command of the login by certificate that began with the last hello; empty without one."""
        self.has_failed_early = False
        """Whether that one has failed, and nobody has asked for the login by itself since."""

    @property
    def is_let_in(self) -> bool:
        """Whether commands pass: the server has said yes to a login on this connection, or asks for none."""
        return self._states.login is not State.ANONYMOUS or not self._shared.settings.login_required

    @property
    def identity(self) -> UpstreamIdentity | None:
        """As whom the client is logged in by its certificate; None if it has none, or none that counts."""
        return self.certified.identity(self._shared.settings.identities)

    @property
    def client(self) -> str:
        """By what the client is told from others: its users, without any its certificate."""
        claim = self._claim
        return " ".join(claim.users) or f"{claim.certificate};{claim.issuer}".rstrip(";")

    def rights(self, stated: Stated) -> Rights | None:
        """What counts for a command; None where the policy has no roles. The same object, while nothing
        changes. Cost: O(1), for the first command of a kind O(roles * classes).
        """
        roles = self.roles
        if roles is None:
            return None
        key = stated.purpose, bool(stated.glass.strip())
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            claim = replace(self._claim, purpose=key[0], has_reason=key[1])
            found = self._known[key] = roles.rights(claim)
        return found

    def use_roles(self, roles: Roles | None) -> None:
        """Another policy counts."""
        self.roles = roles
        self._known.clear()

    def certify(self, subject: str, certified: Certified) -> None:
        """The client has proved that it holds a certificate with this subject."""
        self.certified = certified
        self._claim = replace(self._claim, certificate=subject, issuer=certified.issuer)
        self._known.clear()

    def introduce(self, application: str, driver: str) -> None:
        """The client says what it is. The first time counts, as for the server."""
        if not self.caller.driver and not self.caller.application:
            self.caller = replace(self.caller, application=application, driver=driver)

    def step(self, mechanism: str | None = None) -> None:
        """A step of a login goes to the server, the first one by this mechanism.

        The server has to say again who is there.
        """
        self.mechanism = mechanism or self.mechanism
        self._states.happened(Event.LOGIN_STEP)
        self.name_users(())

    def name_users(self, users: tuple[str, ...]) -> None:
        """These have logged in, as the server has said."""
        self.caller = replace(self.caller, users=users)
        self._claim = replace(self._claim, users=users)
        self._known.clear()

    def succeed(self) -> Count:
        """The server has accepted a login. Before the next command it is asked whose it is."""
        self._states.happened(Event.LOGGED_IN)
        return Count(Counter.LOGINS, label=self.mechanism)

    def log_out(self) -> None:
        """The client takes its login back."""
        self._states.happened(Event.LOGGED_OUT)
        self.take_outcome()
        self.name_users(())

    def take_outcome(self) -> State:
        """The outcome of a login by certificate, for the message that waited for it."""
        outcome = self._states.certificate
        if outcome is not State.UNDECIDED:
            self._states.happened(Event.LOGIN_ANSWERED)
        return outcome


@final
class CommandAtHand:
    """The answers that the command being planned has collected. They stay until it is sent on or answered."""

    __slots__ = ("again", "due", "read_concern", "unanswered", "views")

    def __init__(self, policy: PolicySet) -> None:
        self.views = ViewCatalog(policy)
        """The server's answers about its names, and about stored values."""
        self.read_concern: bytes | None = None
        """The element by which it reads what a question has read for it. Empty: the question has begun its
        transaction. None: it reads as the client says."""
        self.unanswered: tuple[str, bytes] | None = None
        """Why it cannot be planned, and with which error body the server has said so."""
        self.again: Again | None = None
        """The same write as it was sent before, when it found nothing; None if it was not sent before."""
        self.due = b""
        """A command that comes once more, before all that came after it."""

    @property
    def has_begun(self) -> bool:
        """Whether a question has begun its transaction."""
        return self.read_concern == b""

    def once_more(self, again: Again, reply: list[Effect]) -> None:
        """A write has found nothing: it comes once more. If that is so, the client gets `reply`."""
        again.reply = reply
        self.again, self.due = again, again.message

    def take_due(self) -> bytes:
        """The command that is due; empty if none is."""
        due, self.due = self.due, b""
        return due


class Question(ABC):
    """A question to the server on the client's own connection. The client's messages wait until it is over.

    Each answer comes to `answered`, which asks on or ends the question. Then the waiting messages come again.
    """

    __slots__ = ("_conversation",)

    def __init__(self, conversation: "Conversation") -> None:
        self._conversation = conversation

    @abstractmethod
    def answered(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        """Handle an answer. Raises BsonError, ProtocolError."""

    def unreadable(self, message: bytes, parsed: OpMsg, error: Exception) -> list[Effect]:
        """Handle an answer for which `answered` raised `error`, if no key is found. Raises as above."""
        del message, parsed
        raise error

    def send(self, command: str, content: bytes, hold: Hold | None = None) -> ToServer:
        """Ask by the document `content`. Raises ProtocolError when too much is awaited."""
        conversation = self._conversation
        request_id = conversation.new_id()
        while not conversation.awaited.has_room_for(request_id):
            if conversation.awaited.full:
                raise ProtocolError(WireReason.REQUEST_ID, 4)
            request_id = conversation.new_id()
        conversation.awaited.add(request_id, Request(RequestKind.QUESTION, command, "", hold=hold))
        conversation.states.happened(Event.ASKED)
        conversation.question = self
        return ToServer(build_op_msg(request_id, 0, content))

    def take(self, answer: bytes) -> None:
        """The message that was asked last has this answer."""
        response_to, request_id = response_to_of(answer), request_id_of(answer)
        self._conversation.awaited.answer(response_to, request_id, more_to_come=False)

    def error_in(self, answer: bytes, body: int) -> bytes:
        """The body of the server's error, as the client may see it. Raises BsonError."""
        if self._conversation.login.roles is not None:
            answer = without_envelopes(answer)
        return answer[body : body + int32_at(answer, body)]

    def over(self) -> PauseClient:
        """All is answered: what waits goes on."""
        self._conversation.states.happened(Event.ANSWERED)
        self._conversation.question = None
        return PauseClient(False)


@final
class Conversation:
    """The state that both sides of a session need."""

    __slots__ = (
        "_last_id",
        "at_hand",
        "awaited",
        "compression",
        "is_balanced",
        "login",
        "question",
        "shared",
        "states",
        "topology",
    )

    def __init__(self, shared: Shared, topology: Topology) -> None:
        self.shared = shared
        self.topology = topology
        """What the client is told of addresses."""
        self.states = States()
        self.awaited = AwaitedRequests()
        self.question: Question | None = None
        """What the server is being asked; None: nothing."""
        settings = shared.settings
        self.at_hand = CommandAtHand(settings.policy)
        self.login = ClientLogin(shared, self.states)
        self.is_balanced = False
        """Whether the client has said that a load balancer lies between."""
        ours = (settings.compress_to_clients, settings.compress_to_server)
        self.compression = Compression(*ours) if any(ours) else None
        """What is compressed; None where this proxy offers it to nobody."""
        self._last_id = 0

    def hello_request(self, message: bytes, document: int) -> bytes:
        """A handshake as the server gets it. Raises BsonError, BalancerMismatch."""
        prepared = prepare_hello(message, document, self.compression)
        # the first handshake says it; commands of an application need not
        self.is_balanced = self.is_balanced or is_balanced(message, document)
        if self.topology.service_id and not self.is_balanced:
            raise BalancerMismatch
        return prepared

    def hello_reply(self, message: bytes, document: int) -> tuple[bytes, bool]:
        """What the client is told of the server's answer, as `rewrite_hello` says it."""
        return rewrite_hello(message, document, self.topology, self.compression, balanced=self.is_balanced)

    def use_policy(self, policy: PolicySet) -> None:
        """Another policy counts from now on. A login that was made stays."""
        self.at_hand.views = ViewCatalog(policy)
        self.login.use_roles(policy.roles)

    def new_id(self) -> int:
        """Request ids of our own replies; clients match replies by responseTo only."""
        self._last_id = (self._last_id + 1) & 0x7FFF_FFFF
        return self._last_id

    def end(self, reason: CloseReason, detail: str = "") -> Close:
        """The session is over. What its commands use may go on at the server."""
        moves = self.shared.moves
        if moves.is_leased and self.awaited.has_unheld:
            moves.leave(moves.adopt())
        for hold in self.awaited.holds():
            moves.leave(hold)
        self.states.happened(Event.ENDED)
        return Close(reason, detail)


class Side:
    """One of the two sides of a session: it handles what its peer sends."""

    __slots__ = ("_conversation", "behind", "fault", "framer")

    def __init__(self, conversation: Conversation, framer: Framer, fault: CloseReason) -> None:
        self.framer = framer
        self.behind: deque[bytes | LongMessage] = deque()
        """What was received and is not handled yet, only where messages are compressed."""
        self._conversation = conversation
        self.fault = fault
        """Why the session ends when this peer breaks the protocol."""
