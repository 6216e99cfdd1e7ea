"""Ask the server, on the client's own connection, which values a field holds, for a command that waits.

The values come in batches, each as the documents have it: as envelopes, in clear, or in arrays of these. They
are opened and judged as they come, and those that satisfy the question are kept (`policies.questions`). What
is learned counts for the command that waits, and for nothing else.

A server that lies could ask by its answers. So only envelopes of the question's class are judged: the list
would say which of any others satisfy the condition, and would have their values under the key of the class.
Values in clear are judged only while the class may have some. Otherwise no filter finds them, and a server
could find out the operands and the ciphertext of values of its choice.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from bson import Int64, encode
from bson.raw_bson import RawBSONDocument

from sealwire.crypto.envelope import BINARY_HEAD, EnvelopeMode, class_id_of, is_envelope, parse_header
from sealwire.keys.errors import KeyDestroyed, UnknownKey
from sealwire.keys.frontier.frontier import LeaseAwaited, SnapshotOutdated
from sealwire.policies.aggregation.sorting import OrderUnknown
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.filters.asking import Among, CandidatesUnknown
from sealwire.policies.planning.plan import Plan, Replacement
from sealwire.policies.planning.values import whole_number
from sealwire.policies.questions.asked import HeldValue, ValuesAnswer, ValuesUnknown
from sealwire.policies.questions.patterns import Undecided
from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import Asked, Conversation
from sealwire.proxy.session.effects import Count, Counter, Effect, PauseClient, ToServer
from sealwire.proxy.session.moving.lasting import held_by_question, transaction_of
from sealwire.proxy.session.moving.moves import Hold
from sealwire.proxy.session.ranking import array_of
from sealwire.proxy.session.requests import VALUES_UNKNOWN, RequestKind
from sealwire.proxy.session.rewriting import rewritten_part
from sealwire.proxy.session.sides.questions import asking
from sealwire.proxy.session.states import Event
from sealwire.proxy.session.write_errors import without_envelopes
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.header import request_id_of, response_to_of
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg, build_op_msg
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, enclosed, find_element, int32_at

_BATCH: Final = 2000
"""Values that are judged at a time: opening and judging them takes some 5 ms."""
_NULL: Final = HeldValue((kinds.NULL, b""), (kinds.NULL, b""))
_INDEX: Final = "__sealwire"
"""Begins the names of fields that say which item of an array a value came from."""
_COUNT: Final = _INDEX.encode()
"""How many documents have a value, if they are to be sorted by it."""
_FOR_ALL: Final = frozenset(b"lsid $readPreference apiVersion apiStrict apiDeprecationErrors".split())
_FOR_FIRST: Final = _FOR_ALL | frozenset(b"readConcern maxTimeMS $clusterTime".split())
"""What the question takes from the command that waits."""
_OF_TRANSACTION: Final = frozenset(b"txnNumber autocommit".split())
_BEGINNING: Final = frozenset(b"startTransaction readConcern".split())
"""What only the first command of a transaction has."""
_WRITING: Final = frozenset(b"update delete findAndModify findandmodify bulkWrite".split())
_SNAPSHOT: Final = encode({"level": "snapshot"})[4:-1]
_AT: Final = b"\x11atClusterTime\0"
_LOCAL: Final = encode({"readConcern": {"level": "local"}})[4:-1]
"""A write sees what was written last, whatever a server reads by default."""


def ask(conversation: Conversation, unknown: ValuesUnknown, message: bytes, body: int) -> list[Effect]:
    """The question; its answer is awaited.

    `message` and `body` are the command that waits, as the client has sent it.
    Raises LeaseAwaited, WindowMet, FrontierLost while classes move; for what documents pass before they are
    sorted, as `rewritten_part`; BsonError; ProtocolError when too much is awaited.
    """
    question, pipeline = unknown.question, _pipeline_of(conversation, unknown)
    parts = _parts(message, body)
    for_all, for_first = _FOR_ALL, _FOR_FIRST
    if conversation.read_at:
        parts[b"readConcern"] = conversation.read_at
    if b"autocommit" in parts:
        for_all, for_first = for_all | _OF_TRANSACTION, for_first | _OF_TRANSACTION | _BEGINNING
        if conversation.has_begun:
            for_first -= _BEGINNING
    needs_time = _needs_time(parts)
    hold = _hold(conversation, message, body, begins=b"startTransaction" in parts)
    database, _, collection = question.namespace.partition(".")
    unknown.judgement.bounds = conversation.shared.settings.questions
    copied = [question.options]
    copied += [part for name, part in parts.items() if name in for_first]
    if b"autocommit" not in parts and not _WRITING.isdisjoint(parts):
        copied.append(_LOCAL)
    kept = [part for name, part in parts.items() if name in for_all]
    conversation.look_up = Asked(question, unknown.judgement, b"".join(kept), hold, needs_time)
    others = {"cursor": {"batchSize": _BATCH}, "allowDiskUse": True, "$db": database}
    content = b"".join((_elements({"aggregate": collection}), pipeline, _elements(others), *copied))
    try:
        sent = _sent(conversation, "aggregate", content, hold)
    except ProtocolError:
        if hold is not None:
            hold.end()  # nothing is awaited that would end it
        raise
    conversation.has_begun = conversation.has_begun or b"startTransaction" in parts
    return [Count(Counter.VALUE_QUESTIONS), PauseClient(True), sent]


def go_on(conversation: Conversation, plan: Plan, body: int) -> None:
    """Let a planned command, which lies at `body`, read what its question has read.

    It goes on with the transaction that the question has begun, or reads at the same time. Raises
    SnapshotOutdated if values may have moved since.
    """
    if conversation.read_at and conversation.shared.moves.have_begun:
        raise SnapshotOutdated
    plan.replacements.extend(
        Replacement(each, (0, body), conversation.read_at if each.name == b"readConcern" else b"")
        for each in elements(plan.buf, body)
        if each.name in (_BEGINNING if conversation.has_begun else (b"readConcern",))
    )


def _needs_time(parts: Mapping[bytes, bytes]) -> bool:
    """Whether a command reads at one time outside a transaction, and does not say at which."""
    concern = parts.get(b"readConcern", b"")
    return b"autocommit" not in parts and _SNAPSHOT in concern and _AT not in concern


def _hold(conversation: Conversation, message: bytes, body: int, *, begins: bool) -> Hold | None:
    """What a question uses: it may meet any value. In a transaction it uses it until that ends.

    Nothing may move yet: if a move begins before the answer is whole, the question holds it up from then on.
    """
    moves = conversation.shared.moves
    if moves.is_leased and not moves.is_current():
        raise LeaseAwaited
    transaction = transaction_of(message, body)
    if transaction and (moves.is_leased or moves.classes):
        return held_by_question(moves, transaction, begins=begins and not conversation.has_begun)
    return moves.begin(dict.fromkeys(moves.classes)) if moves.is_leased or moves.marks_cursors else None


def answered(conversation: Conversation, message: bytes, parsed: OpMsg) -> list[Effect]:
    """A batch of the answer: the next one is asked for, or the waiting command goes on.

    Raises BsonError, ProtocolError; what `Keyring.open_envelope` raises, and then nothing has changed.
    """
    if parsed.flags & MORE_TO_COME:
        raise ProtocolError(WireReason.RESPONSE_TO, 8)
    asked = _asked(conversation)
    effects: list[Effect] = []
    cursor_id = 0
    if replies.is_ok(message, parsed.body):
        cursor_id, batch = _batch(message, parsed.body)
        seen = asked.judgement.seen
        try:
            _note_time(conversation, asked, message, parsed.body)
            opened = _judged(conversation, asked, message, batch)
        except (Undecided, Refusal) as error:
            ended = [_killed(conversation, asked, cursor_id)] if cursor_id else []
            return [*ended, *_over(conversation, message, _refusal(error, asked))]
        effects = [Count(Counter.QUESTION_VALUES, asked.judgement.seen - seen)]
        if opened:
            effects.append(Count(Counter.VALUES_DECRYPTED, opened))
        if not cursor_id:
            return effects + _over(conversation, message)
        _done(conversation, message)
        database, _, collection = asked.question.namespace.partition(".")
        more = {"getMore": Int64(cursor_id), "collection": collection, "batchSize": _BATCH, "$db": database}
        return [*effects, _sent(conversation, "getMore", _elements(more) + asked.options, asked.hold)]
    said = message if conversation.entitled.roles is None else without_envelopes(message)
    body = said[parsed.body : parsed.body + int32_at(said, parsed.body)]
    conversation.unanswered = VALUES_UNKNOWN, body
    if asked.hold is not None:
        asked.hold.transaction = b""  # an error ends it
    return _over(conversation, message)


def _note_time(conversation: Conversation, asked: Asked, message: bytes, body: int) -> None:
    """At which time the server has read, if that is needed. Raises Refusal(QUESTION) if it does not say."""
    cursor = find_element(message, body, b"cursor")
    if not asked.needs_time or conversation.read_at or cursor is None:
        return
    at = find_element(message, cursor.value, b"atClusterTime")
    if at is None or at.kind != kinds.TIMESTAMP:
        raise Refusal(Reason.QUESTION, rule="a snapshot of which the server does not say the time")
    content = _SNAPSHOT + message[at.start : at.end]
    conversation.read_at = b"\x03readConcern\0" + enclosed(content)


def failed(conversation: Conversation, message: bytes, parsed: OpMsg, error: Exception) -> list[Effect]:
    """An envelope of a batch cannot be opened: the waiting command is refused. Raises as `answered`."""
    asked = _asked(conversation)
    path, cursor_id = asked.question.path, _batch(message, parsed.body)[0]
    rule = f"a stored value that does not open ({type(error).__name__})"
    refusal = Refusal(Reason.QUESTION, path=path, rule=rule)
    ended = [_killed(conversation, asked, cursor_id)] if cursor_id else []
    return [*ended, *_over(conversation, message, refusal)]


def _parts(message: bytes, body: int) -> dict[bytes, bytes]:
    """The elements of a command by name, and those of a command that it explains."""
    inner: dict[bytes, bytes] = {}
    found: dict[bytes, bytes] = {}
    for each in elements(message, body):
        found[each.name] = message[each.start : each.end]
        if each.name == b"explain" and each.kind == kinds.OBJECT:
            inner = {part.name: message[part.start : part.end] for part in elements(message, each.value)}
    return inner | found


def _elements(document: Mapping[str, object]) -> bytes:
    return encode(document)[4:-1]


def _sent(conversation: Conversation, name: str, content: bytes, hold: Hold | None) -> ToServer:
    request_id = asking(conversation, RequestKind.VALUES, name, hold)
    conversation.states.happened(Event.VALUES_ASKED)
    return ToServer(build_op_msg(request_id, 0, enclosed(content)))


def _killed(conversation: Conversation, asked: Asked, cursor_id: int) -> ToServer:
    """No more batches are needed. No reply is awaited."""
    database, _, collection = asked.question.namespace.partition(".")
    content = _elements({"killCursors": collection, "cursors": [Int64(cursor_id)], "$db": database})
    content += asked.options
    return ToServer(build_op_msg(conversation.new_id(), 0, enclosed(content), MORE_TO_COME))


def _pipeline_of(conversation: Conversation, unknown: ValuesUnknown) -> bytes:
    """The argument with the stages of a question."""
    question = unknown.question
    order = question.order
    if isinstance(unknown, CandidatesUnknown):
        return _candidates(conversation, unknown)
    if order is None:
        return _elements({"pipeline": _pipeline(question.path)})
    before = b""
    if isinstance(unknown, OrderUnknown) and unknown.among is not None:
        before = _rewritten(conversation, unknown.among)
        if unknown.among.is_filter:
            stage = b"\x03$match\0" + before
            before = b"\x030\0" + enclosed(stage)
    names = question.path.split(".")
    group: dict[str, object] = {"_id": f"${question.path}", _INDEX: {"$sum": 1}}
    for depth in range(1, len(names)):
        group[f"{_INDEX}{depth}"] = {"$max": {"$isArray": [f"${'.'.join(names[:depth])}"]}}
    items = before + _elements({"0": {"$group": group}})
    return b"\x04pipeline\0" + enclosed(items)


def _rewritten(conversation: Conversation, among: Among) -> bytes:
    changed = among.edits, among.replacements, among.parents
    return rewritten_part(among.buf, among.part, *changed, conversation.shared)


def _candidates(conversation: Conversation, unknown: CandidatesUnknown) -> bytes:
    """The same of a question about a random class: the documents that may satisfy, each with its values."""
    path = unknown.question.path
    conditions = [_elements({path: {"$exists": True}})]
    conditions += [_rewritten(conversation, each) for each in unknown.among]
    match = {"$and": [RawBSONDocument(enclosed(each)) for each in conditions]}
    shown = {path: 1} if path.startswith("_id") else {path: 1, "_id": 0}
    return _elements({"pipeline": [{"$match": match}, {"$project": shown}]})


def _pipeline(path: str) -> list[dict[str, object]]:
    """Yields each value once for each form and each place that it has in an array."""
    names = path.split(".")
    stages: list[dict[str, object]] = []
    group: dict[str, object] = {"_id": f"${path}"}
    for depth in range(1, len(names)):
        index = f"{_INDEX}{depth}"
        stages.append({"$unwind": {"path": f"${'.'.join(names[:depth])}", "includeArrayIndex": index}})
        group[index] = {"$max": f"${index}"}
    return [*stages, {"$group": group}]


def _judged(conversation: Conversation, asked: Asked, message: bytes, batch: Element) -> int:
    """Judge the values of a batch; how many were opened. Raises as `answered`, Undecided, Refusal."""
    judgement, opened = asked.judgement, 0
    judgement.begin_batch(len(message))
    rejected = conversation.shared.rejected
    known = rejected.of(asked.question)
    for number, document in enumerate(elements(message, batch.value)):
        if number >= _BATCH:
            rule = f"a reply with more than the {_BATCH} values that were asked for"
            raise Refusal(Reason.QUESTION, rule=rule)
        if document.kind != kinds.OBJECT:
            raise BsonError(WireReason.BSON_VALUE, document.value)
        whole = message[document.value : document.end]
        if whole in known and judgement.pass_over(whole):
            continue
        newly, is_rejected = _judge(conversation, asked, message, document.value)
        opened += newly
        if is_rejected:
            rejected.add(known, whole)
    for whole in judgement.overdue():
        opened += _judge(conversation, asked, whole, 0)[0]
    return opened


def _judge(conversation: Conversation, asked: Asked, message: bytes, document: int) -> tuple[int, bool]:
    """Judge the values of a document: how many were opened, and whether it is one that does not satisfy all.

    Raises as `answered`, Undecided, Refusal.
    """
    if asked.question.is_random:
        return _judge_candidate(conversation, asked, message, document)
    if find_element(message, document, b"_id") is None:
        raise BsonError(WireReason.BSON_VALUE, document)  # of a missing value it is null
    judgement, opened, is_rejected = asked.judgement, 0, True
    is_ordered = asked.question.order is not None
    counted = find_element(message, document, _COUNT) if is_ordered else None
    documents = 1 if counted is None else whole_number(message, counted)
    for part in elements(message, document):
        if counted is not None and part.name == _COUNT:
            continue
        if part.name != b"_id":
            if any(message[part.value : part.end]):
                judgement.take_several()  # it came from a further item of an array
                is_rejected = False
            continue
        if part.kind == kinds.ARRAY and judgement.takes_arrays:
            held, newly = _held_array(conversation, asked, message, part)
            judgement.take(held, documents)
            opened, is_rejected = opened + newly, False
            continue
        if part.kind == kinds.ARRAY:
            judgement.take_several()
            is_rejected = False
        if is_ordered and part.kind == kinds.NULL:
            judgement.take_nulls(documents)
            continue
        for held, is_opened in _held(conversation, asked, message, _items(message, part)):
            is_rejected = not judgement.take(held, documents) and is_rejected
            opened += is_opened
    return opened, is_rejected and opened > 0


def _judge_candidate(
    conversation: Conversation, asked: Asked, message: bytes, document: int
) -> tuple[int, bool]:
    """The same of a document with values of a random class at their path."""
    first, *further = asked.question.path.encode().split(b".")
    part = find_element(message, document, first)
    items = [] if part is None else list(_along(message, part, further))
    judgement, opened, is_rejected = asked.judgement, 0, True
    if len(items) > 1:
        judgement.take_several()
        is_rejected = False
    for held, is_opened in _held(conversation, asked, message, iter(items)):
        is_rejected = not judgement.take(held) and is_rejected
        opened += is_opened
    return opened, is_rejected and opened > 0


def _along(message: bytes, part: Element, names: Sequence[bytes]) -> Iterator[Element]:
    """The values at the end of a path that leads through arrays. Raises BsonError."""
    for item in _items(message, part):
        if not names:
            yield item
        elif item.kind == kinds.OBJECT:
            below = find_element(message, item.value, names[0])
            if below is not None:
                yield from _along(message, below, names[1:])


def _items(message: bytes, part: Element, depth: int = 0) -> Iterator[Element]:
    """A value, or what is in an array and in the arrays in it: `$elemMatch` in `$elemMatch` leads there.

    Raises BsonError.
    """
    if part.kind != kinds.ARRAY:
        yield part
        return
    if depth > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, part.value)
    for item in elements(message, part.value):
        yield from _items(message, item, depth + 1)


def _held(
    conversation: Conversation, asked: Asked, message: bytes, items: Iterator[Element]
) -> Iterator[tuple[HeldValue, bool]]:
    keyring, class_name = conversation.shared.keyring, asked.question.class_name
    may_be_clear = class_name in keyring.partly_plaintext
    for item in items:
        stored = item.kind, message[item.value : item.end]
        if not is_envelope(item.kind, message, item.value):
            # under a collation, a list of values in clear would find others than those
            needs_envelopes = asked.question.is_random or (may_be_clear and asked.question.is_collated)
            is_missed = asked.judgement.wants_all or (needs_envelopes and item.kind != kinds.NULL)
            if may_be_clear and not needs_envelopes:
                yield HeldValue(stored, stored), False
            elif is_missed:
                raise Refusal(Reason.QUESTION, rule="a stored value in clear")
            continue
        names = keyring.classes_of(class_id_of(message, item.value + BINARY_HEAD))
        if names and class_name not in names:
            raise Refusal(Reason.QUESTION, rule="a stored value of another class")
        try:
            value = keyring.open_envelope(message, item.value + BINARY_HEAD, item.end)
        except KeyDestroyed:
            if asked.judgement.wants_all:
                raise
            continue  # nobody can tell what it was, and no equality finds it either
        yield HeldValue(value, stored), True


def _held_array(
    conversation: Conversation, asked: Asked, message: bytes, part: Element
) -> tuple[HeldValue, int]:
    """An array as a whole, and how many of its values were opened. Raises as `_judge`.

    It stands where one of its values does, so none of them may be passed over.
    """
    items, opened = list[HeldValue](), 0
    for item in elements(message, part.value):
        asked.judgement.count()
        if item.kind == kinds.NULL:
            items.append(_NULL)
            continue
        found = list(_held(conversation, asked, message, iter((item,))))
        if not found or item.kind == kinds.ARRAY:
            rule = "a sort by arrays with a value that cannot be judged, or with arrays in them"
            raise Refusal(Reason.QUESTION, rule=rule)
        items += [held for held, _ in found]
        opened += sum(is_opened for _, is_opened in found)
    plain, stored = (array_of([each[side] for each in items]) for side in range(2))
    return HeldValue((kinds.ARRAY, plain), (kinds.ARRAY, stored)), opened


def _batch(message: bytes, body: int) -> tuple[int, Element]:
    """The cursor's id, and the batch. Raises BsonError."""
    cursor = find_element(message, body, b"cursor")
    if cursor is None or cursor.kind != kinds.OBJECT:
        raise BsonError(WireReason.BSON_VALUE, body)
    number = find_element(message, cursor.value, b"id")
    first, further = (find_element(message, cursor.value, name) for name in (b"firstBatch", b"nextBatch"))
    batch = first or further
    if number is None or number.kind != kinds.LONG or batch is None or batch.kind != kinds.ARRAY:
        raise BsonError(WireReason.BSON_VALUE, cursor.value)
    return int.from_bytes(message[number.value : number.end], "little", signed=True), batch


