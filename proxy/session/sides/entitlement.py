"""What a client's roles say of its commands and of the replies to them.

Whether values may be filtered by or written, the planner has judged. Here is the rest: whether anything may
be read at all, how much in an hour, and what of an envelope is shown.
"""

from typing import Final

from sealwire.crypto.envelope import MARKER
from sealwire.keys.keyring.keyring import EnvelopeBatch, TakeEnvelope
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import follow
from sealwire.policies.planning.arguments import one_line
from sealwire.policies.planning.plan import Plan
from sealwire.policies.roles.role import Rights
from sealwire.proxy.session import replies
from sealwire.proxy.session.choices import Reveal
from sealwire.proxy.session.conversation import Conversation
from sealwire.proxy.session.effects import Audit, Count, Counter, Effect
from sealwire.proxy.session.login.caller import Stated, on_record
from sealwire.proxy.session.requests import Request
from sealwire.proxy.session.revealing.cursors import Opened, namespace_of
from sealwire.proxy.session.revealing.documents_read import UNKNOWN, ReplyDocuments, documents_in, gathers
from sealwire.proxy.session.revealing.reveal import AtPaths, Shown, reveal, withhold_plaintext
from sealwire.proxy.session.shared import Shared
from sealwire.wire.op_msg import OpMsg, parse_op_msg
from sealwire.wire.raw_bson import string_bytes


def judged(
    conversation: Conversation, rights: Rights, stated: Stated, plan: Plan, opened: Opened
) -> list[Effect]:
    """A planned command goes to the server; what is to be said of it, where it breaks the glass.

    Raises Refusal(ROLE).
    """
    is_read_on = plan.command == "getMore" and opened is not Opened.NO
    if ((plan.protected and plan.reveals) or is_read_on) and plan.command != "killCursors":
        _check_reach(conversation, rights, plan)
    shared = conversation.shared
    is_shown = plan.shows_others and plan.command != "killCursors"
    if is_shown and not rights.sees_in_clear(shared.settings.policy.classes):
        # what other people write and ask for stands as it is in the profiler's collection and the oplog
        raise Refusal(Reason.ROLE, path=plan.namespace, rule="what shows the commands of others")
    may_read = plan.reveals or is_read_on or shared.settings.reveal is Reveal.EVERYWHERE
    if not rights.is_glass_broken or not may_read:
        return []
    said = on_record(stated, shared.settings.policy.roles)
    record = Audit(
        "break-glass",
        one_line(plan.namespace),
        plan.command,
        purpose=said.purpose,
        glass=said.glass,
        role=",".join(rights.roles),
    )
    return [Count(Counter.GLASS_BROKEN), record]


def count_comparisons(conversation: Conversation, rights: Rights, namespace: str, comparisons: int) -> None:
    """So many comparisons with stored values go to the server. Raises Refusal(ROLE) above the limit."""
    shared = conversation.shared
    limit = rights.comparisons_per_hour
    if limit is None:
        return
    client = _counted_as(conversation.login.client, rights)
    try:
        shared.comparisons.take(client, comparisons, limit, shared.settings.workers)
    except replies.TooManyDocuments:
        raise Refusal(Reason.ROLE, path=namespace, rule="more comparisons in this hour") from None


def note_client(conversation: Conversation, stated: Stated, plan: Plan, body: int, request: Request) -> None:
    """What is to be known of a client with roles when the reply comes. Raises BsonError."""
    request.stated = stated
    request.client = conversation.login.client
    request.documents = _documents_of(conversation, plan, body)


def _documents_of(conversation: Conversation, plan: Plan, body: int) -> ReplyDocuments:
    policy, views = conversation.shared.settings.policy, conversation.at_hand.views
    if plan.command == "getMore":
        known = conversation.shared.read_cursors.of_get_more(plan.buf, body)
        return known or ReplyDocuments(policy.covered(namespace_of(plan.buf, body)))
    if not (plan.protected or plan.reveals):
        return UNKNOWN
    own = policy.covered(plan.namespace)
    if plan.command == "aggregate":
        is_view = own is None or views.covered(plan.namespace) is not own
        return ReplyDocuments(plan.yields, is_view or gathers(plan))
    if plan.command in {"findAndModify", "findandmodify"}:
        return ReplyDocuments(own, gathers=False)
    if plan.command not in {"find", "distinct"}:
        return UNKNOWN
    tree = views.covered(plan.namespace)
    is_view = own is None or tree is not own
    key = plan.arguments.get(b"key")
    if plan.command == "distinct" and tree is not None and key is not None:
        tree = follow(tree, string_bytes(plan.buf, key))
    return ReplyDocuments(tree, is_view)


