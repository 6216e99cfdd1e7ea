"""What the reply to a command will need: the request that waits for it."""

from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import Openings, Plan
from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import Conversation
from sealwire.proxy.session.login.authentication import mechanism_in
from sealwire.proxy.session.login.caller import LOGIN_COMMANDS
from sealwire.proxy.session.login.members import MEMBERS_COMMANDS, NAMING_MEMBERS, names_own_address
from sealwire.proxy.session.requests import OTHER, Request, RequestKind
from sealwire.proxy.session.revealing.cursors import Opened
from sealwire.proxy.session.revealing.plaintext import SHOWING_COMMANDS, Look
from sealwire.proxy.session.shared import Reveal
from sealwire.proxy.session.write_errors.merging import WriteErrors

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
        if name == b"saslStart":
            conversation.mechanism = mechanism_in(plan.buf, body)
        conversation.forget_users()
        return Request(RequestKind.LOGIN, plan.command, "")
    if name in MEMBERS_COMMANDS:
        return Request(RequestKind.MEMBERS, plan.command, "")
    if name in NAMING_MEMBERS:
        _check_members(conversation, plan.buf, body)
    if name == b"logout":
        conversation.log_out()
    settings = conversation.shared.settings
    # of a command that nobody knows, the first argument may be anything, and not a name
    namespace = replies.one_line(plan.namespace) if label != OTHER or plan.protected else ""
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
    if plan.protected and name in SHOWING_COMMANDS and not conversation.views.consulted:
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
    request.users = conversation.caller.users
    return request


def _check_members(conversation: Conversation, message: bytes, body: int) -> None:
    """Members that were told of the proxy's addresses would reach each other through it."""
    if names_own_address(message, body, conversation.topology):
        raise Refusal(Reason.COMMAND, rule="an address of Sealwire in place of a member's own")
