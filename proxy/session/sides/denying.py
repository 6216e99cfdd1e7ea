"""Answer a command with an error of ours: what was refused or failed, on record and counted."""

from typing import Final

from sealwire.policies.commands.planner import KNOWN_COMMANDS, NAMING_COMMANDS
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.arguments import one_line, printable
from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import Conversation
from sealwire.proxy.session.effects import Audit, CloseReason, Count, Counter, Effect, ToClient
from sealwire.proxy.session.login.authentication import CERTIFICATE, CertificateLogin
from sealwire.proxy.session.login.caller import LoginNeeded, on_record, stated_in
from sealwire.proxy.session.login.handshake import BalancerMismatch, OwnProbe
from sealwire.proxy.session.requests import COUNTED_COMMANDS, command_label, is_policy_reason
from sealwire.proxy.session.revealing import cursors
from sealwire.wire import kinds
from sealwire.wire.framing import request_id_of
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg, build_op_msg
from sealwire.wire.raw_bson import elements, string_bytes

_ABOUT_COMMANDS: Final = frozenset({Reason.COMMAND, Reason.UNKNOWN_COMMAND})


def refused(conversation: Conversation, refusal: Refusal, message: bytes, parsed: OpMsg) -> list[Effect]:
    """A command that the policy, or the client's role, does not allow."""
    command, namespace = described(message, parsed)
    unseen = conversation.at_hand.views.unseen
    if unseen:
        # what stands in the way is that nobody knows what the name is
        refusal = Refusal(Reason.UNSEEN, path=printable(unseen.encode("utf-8", "replace")), rule=command)
    path = path_of(refusal, command, conversation.shared.settings.policy)
    stated = stated_in(message, parsed.body)
    rights = conversation.login.rights(stated)
    shown = on_record(stated, conversation.login.roles)
    audit = Audit(
        "refused",
        namespace,
        command,
        refusal.reason.value,
        path,
        shown.purpose,
        shown.glass,
        "" if rights is None else ",".join(rights.roles),
    )
    return denied(conversation, audit, replies.refusal_body(refusal), message, parsed)


def path_of(refusal: Refusal, command: str, policy: PolicySet) -> str:
    """The path that a refusal names, as logs may have it."""
    path = one_line(refusal.path)
    if refusal.reason in _ABOUT_COMMANDS and command not in COUNTED_COMMANDS:
        # the path is the namespace that the command names, if its first argument is a name at all
        return path if path in policy.collections else ""
    return path


def failed(conversation: Conversation, failure: Exception, message: bytes, parsed: OpMsg) -> list[Effect]:
    """A command that cannot be carried out, for one of FAILURES."""
    command, namespace = described(message, parsed)
    if isinstance(failure, LoginNeeded):
        namespace = ""
        body = replies.login_needed_body(failure.command)
    elif isinstance(failure, CertificateLogin):
        command, namespace = "authenticate", ""
        body = replies.error_body(replies.AUTHENTICATION_FAILED, replies.CERTIFICATE_LOGIN)
    elif isinstance(failure, BalancerMismatch):
        body = replies.mismatch_body()
    elif isinstance(failure, OwnProbe):
        body = replies.own_probe_body()
    else:
        body = replies.failure_body(failure, replies.retry_labels(failure, message, parsed.body))
    audit = Audit("refused", namespace, command, type(failure).__name__)
    effects = denied(conversation, audit, body, message, parsed)
    if isinstance(failure, CertificateLogin):
        effects.insert(0, Count(Counter.LOGIN_FAILURES, label=CERTIFICATE))
    return effects


def denied(
    conversation: Conversation, audit: Audit, body: bytes, message: bytes, parsed: OpMsg
) -> list[Effect]:
    """Answer a command with an error."""
    watch = conversation.shared.watch
    if watch is not None:
        watch.denied(command_label(audit.command), audit.namespace, audit.reason)
    effects: list[Effect] = [*denials(conversation, audit.reason, audit.command, audit.namespace), audit]
    if parsed.flags & MORE_TO_COME:
        # No reply is awaited, so the only way to say no is to close (design, rule 4 of the core).
        return [*effects, conversation.end(CloseReason.REFUSED_UNACKNOWLEDGED, audit.reason)]
    answer = build_op_msg(conversation.new_id(), request_id_of(message), body)
    return [*effects, ToClient(answer)]


def denials(
    conversation: Conversation, reason: str, command: str, namespace: str = ""
) -> tuple[Count, Count]:
    """What is counted of a command that is answered with an error of ours: why, and which it was."""
    counter = Counter.COMMANDS_REFUSED if is_policy_reason(reason) else Counter.COMMANDS_FAILED
    label = conversation.shared.counts.label(command, namespace)
    return Count(Counter.REFUSALS, label=reason), Count(counter, label=label)


def described(message: bytes, parsed: OpMsg) -> tuple[str, str]:
    """Command name and namespace of a command that was refused before its plan could tell.

    Only of commands we know, and the namespace of those that name one: the first argument of another may be
    anything, a value too.
    """
    arguments = {element.name: element for element in elements(message, parsed.body)}
    name = next(iter(arguments), b"")
    if name == b"getMore":
        return name.decode(), cursors.namespace_of(message, parsed.body)
    if name not in NAMING_COMMANDS:
        return (name.decode() if name in KNOWN_COMMANDS else "other"), ""
    parts = [arguments[key] for key in (b"$db", name) if key in arguments]
    texts = [printable(string_bytes(message, part)) for part in parts if part.kind == kinds.STRING]
    return name.decode(), ".".join(texts)
