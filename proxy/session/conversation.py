"""The state of one session that its two sides share."""

from collections import deque
from dataclasses import dataclass, replace
from typing import Final, final

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.policies.commands.views import ViewCatalog
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.questions.asked import ValuesJudgement, ValuesQuestion
from sealwire.policies.roles.role import Claim, Rights, Roles
from sealwire.proxy.session.compression import Compression
from sealwire.proxy.session.effects import Close, CloseReason
from sealwire.proxy.session.login.authentication import OTHER
from sealwire.proxy.session.login.caller import Caller, Stated
from sealwire.proxy.session.login.handshake import (
    BalancerMismatch,
    Topology,
    is_balanced,
    prepare_hello,
    rewrite_hello,
)
from sealwire.proxy.session.login.identities import NOT_CERTIFIED, LoginSteps
from sealwire.proxy.session.moving.moves import Hold
from sealwire.proxy.session.requests import Again, AwaitedRequests
from sealwire.proxy.session.shared import Shared
from sealwire.proxy.session.states import Event, State, States
from sealwire.wire.framing import Framer, LongMessage

# ------------------------------ what a client's roles allow: of who it is, and of what it says of a command
#
# Each session has one. What it remembers goes with every login, every logout and every other policy, so
# that no right outlives its reason.

MAX_REMEMBERED: Final = 64
"""A purpose is whatever a client writes."""


@final
class Entitled:
    """From what is stated of a command to the rights that count for it."""

    __slots__ = ("_claim", "_known", "roles")

    def __init__(self, roles: Roles | None) -> None:
        self.roles = roles
        """Those of the policy; without any, everybody may do everything."""
        self._claim = Claim()
        self._known: dict[tuple[str, bool], Rights] = {}

    def use_roles(self, roles: Roles | None) -> None:
        """Another policy counts."""
        self.roles = roles
        self._known.clear()

    def use_users(self, users: tuple[str, ...]) -> None:
        """The server has said who has logged in, or nobody knows."""
        self._claim = replace(self._claim, users=users)
        self._known.clear()

    def use_certificate(self, subject: str, issuer: str = "") -> None:
        """The client has proved that it holds a certificate with this subject, signed by `issuer`."""
        self._claim = replace(self._claim, certificate=subject, issuer=issuer)
        self._known.clear()

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


@dataclass(frozen=True, slots=True)
class LookUp:
    """A question to the server, on behalf of a command that waits."""

    database: str
    names: tuple[str, ...]
    """The names of collections or views in it."""
    api: dict[str, object]
    """The options of the waiting command that say which API it speaks."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The names in full."""
        return tuple(f"{self.database}.{name}" for name in self.names)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the server is being asked of the values of a field."""

    question: ValuesQuestion
    judgement: ValuesJudgement
    options: bytes
    """The elements of the waiting command that go with each command of the question."""
    hold: Hold | None
    """What it uses of classes that move."""
    needs_time: bool
    """Whether the server has to say at which time it reads, for the command to read then as well."""
    cipher: ContextCipher | None = None
    """That of the question's context; None if it is about none, or nothing is stored under that one."""


@final
class LoginByCertificate:
    """What a login by certificate needs besides its states."""

    __slots__ = ("api", "certified", "has_failed_early", "speculation", "steps")

    def __init__(self) -> None:
        self.certified = NOT_CERTIFIED
        """What the client has proved by its certificate."""
        self.steps: LoginSteps | None = None
        """The steps of the login that is under way at the server."""
        self.api: dict[str, object] = {}
        """What its questions say of the API."""
        self.speculation = b""
        """The command of the login that began with the last hello; empty without one."""
        self.has_failed_early = False
        """Whether that one has failed, and nobody has asked for the login by itself since."""


