"""What would have become of a command under the policy as it is written, where that is only observed.

The command itself goes as it came. Here it is planned once more, by the whole policy and with nobody to ask:
no key is used, no question goes to the server, and nothing of what the planner hands over is kept. A name of
which the server would be asked counts as a collection.

What shows only when values are encrypted is not seen: a document that becomes too large, a class that moves.
"""

from typing import Final

from sealwire.policies.commands.command import DocumentSequence
from sealwire.policies.commands.planner import KNOWN_COMMANDS, MATRIX
from sealwire.policies.commands.views import ViewCatalog, plan_unasked
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.arguments import one_line
from sealwire.policies.planning.plan import RangeEdit, Replacement, ValueEdit
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
    if not conversation.is_let_in or not cursor.advance() or cursor.name in OPEN_COMMANDS:
        return []
    command, namespace = described(message, parsed)
    operator, path, reason = "", "", ""
    try:
        rights = conversation.entitled.rights(stated_in(message, parsed.body))
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
    application = one_line(conversation.caller.application, _LONGEST_NAME)
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
