"""Ask the server, on the client's own connection, which values a field holds, for a command that waits.

The values come in batches, each as the documents have it: as envelopes, in clear, or in arrays of these. They
are opened and judged as they come, and those that satisfy the question are kept (`policies.questions`). What
is learned counts for the command that waits, and for nothing else.

A server that lies could ask by its answers. So only envelopes of the question's class are judged: the list
would say which of any others satisfy the condition, and would have their values under the key of the class.
Values in clear are judged only while the class may have some. Otherwise no filter finds them, and a server
could find out the operands and the ciphertext of values of its choice.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, final

from bson import Int64, encode
from bson.raw_bson import RawBSONDocument

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import (
    BINARY_HEAD,
    EnvelopeMode,
    class_id_of,
    context_key_id,
    head_of,
    is_envelope,
    is_of_context,
    parse_header,
)
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.keys.errors import KeyDestroyed, KeysError, UnknownKey
from sealwire.keys.frontier.frontier import LeaseAwaited, SnapshotOutdated
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.aggregation.sorting import OrderUnknown
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.filters.asking import Among, CandidatesUnknown
from sealwire.policies.planning.numbers import whole_number
from sealwire.policies.planning.plan import Plan, Replacement
from sealwire.policies.questions.asked import ValuesAnswer, ValuesJudgement, ValuesQuestion, ValuesUnknown
from sealwire.policies.questions.conditions import HeldValue, Value
from sealwire.policies.questions.patterns import Undecided
from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import Conversation, Question
from sealwire.proxy.session.effects import Count, Counter, Effect, PauseClient, ToServer
from sealwire.proxy.session.moving.lasting import held_by_question, transaction_of
from sealwire.proxy.session.moving.moves import Hold
from sealwire.proxy.session.ranking import array_of
from sealwire.proxy.session.requests import VALUES_UNKNOWN
from sealwire.proxy.session.rewriting import cipher_of, rewritten_part
from sealwire.proxy.session.shared import KnownBatch, Verdicts
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg, build_op_msg
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, enclosed, find_element, int32_at, is_at

_BATCH: Final = 2000
"""Values that are judged at a time: opening and judging them takes some 5 ms."""
_PAGE: Final = 100
"""So many documents are sorted by as many values, without asking how many documents have each: a server that
only groups may jump along an index."""
_NULL: Final = HeldValue((kinds.NULL, b""), (kinds.NULL, b""))
_FIRST: Final = b"%c_id\0" % kinds.BIN_DATA
"""How a document begins that has an envelope, behind its length."""
_VALUE: Final = 4 + len(_FIRST)
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
    sorted, as `rewritten_part`; ContextsMissing, Refusal(QUESTION) for a class with a key for each context;
    BsonError; ProtocolError when too much is awaited.
    """
    question, among, at_hand = unknown.question, _among(unknown), conversation.at_hand
    cipher = cipher_of(question, chain.from_iterable(each.edits for each in among), conversation.shared)
    pipeline = _pipeline_of(conversation, unknown)
    parts = _parts(message, body)
    for_all, for_first = _FOR_ALL, _FOR_FIRST
    if at_hand.read_concern:
        parts[b"readConcern"] = at_hand.read_concern
    if b"autocommit" in parts:
        for_all, for_first = for_all | _OF_TRANSACTION, for_first | _OF_TRANSACTION | _BEGINNING
        if at_hand.has_begun:
            for_first -= _BEGINNING
    begins = {b"autocommit", b"startTransaction"} <= parts.keys() and not at_hand.has_begun
    hold = _hold(conversation, message, body, begins=begins)
    unknown.judgement.bounds = conversation.shared.settings.questions
    copied = [question.options]
    copied += [part for name, part in parts.items() if name in for_first]
    if b"autocommit" not in parts and not _WRITING.isdisjoint(parts):
        copied.append(_LOCAL)
    kept = b"".join(part for name, part in parts.items() if name in for_all)
    asked = ValuesAsked(conversation, unknown, kept, hold, cipher, needs_time=_needs_time(parts))
    sent = asked.ask(pipeline, b"".join(copied))
    if begins:
        at_hand.read_concern = b""
    return [Count(Counter.VALUE_QUESTIONS), PauseClient(True), sent]