@final
class Conversation:
    """What the two sides of a session share: what requests leave behind for their replies, and its states."""

    __slots__ = (
        "_last_id",
        "again",
        "awaited",
        "by_certificate",
        "caller",
        "compression",
        "due",
        "entitled",
        "has_begun",
        "is_balanced",
        "look_up",
        "mechanism",
        "observed",
        "read_at",
        "shared",
        "states",
        "topology",
        "unanswered",
        "views",
    )

    def __init__(self, shared: Shared, topology: Topology) -> None:
        self.shared = shared
        self.topology = topology
        """What the client is told of addresses."""
        self.states = States()
        self.awaited = AwaitedRequests()
        self.look_up: LookUp | Asked | None = None
        """What the server is being asked, or was asked last."""
        self.again: Again | None = None
        """A write that has found nothing, while it is asked about once more."""
        self.due = b""
        """A command of the client that comes once more, before all that came after it."""
        self.has_begun = False
        """Whether a question has begun the transaction of the command that waits."""
        self.read_at = b""
        """The read concern of that command, with the time at which a question has read; empty without one."""
        self.unanswered: tuple[str, bytes] | None = None
        """Why the command that waits cannot be planned, and with which error body the server has said so."""
        self.is_balanced = False
        """Whether the client has said that a load balancer lies between."""
        settings = shared.settings
        ours = (settings.compress_to_clients, settings.compress_to_server)
        self.compression = Compression(*ours) if any(ours) else None
        """What is compressed; None where this proxy offers it to nobody."""
        self.views = ViewCatalog(settings.policy)
        """What the server has said of names for the command that is being planned."""
        self.observed = observing(settings.policy)
        """By what commands are planned that are only observed; None: there are none."""
        self.mechanism = OTHER
        """By which mechanism the client logs in, or did last; a label."""
        self.by_certificate = LoginByCertificate()
        self._last_id = 0
        self.caller = Caller()
        """Who the client is, as far as anybody has said."""
        self.entitled = Entitled(settings.policy.roles)
        """What its roles allow."""

    @property
    def is_let_in(self) -> bool:
        """Whether commands pass: the server has said yes to a login on this connection, or asks for none."""
        return self.states.login is not State.ANONYMOUS or not self.shared.settings.login_required

    def log_out(self) -> None:
        """The client takes its login back."""
        self.states.happened(Event.LOGGED_OUT)
        self.take_outcome()
        self.name_users(())

    def take_outcome(self) -> State:
        """What came of a login by certificate; from now on nothing waits for it."""
        outcome = self.states.certificate
        if outcome is not State.UNDECIDED:
            self.states.happened(Event.LOGIN_ANSWERED)
        return outcome

    def forget_users(self) -> None:
        """A step of a login goes to the server: who is there, it has to say again."""
        self.states.happened(Event.LOGIN_STEP)
        self.name_users(())

    def name_users(self, users: tuple[str, ...]) -> None:
        """These have logged in, as the server has said."""
        self.caller = replace(self.caller, users=users)
        self.entitled.use_users(users)

    def hello_request(self, message: bytes, document: int) -> bytes:
        """A handshake as the server gets it. Raises BsonError, BalancerMismatch."""
        prepared = prepare_hello(message, document, self.compression)
        # the first handshake says it; commands of an application need not
        self.is_balanced = self.is_balanced or is_balanced(message, document)
        if self.topology.service_id and not self.is_balanced:
            raise BalancerMismatch
        return prepared

    def hello_reply(self, message: bytes, document: int) -> bytes:
        """What the client is told of the server's answer. Raises BsonError, UnknownMember."""
        return rewrite_hello(message, document, self.topology, self.compression, balanced=self.is_balanced)

    def introduce(self, application: str, driver: str) -> None:
        """The client says what it is. The first time counts, as for the server."""
        if not self.caller.driver and not self.caller.application:
            self.caller = replace(self.caller, application=application, driver=driver)

    def use_policy(self, policy: PolicySet) -> None:
        """Another policy counts from now on. A login that was made stays."""
        self.views = ViewCatalog(policy)
        self.observed = observing(policy)
        self.entitled.use_roles(policy.roles)

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


def observing(policy: PolicySet) -> ViewCatalog | None:
    """What plans by the policy as it is written, where not all of it is enforced."""
    return None if policy.written is None else ViewCatalog(policy.written)


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