def _refusal(error: Undecided | Refusal, asked: Asked) -> Refusal:
    path = asked.question.path
    if isinstance(error, Refusal):
        return Refusal(error.reason, path=path, rule=error.rule, instead=error.instead)
    return Refusal(Reason.QUESTION, path=path, rule="a stored value that servers judge in several ways")


def _over(conversation: Conversation, message: bytes, refusal: Refusal | None = None) -> list[Effect]:
    """The question is answered; the command that waits goes on."""
    asked = _asked(conversation)
    _done(conversation, message)
    conversation.states.happened(Event.VALUES_TOLD)
    conversation.look_up = None
    if asked.hold is not None:
        conversation.shared.moves.keep_for(asked.hold, b"")
    try:
        learned = refusal or asked.judgement.answer()
        if asked.question.needs_newest and isinstance(learned, ValuesAnswer):
            _check_newest(conversation, asked.question.class_name, learned)
    except (Undecided, Refusal) as error:
        learned = _refusal(error, asked)
    conversation.views.answers.learn(asked.question, learned)
    return [PauseClient(False)]


def _check_newest(conversation: Conversation, class_name: str, answer: ValuesAnswer) -> None:
    """Raises Refusal(QUESTION) for a value under an older key: a job may be about to encrypt it anew."""
    try:
        cipher = conversation.shared.keyring.cipher_for(class_name)
    except UnknownKey:
        version = 0
    else:
        version = cipher.key_version
    for held in chain.from_iterable(answer.each):
        header = parse_header(held.stored[1][BINARY_HEAD:])
        if header.mode is not EnvelopeMode.RANDOM or header.key_version != version:
            rule = "a value under an older key, outside of transactions"
            raise Refusal(Reason.QUESTION, rule=rule)


def _asked(conversation: Conversation) -> Asked:
    """What is being asked. Raises ProtocolError where that is something else."""
    asked = conversation.look_up
    if not isinstance(asked, Asked):
        raise ProtocolError(WireReason.RESPONSE_TO, 8)
    return asked


def _done(conversation: Conversation, message: bytes) -> None:
    conversation.awaited.answer(response_to_of(message), request_id_of(message), more_to_come=False)