def go_on(conversation: Conversation, plan: Plan, body: int) -> None:
    """Let a planned command, which lies at `body`, read what its question has read.

    It goes on with the transaction that the question has begun, or reads at the same time. Raises
    SnapshotOutdated if values may have moved since.
    """
    concern = conversation.at_hand.read_concern
    if concern is None:
        return
    if concern and conversation.shared.moves.have_begun:
        raise SnapshotOutdated
    plan.replacements.extend(
        Replacement(each, (0, body), concern)
        for each in elements(plan.buf, body)
        if each.name in (_BEGINNING if conversation.at_hand.has_begun else (b"readConcern",))
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
        return held_by_question(moves, transaction, begins=begins)
    return moves.begin(dict.fromkeys(moves.classes)) if moves.is_leased or moves.marks_cursors else None


@final
class ValuesAsked(Question):
    """Which values a field holds, for the command at hand."""

    __slots__ = ("_cipher", "_hold", "_judgement", "_needs_time", "_options", "_question")

    def __init__(
        self,
        conversation: Conversation,
        unknown: ValuesUnknown,
        options: bytes,
        hold: Hold | None,
        cipher: ContextCipher | None,
        *,
        needs_time: bool,
    ) -> None:
        """`options`: the elements of the command at hand that go with each command of the question. `hold`:
        what it uses of classes that move. `cipher`: that of its context; None if it is about none, or nothing
        is stored under that one.
        """
        super().__init__(conversation)
        self._question: Final = unknown.question
        self._judgement: Final = unknown.judgement
        self._options = options
        self._hold = hold
        self._cipher = cipher
        self._needs_time = needs_time
        """Whether the server has to say at which time it reads, for the command to read then as well."""

    def ask(self, pipeline: bytes, copied: bytes) -> ToServer:
        """The first command, with `copied` elements. Raises ProtocolError when too much is awaited."""
        database, _, collection = self._question.namespace.partition(".")
        others = {"cursor": {"batchSize": _BATCH}, "allowDiskUse": True, "$db": database}
        return self._send(
            "aggregate",
            b"".join((_elements({"aggregate": collection}), pipeline, _elements(others), copied)),
        )

    def _send(self, name: str, content: bytes) -> ToServer:
        try:
            return self.send(name, enclosed(content), self._hold)
        except ProtocolError:
            if self._hold is not None:
                self._hold.end()  # nothing is awaited that would end it
            raise

    def answered(self, message: bytes, parsed: OpMsg) -> list[Effect]:
        """A batch of the answer: the next one is asked for, or the waiting command goes on.

        Raises BsonError, ProtocolError; what `Keyring.open_envelope` raises, and then nothing has changed.
        """
        body = parsed.body
        if not replies.is_ok(message, body):
            self._conversation.at_hand.unanswered = VALUES_UNKNOWN, self.error_in(message, body)
            if self._hold is not None:
                self._hold.transaction = b""  # an error ends it
            return [self._conclude(message)]
        cursor_id, batch = _batch(message, body)
        seen = self._judgement.seen
        try:
            self._note_time(message, body)
            opened = self._judged(message, batch)
        except (Undecided, Refusal) as error:
            return [*self._killed(cursor_id), self._conclude(message, self._refusal(error))]
        effects: list[Effect] = [Count(Counter.QUESTION_VALUES, self._judgement.seen - seen)]
        if opened:
            effects.append(Count(Counter.VALUES_DECRYPTED, opened))
        if not cursor_id:
            return [*effects, self._conclude(message)]
        self.take(message)
        database, _, collection = self._question.namespace.partition(".")
        more = {"getMore": Int64(cursor_id), "collection": collection, "batchSize": _BATCH, "$db": database}
        return [*effects, self._send("getMore", _elements(more) + self._options)]

    def unreadable(self, message: bytes, parsed: OpMsg, error: Exception) -> list[Effect]:
        """An envelope of a batch cannot be opened: the waiting command is refused. Raises BsonError."""
        rule = f"a stored value that does not open ({type(error).__name__})"
        refusal = Refusal(Reason.QUESTION, path=self._question.path, rule=rule)
        cursor_id, _ = _batch(message, parsed.body)
        return [*self._killed(cursor_id), self._conclude(message, refusal)]

    def _note_time(self, message: bytes, body: int) -> None:
        """Note when the server has read, if that is needed. Raises Refusal(QUESTION) if it does not say."""
        at_hand = self._conversation.at_hand
        cursor = find_element(message, body, b"cursor")
        if not self._needs_time or at_hand.read_concern or cursor is None:
            return
        at = find_element(message, cursor.value, b"atClusterTime")
        if at is None or at.kind != kinds.TIMESTAMP:
            raise Refusal(Reason.QUESTION, rule="a snapshot of which the server does not say the time")
        content = _SNAPSHOT + message[at.start : at.end]
        at_hand.read_concern = b"\x03readConcern\0" + enclosed(content)

    def _killed(self, cursor_id: int) -> list[ToServer]:
        """No more batches are needed. No reply is awaited."""
        if not cursor_id:
            return []
        database, _, collection = self._question.namespace.partition(".")
        content = _elements({"killCursors": collection, "cursors": [Int64(cursor_id)], "$db": database})
        whole = enclosed(content + self._options)
        return [ToServer(build_op_msg(self._conversation.new_id(), 0, whole, MORE_TO_COME))]

    def _conclude(self, message: bytes, refusal: Refusal | None = None) -> PauseClient:
        """The question has its last answer, or needs none; the command that waits goes on."""
        self.take(message)
        if self._hold is not None:
            self._conversation.shared.moves.keep_for(self._hold, b"")
        try:
            learned = refusal or self._judgement.answer()
            if self._question.needs_newest and isinstance(learned, ValuesAnswer):
                _check_newest(self._conversation, self._question.class_name, learned)
        except (Undecided, Refusal) as error:
            learned = self._refusal(error)
        self._conversation.at_hand.views.answers.learn(self._question, learned)
        return self.over()

    def _refusal(self, error: Undecided | Refusal) -> Refusal:
        path = self._question.path
        if isinstance(error, Refusal):
            return Refusal(error.reason, path=path, rule=error.rule, instead=error.instead)
        return Refusal(Reason.QUESTION, path=path, rule="a stored value that servers judge in several ways")

    def _judged(self, message: bytes, batch: Element) -> int:
        """Judge the values of a batch; how many were opened. Raises as `answered`, Undecided, Refusal."""
        judgement, rejected = self._judgement, self._conversation.shared.rejected
        judgement.begin_batch(len(message))
        known = rejected.of(self._question)
        digest = rejected.digest_of(message[batch.value : batch.end]) if judgement.has_one_list else b""
        same = known.batches.get(digest)
        if same is None:
            number, starts = _unknown(judgement, known, message, batch)
        else:
            judgement.count(same.rejected)
            number, starts = same.rejected + len(same.left), [batch.value + at for at in same.left]
        reading = self._reading(message)
        reading.open_together(starts)
        left: list[int] = []
        for start in starts:
            if reading.judge(start):
                rejected.add(known, message[start : start + int32_at(message, start)])
            else:
                left.append(start - batch.value)
        if digest:
            rejected.add_batch(known, digest, KnownBatch(number - len(left), tuple(left)))
        opened = reading.opened
        for whole in judgement.overdue():
            one = self._reading(whole)
            one.judge(0)
            opened += one.opened
        return opened

    def _reading(self, message: bytes) -> "_Reading":
        keyring = self._conversation.shared.keyring
        return _Reading(keyring, self._question, self._judgement, self._cipher, message)


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


def _among(unknown: ValuesUnknown) -> list[Among]:
    """The conditions and stages that documents pass before the question looks at them."""
    if isinstance(unknown, CandidatesUnknown):
        return unknown.among
    return [unknown.among] if isinstance(unknown, OrderUnknown) and unknown.among is not None else []


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
    group: dict[str, object] = {"_id": f"${question.path}"}
    if len(names) == 1 and order.takes_arrays and (order.enough is None or order.enough <= _PAGE):
        # each value has a document at least, and an index may lack the documents without one
        unknown.judgement.take_nulls(0)
    else:
        group[_INDEX] = {"$sum": 1}
    for depth in range(1, len(names)):
        group[f"{_INDEX}{depth}"] = {"$max": {"$isArray": [f"${'.'.join(names[:depth])}"]}}
    items = before + _elements({"0": {"$group": group}})
    return b"\x04pipeline\0" + enclosed(items)


def _rewritten(conversation: Conversation, among: Among) -> bytes:
    changed = among.edits, among.replacements, among.parents
    return rewritten_part(among.buf, among.part, *changed, conversation.shared)


def _candidates(conversation: Conversation, unknown: CandidatesUnknown) -> bytes:
    """The same among the documents that meet some conditions; of a random class each with its values."""
    path, is_random = unknown.question.path, unknown.question.is_random
    conditions = [_elements({path: {"$exists": True}})] if is_random else []
    conditions += [_rewritten(conversation, each) for each in unknown.among]
    shown: dict[str, object] = {path: 1} if path.startswith("_id") else {path: 1, "_id": 0}
    stages: list[dict[str, object]] = [{"$project": shown}] if is_random else _pipeline(path)
    if conditions:
        match = {"$and": [RawBSONDocument(enclosed(each)) for each in conditions]}
        stages.insert(0, {"$match": match})
    return _elements({"pipeline": stages})


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


def _unknown(
    judgement: ValuesJudgement, known: Verdicts, message: bytes, batch: Element
) -> tuple[int, list[int]]:
    """How many documents a batch has, and where those begin that have to be judged.

    Raises BsonError, Refusal(QUESTION, QUESTION_SIZE).
    """
    number, starts = 0, list[int]()
    for document in elements(message, batch.value):
        number += 1
        if number > _BATCH:
            rule = f"a reply with more than the {_BATCH} values that were asked for"
            raise Refusal(Reason.QUESTION, rule=rule)
        if document.kind != kinds.OBJECT:
            raise BsonError(WireReason.BSON_VALUE, document.value)
        whole = message[document.value : document.end]
        if whole not in known.documents or not judgement.pass_over(whole):
            starts.append(document.value)
    return number, starts


@final
class _Reading:
    """Judges documents of one reply."""

    __slots__ = (
        "_cipher",
        "_class_name",
        "_judgement",
        "_keyring",
        "_may_be_clear",
        "_message",
        "_needs_envelopes",
        "_question",
        "_together",
        "opened",
    )

    def __init__(
        self,
        keyring: Keyring,
        question: ValuesQuestion,
        judgement: ValuesJudgement,
        cipher: ContextCipher | None,
        message: bytes,
    ) -> None:
        self._keyring: Final = keyring
        self._question: Final = question
        self._judgement: Final = judgement
        self._cipher: Final = cipher
        self._message: Final = message
        self._class_name: Final = question.class_name
        self._may_be_clear: Final = question.class_name in keyring.partly_plaintext
        # under a collation, a list of values in clear would find others than those
        self._needs_envelopes: Final = question.is_random or (self._may_be_clear and question.is_collated)
        self._together: dict[int, HeldValue] = {}
        """What was opened already, by where it begins."""
        self.opened = 0
        """How many values were opened."""

    def open_together(self, starts: Iterable[int]) -> None:
        """Open the envelopes with which documents begin, many by one call.

        Where one of them does not open each is opened by itself, which tells why.
        """
        message = self._message
        batch = self._keyring.batch(self._keyring.open_envelope, len(message))
        if batch is None or self._question.context:
            return
        is_ours: dict[bytes, bool] = {}
        found: list[tuple[int, int, int]] = []
        for start in starts:
            last = start + int32_at(message, start) - 1
            value = start + _VALUE
            envelope = value + BINARY_HEAD
            if envelope > last or not is_at(message, start + 4, _FIRST):
                continue
            end = envelope + int32_at(message, value)
            if not envelope <= end <= last:
                continue
            head = head_of(message, value)
            if head not in is_ours:
                names = self._keyring.classes_of(class_id_of(message, envelope))
                is_ours[head] = self._class_name in names and is_envelope(kinds.BIN_DATA, message, value)
            if is_ours[head]:
                try:
                    kind, content = batch.take(message, envelope, end)
                except (InvalidEnvelope, DecryptionFailed, KeysError):
                    continue
                if isinstance(content, bytes):
                    self._together[value] = _held_at(message, value, end, (kind, content))
                else:
                    found.append((value, end, kind))
        try:
            values = batch.values(message)
        except DecryptionFailed:
            return
        for (value, end, kind), content in zip(found, values, strict=True):
            self._together[value] = _held_at(message, value, end, (kind, content))

    def judge(self, document: int) -> bool:
        """Judge the values of a document: whether it is one that does not satisfy all.

        Raises as `answered`, Undecided, Refusal.
        """
        if self._question.is_random:
            return self._judge_candidate(document)
        message, judgement = self._message, self._judgement
        is_ordered = self._question.order is not None
        held = None if is_ordered else self._together.get(document + _VALUE)
        if held is not None and _VALUE + len(held.stored[1]) + 1 == int32_at(message, document):
            self.opened += 1
            return not judgement.take(held)  # it is all of the document
        identity: Element | None = None
        before, is_rejected, documents = self.opened, True, 1
        for part in elements(message, document):
            if part.name == b"_id":
                identity = part
            elif is_ordered and part.name == _COUNT:
                is_int = part.kind == kinds.INT
                documents = int32_at(message, part.value) if is_int else whole_number(message, part)
            elif any(message[part.value : part.end]):
                judgement.take_several()  # it came from a further item of an array
                is_rejected = False
        if identity is None:
            raise BsonError(WireReason.BSON_VALUE, document)  # of a missing value it is null
        if identity.kind != kinds.ARRAY:
            if is_ordered and identity.kind == kinds.NULL:
                judgement.take_nulls(documents)
                return False
            return self._takes_no(identity, documents) and is_rejected and self.opened > before
        if judgement.takes_arrays:
            judgement.take(self._array(identity), documents)
            return False
        judgement.take_several()
        for item in _items(message, identity):
            self._takes_no(item, documents)
        return False

    def _judge_candidate(self, document: int) -> bool:
        """The same of a document with values of a random class at their path."""
        message, before = self._message, self.opened
        first, *further = self._question.path.encode().split(b".")
        part = find_element(message, document, first)
        items = [] if part is None else list(_along(message, part, further))
        if len(items) > 1:
            self._judgement.take_several()
        # each is judged, whatever the others are
        are_rejected = [self._takes_no(item, 1) for item in items]
        return len(items) <= 1 and all(are_rejected) and self.opened > before

    def _takes_no(self, item: Element, documents: int) -> bool:
        """Judge a value that is stored in so many documents: whether it does not satisfy all operators."""
        held = self._held(item)
        return held is None or not self._judgement.take(held, documents)

    def _held(self, item: Element) -> HeldValue | None:
        """A value as it is stored; None for one that no list has to find."""
        held = self._together.get(item.value)
        if held is not None:
            self.opened += 1
            return held
        message, keyring, judgement = self._message, self._keyring, self._judgement
        stored = item.kind, message[item.value : item.end]
        if not is_envelope(item.kind, message, item.value):
            if self._may_be_clear and not self._needs_envelopes:
                return HeldValue(stored, stored)
            if judgement.wants_all or (self._needs_envelopes and item.kind != kinds.NULL):
                raise Refusal(Reason.QUESTION, rule="a stored value in clear")
            return None
        names = keyring.classes_of(class_id_of(message, item.value + BINARY_HEAD))
        if names and self._class_name not in names:
            raise Refusal(Reason.QUESTION, rule="a stored value of another class")
        if self._question.context:
            return self._held_in_context(message[item.value + BINARY_HEAD : item.end], stored)
        try:
            value = keyring.open_envelope(message, item.value + BINARY_HEAD, item.end)
        except KeyDestroyed:
            if judgement.wants_all:
                raise
            return None  # nobody can tell what it was, and no equality finds it either
        self.opened += 1
        return HeldValue(value, stored)

    def _held_in_context(self, envelope: bytes, stored: Value) -> HeldValue | None:
        """The same of an envelope, if the key of the context has made it: no other one can be meant."""
        cipher = self._cipher
        if cipher is None or not is_of_context(envelope) or context_key_id(envelope, 0) != cipher.key_id:
            return None
        value = cipher.decrypt(envelope)
        self.opened += 1
        return HeldValue(value, stored)

    def _array(self, part: Element) -> HeldValue:
        """An array as a whole. Raises as `judge`.

        It stands where one of its values does, so none of them may be passed over.
        """
        items = list[HeldValue]()
        for item in elements(self._message, part.value):
            self._judgement.count()
            held = _NULL if item.kind == kinds.NULL else self._held(item)
            if held is None or item.kind == kinds.ARRAY:
                rule = "a sort by arrays with a value that cannot be judged, or with arrays in them"
                raise Refusal(Reason.QUESTION, rule=rule)
            items.append(held)
        plain, stored = array_of([each.value for each in items]), array_of([each.stored for each in items])
        return HeldValue((kinds.ARRAY, plain), (kinds.ARRAY, stored))


def _held_at(message: bytes, start: int, end: int, value: Value) -> HeldValue:
    return HeldValue(value, (kinds.BIN_DATA, message[start:end]))


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
