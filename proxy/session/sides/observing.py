"""What would have become of a command under the policy as it is written, where that is only observed.

The command itself goes as it came. Here it is planned once more, by the whole policy and with nobody to ask:
no key is used, no question goes to the server, and nothing of what the planner hands over is kept. A name of
which the server would be asked counts as a collection.

What shows only when values are encrypted is not seen: a document that becomes too large, a class that moves.
"""

from typing import Final, NamedTuple

from sealwire.policies.commands.command import DocumentSequence
from sealwire.policies.commands.planner import KNOWN_COMMANDS, MATRIX, plan_command
from sealwire.policies.commands.sorted_commands import FindSortsByValues, as_aggregate
from sealwire.policies.commands.views import NamespaceUnknown, ViewCatalog
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.arguments import one_line
from sealwire.policies.planning.plan import Plan, RangeEdit, Replacement, Settler, ValueEdit
from sealwire.policies.planning.walk import Parents
from sealwire.policies.questions.asked import ValuesUnknown
from sealwire.policies.roles.role import Rights
from sealwire.proxy.session.conversation import Conversation
from sealwire.proxy.session.effects import Effect, ObservedCommand, ObservedVerdict
from sealwire.proxy.session.login.caller import OPEN_COMMANDS, stated_in
from sealwire.proxy.session.requests import command_label
from sealwire.proxy.session.sides.denying import described, path_of
from sealwire.wire.errors import BsonError
from sealwire.wire.op_msg import OpMsg
from sealwire.wire.raw_bson import Cursor

OPERATORS: Final = frozenset(name.decode() for family in MATRIX for name in family.rules) - frozenset(
    name.decode() for name in KNOWN_COMMANDS
)
"""What may be shown of what was in the way: anything else may be a client's own word."""

_LONGEST_NAME: Final = 64
"""How much is shown of a name that an application gives itself."""


def observing(policy: PolicySet) -> ViewCatalog | None:
    """What plans by the policy as it is written, if not all of it is enforced."""
    return None if policy.written is None else ViewCatalog(policy.written)


def observed(
    conversation: Conversation,
    views: ViewCatalog,
    message: bytes,
    parsed: OpMsg,
    sequences: tuple[DocumentSequence, ...],
) -> list[Effect]:
    """What is to be counted of a command. `views` plans by the policy as it is written.

    Nothing before a login, and nothing of handshakes and logins. Cost: that of `plan_unasked`.
    """
    cursor = Cursor(message, parsed.body)
    if not conversation.login.is_let_in or not cursor.advance() or cursor.name in OPEN_COMMANDS:
        return []
    command, namespace = described(message, parsed)
    operator, path, reason = "", "", ""
    try:
        rights = conversation.login.rights(stated_in(message, parsed.body))
        planned = plan_unasked(views, message, parsed.body, (0,), sequences, _let_go, rights)
        plan = planned.plan
        if planned.asks_values:
            verdict = ObservedVerdict.ASKED
        elif plan.protected or plan.reveals or plan.values > 0:
            verdict = ObservedVerdict.ANSWERED
        else:
            verdict = ObservedVerdict.LOOKED_UP if planned.asks_names else ObservedVerdict.UNTOUCHED
    except Refusal as refusal:
        verdict = ObservedVerdict.REFUSED
        operator = refusal.rule if refusal.rule in OPERATORS else ""
        path, reason = path_of(refusal, command, views.policies), refusal.reason.value
    except BsonError:
        verdict, reason = ObservedVerdict.REFUSED, Reason.SHAPE.value
    finally:
        views.clear()
    application = one_line(conversation.login.caller.application, _LONGEST_NAME)
    label, where = command_label(command), one_line(namespace)
    return [ObservedCommand(verdict, label, where, operator, path, reason, application)]


def _let_go(
    message: bytes,
    planned: list[ValueEdit | RangeEdit],
    replacements: list[Replacement],
    start: int,
    end: int,
    parents: tuple[int, ...],
) -> None:
    """Edits of documents that are not carried out."""
    del message, planned, replacements, start, end, parents


class Unasked(NamedTuple):
    """A plan with nobody to ask, and whether somebody would have been asked."""

    plan: Plan
    asks_values: bool
    asks_names: bool


def plan_unasked(  # noqa: PLR0913, PLR0917 - as of `plan_command`
    views: ViewCatalog,
    buf: bytes,
    body: int,
    parents: Parents = (),
    sequences: tuple[DocumentSequence, ...] = (),
    settler: Settler | None = None,
    rights: Rights | None = None,
) -> Unasked:
    """As `plan_command`, as if no name were a view and no stored value satisfied what the server is asked.

    The caller clears `views`. Raises Refusal, BsonError. Cost: that of a plan, a few where it would have been
    asked; `Work` bounds them together.
    """
    written_as, asks_values, asks_names = "", False, False
    while True:
        # each round but the last one learns of one more name or question, and both are bounded
        try:
            plan = plan_command(
                views.policies,
                buf,
                body,
                parents,
                sequences,
                views.covered,
                settler,
                rights=rights,
                work=views.work,
                answers=views.answers,
                written_as=written_as,
            )
            return Unasked(plan, asks_values, asks_names)
        except NamespaceUnknown as unseen:
            if views.room <= 0:
                raise Refusal(Reason.TOO_LARGE) from None
            asks_names = True
            views.learn(unseen.namespace, None)
        except FindSortsByValues:
            asks_values, buf, written_as = True, as_aggregate(buf, body), "find"
            body, parents, sequences = 0, (), ()
        except ValuesUnknown as unknown:
            asks_values = True
            views.answers.learn(unknown.question, unknown.judgement.answer())