def _check_reach(conversation: Conversation, rights: Rights, plan: Plan) -> None:
    """What the command reaches is protected. Raises Refusal(ROLE)."""
    if rights.is_empty:
        raise Refusal(Reason.ROLE, path=plan.namespace, rule=f"{plan.command} without {rights.lacks}")
    shared = conversation.shared
    if not _shows_what_is_in_clear(rights, shared):
        raise Refusal(Reason.ROLE, path=plan.namespace, rule="a class in clear")
    limit = rights.documents_per_hour
    client = _counted_as(conversation.login.client, rights)
    if limit is not None and shared.reads.left(client, limit, shared.settings.workers) <= 0:
        raise Refusal(Reason.ROLE, path=plan.namespace, rule="more documents in this hour")


def _counted_as(client: str, rights: Rights) -> str:
    """Under which name documents are counted: apart where the glass is broken, whose limit is another."""
    return f"{client} by broken glass" if rights.is_glass_broken else client


def shown_reply(
    conversation: Conversation, request: Request, message: bytes, parsed: OpMsg
) -> tuple[bytes, int]:
    """As `reveal`, as far as the rights go. Raises ReadDenied, TooManyDocuments besides."""
    shared = conversation.shared
    rights = conversation.login.rights(request.stated) or Rights()
    if not _shows_what_is_in_clear(rights, shared):
        raise replies.ReadDenied
    is_write = request.command in _WRITES
    known = request.documents
    cursor_id = replies.open_id(message, replies.cursor_in(message, parsed.body))
    shared.read_cursors.note(cursor_id, known)
    if known.tree is not None and not rights.sees_in_clear(shared.settings.policy.classes):
        message = withhold_plaintext(message, parsed.body, known.tree, rights)
        parsed = parse_op_msg(message)
    revealed, opened, values = message, 0, 0
    if message.find(MARKER) >= 0:
        # a write shows values in errors only, whose code its client needs
        shown, batch = _shown(shared, rights, len(message), masks_denied=is_write)
        revealed, opened = reveal_for(shared, request, message, parsed, shown.open_envelope, batch)
        values = shown.most_of_a_class
    limit = rights.documents_per_hour
    if limit is not None:
        documents = values
        if not is_write:
            documents = documents_in(message, parsed.body, gathered=known.gathers)
            documents = max(documents, values) if known.gathers else documents
        # a step of a login may have been sent since, which makes the client another until it is known
        client = request.client or conversation.login.client
        shared.reads.take(_counted_as(client, rights), documents, limit, shared.settings.workers)
    return revealed, opened


def reveal_for(
    shared: Shared,
    request: Request,
    message: bytes,
    parsed: OpMsg,
    open_envelope: TakeEnvelope,
    batch: EnvelopeBatch | None,
) -> tuple[bytes, int]:
    """As `reveal`, at the places where the reply to a request is opened."""
    if request.opens is None:
        return reveal(message, parsed, open_envelope, batch)
    at_paths = AtPaths(message, parsed.body, request.opens, shared.settings.policy, open_envelope)
    revealed, met = reveal(message, parsed, at_paths.open_envelope, batch)
    return (revealed, met - at_paths.kept) if met > at_paths.kept else (message, 0)


def opener_for(
    conversation: Conversation, rights: Rights | None, size: int
) -> tuple[TakeEnvelope, EnvelopeBatch | None]:
    """What opens the envelopes of a reply of `size` bytes for a client with these rights.

    Without roles it opens all.
    """
    shared = conversation.shared
    if rights is None:
        batch = shared.keyring.batch(shared.open_envelope, size)
        return (shared.open_envelope if batch is None else batch.take), batch
    shown, batch = _shown(shared, rights, size)
    return shown.open_envelope, batch


def _shown(
    shared: Shared, rights: Rights, size: int, *, masks_denied: bool = False
) -> tuple[Shown, EnvelopeBatch | None]:
    batch = shared.keyring.batch(shared.open_envelope, size)
    take = None if batch is None else batch.take
    classes_of = shared.keyring.classes_of
    return Shown(rights, classes_of, shared.open_envelope, take=take, masks_denied=masks_denied), batch


_WRITES: Final = frozenset({"insert", "update", "delete", "bulkWrite", "createIndexes"})


def _shows_what_is_in_clear(rights: Rights, shared: Shared) -> bool:
    """Whether rights reach the plaintext that may rightly be stored: nothing in it says its class."""
    in_clear = shared.keyring.partly_plaintext
    # not `&`, which makes a set with these keys, and no frozenset
    return not in_clear or rights.sees_in_clear(in_clear.intersection(shared.settings.policy.classes))
