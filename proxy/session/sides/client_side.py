"""From the client: a handshake is prepared, a command is planned and sent on, or refused.

The way of a command through `ClientSide`:

1. `message` parses it.
2. `_op_msg` has it carried out. It ends there, or it waits and comes again.
3. `_met` says what follows from each thing that can be in the way: a question, a wait, or an error.
4. `_tried` leaves out statements that are refused, if the others may go.
5. `_command` asks whether the client is let in, and sends it on if it may pass without a plan.
6. `_planned` plans it, puts envelopes in (`rewriting`), notes what its reply needs (`request_for`) and what
   it holds up, and puts it on record.
7. `_send_on` waits for the reply.
"""

from collections import Counter as Tally
from collections.abc import Sequence
from itertools import chain
from typing import Final, final

from sealwire.crypto.envelope import MARKER
from sealwire.keys.contexts.cache import ContextsMissing
from sealwire.keys.frontier.frontier import FrontierLost, LeaseAwaited, TransactionLost, WindowMet
from sealwire.policies.commands.command import DocumentSequence, Refused, Target, target_of
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.sorted_commands import FindSortsByValues, as_aggregate
from sealwire.policies.commands.views import MAX_NAMES, NamespaceUnknown
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.arguments import one_line, printable
from sealwire.policies.planning.plan import Openings, Plan
from sealwire.policies.questions.asked import ValuesUnknown
from sealwire.policies.roles.role import Rights
from sealwire.proxy.session import replies
from sealwire.proxy.session.choices import Reveal
from sealwire.proxy.session.conversation import CommandAtHand, Conversation, Side
from sealwire.proxy.session.effects import (
    Audit,
    CloseReason,
    Count,
    Counter,
    Effect,
    LongToServer,
    NeedKeys,
    PauseClient,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.login import authentication, handshake
from sealwire.proxy.session.login.caller import (
    LOGIN_COMMANDS,
    NOTHING_STATED,
    OPEN_COMMANDS,
    LoginNeeded,
    Stated,
    UsersUnknown,
    stated_in,
)
from sealwire.proxy.session.moving.forms import Forms
from sealwire.proxy.session.moving.lasting import ENDING, abort_of, held_by
from sealwire.proxy.session.requests import (
    COMMAND_LABELS,
    FAILURES,
    OTHER,
    VALUES_UNKNOWN,
    Request,
    RequestKind,
    command_label,
)
from sealwire.proxy.session.revealing import cursors
from sealwire.proxy.session.revealing.cursors import Opened
from sealwire.proxy.session.revealing.plaintext import SHOWING_COMMANDS, Look
from sealwire.proxy.session.revealing.reveal import holds_envelope
from sealwire.proxy.session.rewriting import Settled, apply_plan, forms_of
from sealwire.proxy.session.sides import ask_again, ask_values, on_record, questions
from sealwire.proxy.session.sides.denying import denials, denied, described, failed, refused
from sealwire.proxy.session.sides.entitlement import count_comparisons, judged, note_client
from sealwire.proxy.session.sides.observing import observed, observing
from sealwire.proxy.session.states import Event, State
from sealwire.proxy.session.write_errors import WriteErrors, leave_out
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.framing import LONG_BYTES, MSG, Framer, OpCode, op_code_of, request_id_of
from sealwire.wire.op_msg import (
    CHECKSUM_PRESENT,
    MORE_TO_COME,
    OpMsg,
    build_op_msg,
    parse_op_msg,
    refresh_checksum,
    sequence_documents,
)
from sealwire.wire.op_query import parse_op_query
from sealwire.wire.raw_bson import Cursor, elements

# The name of its cursor is that of no collection, and says what it yields.
_LISTING: Final = "listCollections"


def request_for(  # noqa: PLR0913, PLR0917 - what a command is, and what became of it
    conversation: Conversation,
    plan: Plan,
    name: bytes,
    body: int,
    label: str,
    opened: Opened,
    opens: Openings | None,
    errors: WriteErrors | None,
) -> Request:
    """What the reply to a planned command needs: what it answers, and whether its envelopes are opened.

    A step of a login, and a logout, make it unknown who is there. `body`: where the command begins in the
    plan's message; `opens`: where replies of a cursor that is read on are opened; `label`: the command as it
    is counted; `errors`: of statements that were left out of it.
    Raises Refusal, BsonError. Cost: some 1 us.
    """
    if name in LOGIN_COMMANDS:
        conversation.login.step(authentication.mechanism_in(plan.buf, body) if name == b"saslStart" else None)
        return Request(RequestKind.LOGIN, plan.command, "")
    if name in handshake.MEMBERS_COMMANDS:
        return Request(RequestKind.MEMBERS, plan.command, "")
    if name in handshake.NAMING_MEMBERS:
        _check_members(conversation, plan.buf, body)
    if name == b"logout":
        conversation.login.log_out()
    settings = conversation.shared.settings
    # of a command that nobody knows, the first argument may be anything, and not a name
    namespace = one_line(plan.namespace) if label != OTHER or plan.protected else ""
    reveals = plan.reveals or opened is not Opened.NO or errors is not None
    says_so = plan.command == _LISTING or settings.policy.covered(plan.namespace) is not None
    marks = opened is Opened.BY_MARK or (plan.reveals and not says_so)
    if plan.opens is not None:
        opens = plan.opens
    elif opened is Opened.BY_NAME:
        opens = conversation.shared.at_paths.of_get_more(plan.buf, body)
    marks = marks or opens is not None
    if settings.reveal is Reveal.EVERYWHERE:
        reveals, marks, opens = True, False, None
    look: Look | None = None
    watch = conversation.shared.plaintext
    if plan.protected and name in SHOWING_COMMANDS and not conversation.at_hand.views.consulted:
        # what rests on an answer of the server may be a view, which shows documents as it likes
        look = watch.look_for(settings.policy, namespace, name, plan)
    elif name == b"getMore" and opened is Opened.BY_NAME:
        look = watch.look_for_more(settings.policy, plan.buf, body)
    request = Request(
        RequestKind.COMMAND,
        plan.command,
        namespace,
        reveals=reveals,
        marks=marks,
        errors=errors,
        opens=opens,
        look=look,
    )
    request.users = conversation.login.caller.users
    if conversation.at_hand.views.answers.known:
        _note_answers(conversation.at_hand, plan, request)
    return request


def _note_answers(at_hand: CommandAtHand, plan: Plan, request: Request) -> None:
    """What the reply to a command needs that rests on stored values. Raises and costs as `again_for`."""
    request.is_sorted = at_hand.views.answers.has_order
    if request.errors is None:
        request.again = ask_again.again_for(at_hand, plan)
    elif request.is_sorted:
        # it had other statements, and would not be asked about again
        raise Refusal(Reason.QUESTION, rule="a sort by stored values beside other statements")


def _check_members(conversation: Conversation, message: bytes, body: int) -> None:
    """Members that were told of the proxy's addresses would reach each other through it."""
    if handshake.names_own_address(message, body, conversation.topology):
        raise Refusal(Reason.COMMAND, rule="an address of Sealwire in place of a member's own")


# Before a login. A hello with its metadata has some hundred bytes, a token some thousand.
MAX_BYTES_BEFORE_LOGIN: Final = 64 * 1024

_MAX_SEARCHES: Final = 3

_AUTOCOMMIT: Final = b"\x08autocommit\0"
"""Every command of a transaction has it."""
_OF_ONE_NAME: Final = frozenset(b"find count distinct update delete findAndModify findandmodify".split())
"""Commands that lead to other names only through the definition of a view."""
_COMMAND_COUNTS: Final = {label: Count(Counter.COMMANDS, label=label) for label in COMMAND_LABELS}


@final
class ClientSide(Side):
    """Handles the client's messages, each whole."""

    __slots__ = ("_observed", "_searches", "legacy")

    def __init__(self, conversation: Conversation) -> None:
        framer = Framer(_accepted_bytes(conversation))
        super().__init__(conversation, framer, CloseReason.CLIENT_PROTOCOL)
        self.legacy = authentication.LegacyQueries()
        """What the client has asked in legacy queries, and awaits."""
        self._searches = 0
        """How often in a row the keys of contexts were searched for on behalf of the command at hand."""
        self._observed = observing(conversation.shared.settings.policy)
        """By what commands are planned that are only observed; None: there are none."""

    def use_policy(self, policy: PolicySet) -> None:
        """Another policy counts from now on."""
        self._observed = observing(policy)

    def judge_access(self) -> None:
        """A login, or other rules, may let the client in or not: before that its messages are short."""
        self.framer.accept(_accepted_bytes(self._conversation))

    def message(self, message: bytes) -> list[Effect]:
        """One whole message. Raises ProtocolError."""
        op_code = op_code_of(message)
        if op_code == MSG:
            parsed = parse_op_msg(message)
            watch = self._conversation.shared.watch
            if watch is not None:
                watch.met(message, parsed.body, is_let_in=self._conversation.login.is_let_in)
            return self._op_msg(message, parsed)
        if op_code == OpCode.QUERY:
            return self._op_query(message)
        raise ProtocolError(WireReason.OPCODE, 12)

    def _op_query(self, message: bytes) -> list[Effect]:
        query = parse_op_query(message)
        first = next(elements(message, query.query), None)
        is_command = query.namespace.endswith(authentication.COMMAND_SUFFIX) and first is not None
        name = b"" if first is None or not is_command else first.name
        if name not in handshake.HELLO_COMMANDS and name not in authentication.LEGACY_COMMANDS:
            answer = replies.legacy_error(self._conversation.new_id(), request_id_of(message))
            return [*denials(self._conversation, Reason.OPCODE.value, OTHER), ToClient(answer)]
        if query.end != len(message):
            # a field selector, which commands do not have: nobody would look into it
            raise ProtocolError(WireReason.MESSAGE_TRAILING, query.end)
        if holds_envelope(message, [query.query]):
            raise BsonError(WireReason.BSON_VALUE, query.query)
        if name in authentication.LEGACY_COMMANDS:
            converted = self.legacy.as_message(message, query)
            return self._op_msg(converted, parse_op_msg(converted))
        request = Request(RequestKind.LEGACY_HELLO, "hello", "")
        try:
            hello = self._conversation.hello_request(message, query.query)
        except handshake.BalancerMismatch:
            answer = replies.legacy_mismatch(self._conversation.new_id(), request_id_of(message))
            return [
                *denials(self._conversation, handshake.BalancerMismatch.__name__, OTHER),
                ToClient(answer),
            ]
        questions.introduced(self._conversation, message, query.query)
        return [self._send_on(hello, request)]

    def _op_msg(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        """A command. If it does not have to wait, it has been sent on or answered."""
        effects = self._met(message, parsed)
        states = self._conversation.states
        is_asking = states.messages is not State.OPEN and states.messages is not State.CLOSED
        if not is_asking and states.keys is State.KEYS_AT_HAND:
            if self._observed is not None:
                sequences = _document_sequences(message, parsed)
                effects += observed(self._conversation, self._observed, message, parsed, sequences)
            self._done()
        return effects

    def _met(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        """Carry a command out, or do what follows from what is in the way: ask, wait, or answer."""
        conversation = self._conversation
        if conversation.at_hand.unanswered is not None:
            return _unanswered(conversation, *conversation.at_hand.unanswered, message, parsed)
        try:
            try:
                return self._tried(message, parsed)
            except ValuesUnknown as asking:
                # not the name below: a compiled function has one type for each
                return self._ask_values(asking, message, parsed)
        except UsersUnknown:
            return questions.ask_users(conversation, questions.api_of(message, parsed.body))
        except NamespaceUnknown as unknown:
            return self._ask_names(unknown, message, parsed)
        except ContextsMissing as missing:
            return self._search(missing, message, parsed)
        except WindowMet as window:
            return self._meet_window(window, message, parsed)
        except Refusal as refusal:
            return refused(conversation, refusal, message, parsed)
        except TransactionLost:
            return self._abandoned(message, parsed)
        except FAILURES as failure:
            return questions.failed_or_begun(conversation, failure, message, parsed)

    def _tried(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        """Plan a command and send it on, without the statements that are refused. Raises as `_command`."""
        try:
            return self._command_or_sorted(message, parsed)
        except Refusal as refusal:
            return self._shortened(refusal, message, parsed)
        except ask_again.NothingNew as nothing:
            return nothing.reply

    def _search(self, missing: ContextsMissing, message: bytes, parsed: OpMsg) -> list[Effect]:
        """The command waits for keys of contexts."""
        # the last search is for keys that left the cache before the command was tried again
        if self._searches >= _MAX_SEARCHES:
            return failed(self._conversation, missing, message, parsed)
        self._searches += 1
        self._conversation.states.happened(Event.KEY_MISSED)
        return [NeedKeys((), contexts=tuple(missing.wanted))]

    def _meet_window(self, window: WindowMet, message: bytes, parsed: OpMsg) -> list[Effect]:
        """The command waits until values that it uses have moved."""
        states = self._conversation.states
        if states.command is State.OUT_OF_PATIENCE:
            return failed(self._conversation, window, message, parsed)
        # what was searched for was found, and may be forgotten until the command is tried again
        self._searches = 0
        self._conversation.at_hand.views.clear()
        states.happened(Event.WINDOW_MET)
        return [PauseClient(True)]

    def _done(self) -> None:
        """The command at hand was sent on, or has its answer: the next one begins anew."""
        states = self._conversation.states
        if states.command is not State.UNHINDERED:
            states.happened(Event.COMMAND_DONE)
        at_hand = self._conversation.at_hand
        at_hand.views.clear()
        at_hand.again = at_hand.read_concern = at_hand.unanswered = None
        self._searches = 0

    def _shortened(self, refusal: Refusal, message: bytes, parsed: OpMsg) -> list[Effect]:
        """Send a write without the statements that are refused, whose errors come with the reply.

        Raises the refusal where it stands for the whole command, and as `_command`.
        """
        conversation = self._conversation
        views = conversation.at_hand.views
        if parsed.flags & MORE_TO_COME or views.unseen:
            raise refusal
        sequences = _document_sequences(message, parsed)
        rights = conversation.login.rights(stated_in(message, parsed.body))

        def judge(note: Refused) -> None:
            plan_command(
                views.policies,
                message,
                parsed.body,
                sequences=sequences,
                covered=views.covered,
                refused=note,
                rights=rights,
                work=views.work,
                answers=views.answers,
            )

        left_out = leave_out(refusal, message, parsed, sequences, judge)
        command, namespace = described(message, parsed)
        reasons = Tally(each.reason.value for _, each in left_out.refused)
        effects: list[Effect] = [
            Count(Counter.REFUSALS, amount, reason) for reason, amount in reasons.items()
        ]
        for _, each in left_out.refused:
            path = one_line(each.path)
            effects.append(Audit("refused", namespace, command, each.reason.value, path))
        shorter, errors = left_out.message, left_out.errors
        if shorter:
            return effects + self._command(shorter, parse_op_msg(shorter), errors)
        label = conversation.shared.counts.label(command, namespace)
        effects.append(Count(Counter.COMMANDS_REFUSED, label=label))
        request_id = request_id_of(message)
        answer = build_op_msg(conversation.new_id(), request_id, errors.unsent_body())
        return [*effects, ToClient(errors.merge(answer, parse_op_msg(answer).body))]

    def _abandoned(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        """Abort on the server what cannot be committed; the client is told when that is done."""
        if parsed.flags & MORE_TO_COME:
            return failed(self._conversation, FrontierLost(), message, parsed)
        audit = Audit("refused", "", "commitTransaction", FrontierLost.__name__)
        request = Request(RequestKind.ABORT, audit.command, "")
        sent_on = self._send_on(abort_of(message, parsed), request)
        return [*denials(self._conversation, audit.reason, audit.command, audit.namespace), audit, sent_on]

    def _command_or_sorted(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        """As `_command`; a `find` that is sorted by stored values goes as an `aggregate`."""
        try:
            return self._command(message, parsed)
        except FindSortsByValues:
            body = as_aggregate(message, parsed.body)
            message = build_op_msg(request_id_of(message), 0, body, parsed.flags & ~CHECKSUM_PRESENT)
        return self._command(message, parse_op_msg(message), written_as="find")

    def _command(
        self, message: bytes, parsed: OpMsg, errors: WriteErrors | None = None, written_as: str = ""
    ) -> list[Effect]:
        """Send a command on that may pass as it is; plan any other, and handshakes apart.

        `errors` are those of statements that it had and were left out; `written_as`: see `plan_command`.
        """
        conversation = self._conversation
        shared = conversation.shared
        if conversation.states.login is not State.NAMED and shared.settings.login_required:
            self._check_access(message, parsed)
        if message.find(MARKER) >= 0 and holds_envelope(message, _documents(message, parsed)):
            raise Refusal(Reason.ENVELOPE)
        is_planned = bool(shared.moves.classes) or conversation.at_hand.read_concern is not None
        target = None if is_planned else self._target(message, parsed.body)
        passing = None if target is None else shared.passing.get(target)
        if passing is not None:
            request, count = passing
            return [count, self._send_on(message, None if parsed.flags & MORE_TO_COME else request)]
        cursor = Cursor(message, parsed.body)
        name = cursor.name if cursor.advance() else b""
        if name in handshake.HELLO_COMMANDS:
            return self._hello(message, parsed)
        if name in authentication.LOGINS_BY_CERTIFICATE:
            authentication.check_login(message, parsed.body, name)
        return self._planned(message, parsed, name, target, errors, written_as)

    def _planned(
        self,
        message: bytes,
        parsed: OpMsg,
        name: bytes,
        target: Target | None,
        errors: WriteErrors | None,
        written_as: str,
    ) -> list[Effect]:
        """Plan a command, put envelopes in, note what its reply needs, put it on record, send it on."""
        conversation = self._conversation
        shared, views = conversation.shared, conversation.at_hand.views
        settings = shared.settings
        opened, opens = Opened.NO, None
        if name in cursors.CURSOR_COMMANDS:
            message, opened, opens = cursors.unmark(
                message, parsed.body, name, shared.keyring, settings.policies
            )
            parsed = parse_op_msg(message)
        stated, rights = self._entitled(message, parsed)
        tally = (
            None if settings.audit is None else shared.auditor.tally(settings.audit, settings.policy, name)
        )
        forms = forms_of(shared)
        settled = Settled(shared, forms, tally) if len(message) > LONG_BYTES else None
        plan = self._plan(message, parsed, settled, rights, written_as)
        effects = [] if rights is None else judged(conversation, rights, stated, plan, opened)
        rewritten = apply_plan(plan, shared, settled, forms)
        label = command_label(plan.command)
        count = shared.counts.sent(label, plan.namespace) if plan.protected else _COMMAND_COUNTS[label]
        request = request_for(conversation, plan, name, parsed.body, label, opened, opens, errors)
        if rights is not None:
            count_comparisons(conversation, rights, plan.namespace, plan.comparisons)
            note_client(conversation, stated, plan, parsed.body, request)
        if shared.moves.classes or shared.moves.is_leased:
            self._hold_up(forms, plan, parsed, name, opened, request)
        effects.append(count)
        if tally is not None:
            effects += on_record.of_command(conversation, tally, plan, name, parsed, request)
        if plan.edits or plan.settled:
            in_clear = 0 if forms is None else forms.in_clear
            effects.append(Count(Counter.VALUES_ENCRYPTED, plan.values - in_clear))
        passes_always = not plan.protected and not views.consulted and request.audited is None
        if target is not None and passes_always and stated is NOTHING_STATED:
            request.client, request.users = "", None  # from now on it is awaited for everybody
            shared.passing.remember(target, request, count)
        awaited = None if parsed.flags & MORE_TO_COME else request
        effects.append(self._send_on(rewritten[0], awaited, rewritten))
        return effects

    def _plan(
        self, message: bytes, parsed: OpMsg, settled: Settled | None, rights: Rights | None, written_as: str
    ) -> Plan:
        """The plan of the command at hand, with what was learned for it; `written_as`: see `plan_command`."""
        conversation = self._conversation
        at_hand = conversation.at_hand
        plan = plan_command(
            conversation.shared.settings.policy,
            message,
            parsed.body,
            (0,),
            _document_sequences(message, parsed) if parsed.sequences else (),
            at_hand.views.covered,
            None if settled is None else settled.take,
            rights=rights,
            work=at_hand.views.work,
            answers=at_hand.views.answers,
            written_as=written_as,
        )
        if at_hand.read_concern is not None:
            ask_values.go_on(conversation, plan, parsed.body)
        if at_hand.again is not None:
            ask_again.check(at_hand, message)
        return plan

    def _target(self, message: bytes, body: int) -> Target | None:
        """By what a command is known that may pass without a plan; None if such are planned as well."""
        shared = self._conversation.shared
        if shared.settings.audit is not None and shared.settings.audits_passing:
            return None
        if shared.moves.is_leased and message.find(_AUTOCOMMIT) >= 0:
            return None
        return target_of(message, body, shared.passing.planned)

    def _entitled(self, message: bytes, parsed: OpMsg) -> tuple[Stated, Rights | None]:
        """What the client says of a command, where roles ask, and the rights that count for it."""
        login = self._conversation.login
        if login.roles is None:
            return NOTHING_STATED, None
        stated = stated_in(message, parsed.body)
        return stated, login.rights(stated)

    def _hello(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        if parsed.sequences:
            # no handshake has one, and nobody would look into it
            raise Refusal(Reason.SHAPE, rule="this document sequence")
        mark = self._conversation.shared.probe_mark
        if mark and message.find(mark, parsed.body) >= 0:
            raise handshake.OwnProbe
        hello = refresh_checksum(self._conversation.hello_request(message, parsed.body))
        questions.introduced(self._conversation, message, parsed.body)
        request = Request(RequestKind.HELLO, "hello", "")
        return [self._send_on(hello, None if parsed.flags & MORE_TO_COME else request)]

    def _hold_up(
        self, forms: Forms | None, plan: Plan, parsed: OpMsg, name: bytes, opened: Opened, request: Request
    ) -> None:
        """Note what a command uses of classes that move, or may once they do, and of transactions.

        Raises WindowMet, FrontierLost, TransactionLost, SnapshotOutdated, CursorOutdated: it is not sent.
        """
        shared = self._conversation.shared
        moves = shared.moves
        is_in_transaction = plan.buf.find(_AUTOCOMMIT) >= 0
        relies = plan.protected or opened is not Opened.NO or (is_in_transaction and name in ENDING)
        if relies and not moves.is_current():
            raise LeaseAwaited
        if not (is_in_transaction or moves.marks_cursors):
            if plan.protected and parsed.flags & MORE_TO_COME:
                moves.leave_unanswered()
            return
        if name != b"getMore" or opened is not Opened.NO:
            named = {} if forms is None else forms.named
            is_marked = opened is Opened.BY_MARK
            if request.opens is not None and name == b"getMore":
                # on a protected name it has a mark whether classes moved or not
                namespace = cursors.namespace_of(plan.buf, parsed.body)
                is_marked = is_marked and shared.settings.policy.covered(namespace) is None
            request.hold = held_by(
                moves, plan, parsed.body, name, named, shared.settings.policy, is_marked=is_marked
            )
        if moves.marks_cursors:
            # so that its cursor is known to have been opened while classes moved
            request.marks = request.marks or request.reveals
        if parsed.flags & MORE_TO_COME and request.hold is not None:
            moves.leave(request.hold)

    def _check_access(self, message: bytes, parsed: OpMsg) -> None:
        """Raises LoginNeeded, UsersUnknown for a command that no server answers without a login.

        To be asked until the server has said who the client is.
        """
        cursor = Cursor(message, parsed.body)
        name = cursor.name if cursor.advance() else b""
        if name in OPEN_COMMANDS:
            return
        if not self._conversation.login.is_let_in:
            raise LoginNeeded(printable(name))
        raise UsersUnknown

    def _ask_values(self, unknown: ValuesUnknown, message: bytes, parsed: OpMsg) -> list[Effect]:
        """Ask the server for stored values. Raises Refusal(ROLE), and as `ask_values.ask`."""
        question, (_, rights) = unknown.question, self._entitled(message, parsed)
        if rights is not None:
            count_comparisons(self._conversation, rights, question.namespace, question.comparisons)
        effects = ask_values.ask(self._conversation, unknown, message, parsed.body)
        self._searches = 0  # the next question may be about another context
        return effects

    def _ask_names(self, unknown: NamespaceUnknown, message: bytes, parsed: OpMsg) -> list[Effect]:
        """Ask the server what names are; the message comes again when it has answered."""
        views, namespace = self._conversation.at_hand.views, unknown.namespace
        wanted = [namespace]
        if len(message) <= LONG_BYTES and next(elements(message, parsed.body)).name not in _OF_ONE_NAME:
            sequences = _document_sequences(message, parsed)
            wanted += questions.other_names(self._conversation, namespace, message, parsed.body, sequences)
        if len(wanted) > views.room:
            views.clear()
            refusal = Refusal(Reason.TOO_LARGE, rule=f"a command that leads to more than {MAX_NAMES} names")
            return refused(self._conversation, refusal, message, parsed)
        return questions.ask_names(self._conversation, wanted, questions.api_of(message, parsed.body))

    def _send_on(
        self, message: bytes, request: Request | None, pieces: Sequence[bytes] = ()
    ) -> ToServer | LongToServer:
        """Send `message`, or the pieces of which it is the first, and wait for the reply to `request`."""
        if request is not None:
            watch = self._conversation.shared.watch
            if watch is not None and request.kind is RequestKind.COMMAND:
                watch.sent(command_label(request.command), request.namespace)
            request_id = request_id_of(message)
            if not self._conversation.awaited.has_room_for(request_id):
                if request.hold is not None:
                    self._conversation.shared.moves.leave(request.hold)
                raise ProtocolError(WireReason.REQUEST_ID, 4)
            self._conversation.awaited.add(request_id, request)
        return LongToServer(list(pieces)) if len(pieces) > 1 else ToServer(message)


def _unanswered(
    conversation: Conversation, reason: str, said: bytes, message: bytes, parsed: OpMsg
) -> list[Effect]:
    """A command that has waited for an answer, and the server could give none: it has `said` why."""
    command, namespace = described(message, parsed)
    audit = Audit("refused", namespace, command, reason)
    body = replies.unanswered_body(said, message, parsed.body, is_alike=reason == VALUES_UNKNOWN)
    return denied(conversation, audit, body, message, parsed)


def _accepted_bytes(conversation: Conversation) -> int:
    """The longest message that the client may send."""
    is_let_in = conversation.login.is_let_in
    longest = handshake.ACCEPTED_CLIENT_MESSAGE_BYTES if is_let_in else MAX_BYTES_BEFORE_LOGIN
    return min(conversation.shared.settings.max_message_bytes, longest)


def _documents(message: bytes, parsed: OpMsg) -> list[int]:
    """Offsets of all documents of a message, in rising order."""
    inside = (sequence_documents(message, sequence) for sequence in parsed.sequences)
    return sorted([parsed.body, *chain.from_iterable(inside)])


def _document_sequences(message: bytes, parsed: OpMsg) -> tuple[DocumentSequence, ...]:
    return tuple(
        DocumentSequence(
            sequence.identifier, tuple(sequence_documents(message, sequence)), (0, sequence.start)
        )
        for sequence in parsed.sequences
    )
