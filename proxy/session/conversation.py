"""The state of one session that its two sides share."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, final

from sealwire.keys.contexts.cache import ContextWanted
from sealwire.policies.aggregation.views import ViewCatalog
from sealwire.policies.questions.asked import Answers, Judgement, Question
from sealwire.policies.roles.role import Claim, Rights, Roles
from sealwire.proxy.session.compression import Compression
from sealwire.proxy.session.effects import Close, CloseReason, NeedKeys, PauseClient
from sealwire.proxy.session.login.authentication import OTHER, LegacyQueries
from sealwire.proxy.session.login.caller import NOT_CERTIFIED, Caller
from sealwire.proxy.session.login.certificate_steps import LoginSteps
from sealwire.proxy.session.login.handshake import (
    ACCEPTED_CLIENT_MESSAGE_BYTES,
    BalancerMismatch,
    Topology,
    is_balanced,
    prepare_hello,
    rewrite_hello,
)
from sealwire.proxy.session.login.stated import Stated
from sealwire.proxy.session.moving.moves import Hold
from sealwire.proxy.session.requests import AwaitedRequests
from sealwire.proxy.session.shared import Shared
from sealwire.proxy.session.states import Event, States
from sealwire.wire.framing import Framer
from sealwire.wire.long_message import LongMessage

# Before a login. A hello with its metadata has some hundred bytes, a token some thousand.
MAX_BYTES_BEFORE_LOGIN: Final = 64 * 1024

# The second one is for keys that left the cache before the command was tried again.
_MAX_SEARCHES: Final = 3


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
    names_only: bool
    """Whether it is the second one, for users who may not see definitions."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The names in full."""
        return tuple(f"{self.database}.{name}" for name in self.names)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the server is being asked of the values of a field."""

    question: Question
    judgement: Judgement
    options: bytes
    """The elements of the waiting command that go with each command of the question."""
    hold: Hold | None
    """What it uses of classes that move."""


class WindowWait(Enum):
    """Whether the command at hand waits for values that move."""

    NONE = "none"
    GOES_ON = "goes on"
    """It does, or did and is being tried again."""
    OVER = "over"
    """It has, for as long as commands do."""


_NO_WAIT: Final = WindowWait.NONE


@final
class Conversation:
    """What requests leave behind for their replies, and the session's states."""

    __slots__ = (
        "_knows_users",
        "_last_id",
        "_logged_in",
        "_policy",
        "answers",
        "asked",
        "awaited",
        "caller",
        "certified",
        "client_framer",
        "compression",
        "context_searches",
        "entitled",
        "has_failed_early",
        "is_balanced",
        "is_ready",
        "legacy",
        "let_in",
        "login_api",
        "login_outcome",
        "login_steps",
        "look_up",
        "mechanism",
        "shared",
        "speculation",
        "states",
        "topology",
        "unanswered",
        "views",
        "window_wait",
    )

    def __init__(self, shared: Shared, topology: Topology) -> None:
        self.shared = shared
        self.topology = topology
        """What the client is told of addresses."""
        self.states = States()
        self.awaited = AwaitedRequests()
        self.look_up = LookUp("", (), {}, names_only=False)
        """What the server is being asked, or was asked last."""
        self.unanswered: tuple[str, bytes] | None = None
        """Why the command that waits cannot be planned, and with which error body the server has said so."""
        self.context_searches = 0
        """How often in a row the keys of contexts were searched for on behalf of the command at hand."""
        self.window_wait = _NO_WAIT
        """Whether the command at hand waits for values that move."""
        self.is_balanced = False
        """Whether the client has said that a load balancer lies between."""
        settings = shared.settings
        ours = (settings.compress_to_clients, settings.compress_to_server)
        self.compression = Compression(*ours) if any(ours) else None
        """What is compressed; None where this proxy offers it to nobody."""
        self.legacy = LegacyQueries()
        """What the client has asked in legacy queries, and awaits."""
        self._policy = settings.policy
        self.views = ViewCatalog(self._policy)
        """What the server has said of names for the command that is being planned."""
        self.answers = Answers()
        """What its values have said for that."""
        self.asked: Asked | None = None
        """What of its values it is being asked."""
        self._logged_in = self._knows_users = False
        self.mechanism = OTHER
        """By which mechanism the client logs in, or did last; a label."""
        self.certified = NOT_CERTIFIED
        """What the client has proved by its certificate."""
        self.login_steps: LoginSteps | None = None
        """A login by certificate that is under way at the server."""
        self.login_api: dict[str, object] = {}
        """What its questions say of the API."""
        self.login_outcome: bool | None = None
        """What came of it, for the message that waits."""
        self.speculation = b""
        """The command of the login by certificate that began with the last hello; empty without one."""
        self.has_failed_early = False
        """Whether that one has failed, and nobody has asked for the login by itself since."""
        self._last_id = 0
        self.caller = Caller()
        """Who the client is, as far as anybody has said."""
        self.entitled = Entitled(self._policy.roles)
        """What its roles allow."""
        self.let_in = not shared.settings.login_required
        """Whether commands pass: the server has said yes to a login on this connection, or asks for none."""
        self.is_ready = self.let_in
        """Whether they pass as they are: the server has said as well who that is, or asks for no login."""
        self.client_framer = Framer(self._accepted_bytes())
        """Cuts what the client sends; before a login its messages are short."""

    def _accepted_bytes(self) -> int:
        """The longest message that the client may send."""
        longest = ACCEPTED_CLIENT_MESSAGE_BYTES if self.let_in else MAX_BYTES_BEFORE_LOGIN
        return min(self.shared.settings.max_message_bytes, longest)

    def log_in(self) -> None:
        """The server has said yes to a login."""
        self._logged_in = True
        self._judge_access()

    def log_out(self) -> None:
        """The client takes its login back."""
        self._logged_in = False
        self.login_outcome = None
        self.forget_users()

    def forget_users(self) -> None:
        """A step of a login, or a logout, goes to the server: who is there, it has to say again."""
        self._knows_users = False
        self.caller = replace(self.caller, users=())
        self.entitled.use_users(())
        self._judge_access()

    def know_users(self, users: tuple[str, ...]) -> None:
        """The server has said who has logged in."""
        self._knows_users = True
        self.caller = replace(self.caller, users=users)
        self.entitled.use_users(users)
        self._judge_access()

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

    def settings_changed(self) -> None:
        """Another policy, and other rules of access, count from now on. A login that was made stays."""
        policy = self.shared.settings.policy
        if policy is not self._policy:
            self._policy = policy
            self.views = ViewCatalog(policy)
            self.entitled.use_roles(policy.roles)
        self._judge_access()

    def _judge_access(self) -> None:
        is_open = not self.shared.settings.login_required
        self.let_in = is_open or self._logged_in
        self.is_ready = is_open or (self._logged_in and self._knows_users)
        self.client_framer.accept(self._accepted_bytes())

    def new_id(self) -> int:
        """Request ids of our own replies; clients match replies by responseTo only."""
        self._last_id = (self._last_id + 1) & 0x7FFF_FFFF
        return self._last_id

    def need_key(self, key: tuple[int, int]) -> NeedKeys:
        """A reply cannot be opened without this key, (class id, key version)."""
        self.states.happened(Event.KEY_MISSED)
        return NeedKeys((key,))

    def need_contexts(self, wanted: Sequence[ContextWanted]) -> NeedKeys | None:
        """A command cannot be sent without these keys of contexts; None where they were asked for in vain."""
        if self.context_searches >= _MAX_SEARCHES:
            return None
        self.context_searches += 1
        self.states.happened(Event.KEY_MISSED)
        return NeedKeys((), contexts=tuple(wanted))

    def need_context_keys(self, key_ids: Sequence[bytes]) -> NeedKeys:
        """A reply cannot be opened without the keys with these ids."""
        self.states.happened(Event.KEY_MISSED)
        return NeedKeys((), context_keys=tuple(key_ids))

    def meet_window(self) -> PauseClient:
        """The client's command waits until values that it uses have moved."""
        self.window_wait = WindowWait.GOES_ON
        # what was searched for was found, and may be forgotten until the command is tried again
        self.context_searches = 0
        self.views.clear()
        self.answers.clear()
        self.states.happened(Event.WINDOW_MET)
        return PauseClient(True)

    def command_done(self) -> None:
        """The command at hand was sent on, or has its answer: the next one begins anew."""
        self.views.clear()
        self.answers.clear()
        self.window_wait = _NO_WAIT
        self.context_searches = 0

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
