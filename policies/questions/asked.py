"""What has to be asked of the server before a command can be planned, and what was learned for it.

A condition that ciphertext cannot answer is a set: the stored values that satisfy it. The planner looks for
the answer to its question here. Where there is none it raises ValuesUnknown; the session asks the server for
the values that are stored, judges each (`ValuesJudgement`), learns the answer, and plans the command anew.
An answer counts for that command alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, NamedTuple, assert_never, final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode, is_transparent, parts_of
from sealwire.policies.questions import USUAL_BOUNDS
from sealwire.policies.questions.collation import SIMPLE
from sealwire.policies.questions.conditions import (
    Asks,
    Condition,
    HeldValue,
    OrderKey,
    Ranks,
    SortOrder,
    Value,
    among,
    array_key,
    bits,
    compared,
    compared_across,
    first_ranks,
    in_arrays,
    items_of,
    matched,
    modulo,
    order_key,
    sized,
    typed,
)
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

MAX_BYTES: Final = 16_000_000
"""What the values that satisfy one question may take, in both forms. A document of MongoDB is no longer."""
_OF_ARRAYS: Final = frozenset({Asks.TYPE, Asks.SIZE})
"""These are about an array as well as about what is in it."""
MAX_BATCHES: Final = 1000
"""In how many replies the server may answer one question."""
MAX_BATCH_WORK: Final = 2_000_000_000
"""The squares of the lengths of the values of one reply, as a pattern may look at all of a value from each of
its places: 0.6 s at most, in which everybody else waits."""
MAX_ARRAYS: Final = 1000
"""Arrays that one command sorts by: the server compares each document's with them, one by one."""
MAX_QUESTIONS: Final = 16
"""Questions that one command may need."""
MOST_NARROWED: Final = 4
"""So many of them may be about the documents that meet one filter."""


@dataclass(frozen=True, slots=True)
class AskedOperator:
    """One operator of a filter with its operands, as values of BSON."""

    asks: Asks
    name: bytes
    operands: tuple[Value, ...] = field(repr=False)
    strength: int = SIMPLE
    """How strong the collation of the command is. Patterns match as without one."""

    @property
    def has_pattern(self) -> bool:
        """Whether it matches a pattern, which may look at all of a value from each of its places."""
        return self.asks is Asks.PATTERN or any(kind == kinds.REGEX for kind, _ in self.operands)


@dataclass(frozen=True, slots=True)
class ValuesQuestion:
    """Which values, of those stored at a path, satisfy operators that stand beside each other?"""

    namespace: str
    path: str
    class_name: str
    """The class of the values: an answer counts for no other, if the policy changes meanwhile."""
    operators: tuple[AskedOperator, ...]
    is_outside: bool = False
    """Whether it is about the values that do not satisfy each of them: what a negation lets in."""
    order: SortOrder | None = None
    """How the command is sorted by them; None: it is not."""
    is_random: bool = False
    """Whether it is about envelopes that are each in one place, and may have arrays in them."""
    among: bytes = b""
    """The digest of the filter around the condition, if only documents that meet the rest are looked at."""
    options: bytes = field(default=b"", repr=False)
    """The collation of the command, and its hint if it is about an order, as the client has sent them."""
    context: bytes = field(default=b"", repr=False)
    """The context whose values it is about, if the class has a key for each (`Contexts.of`)."""
    needs_newest: bool = False
    """Whether a job could encrypt values anew, under the newest key, between the question and the command."""

    def __post_init__(self) -> None:
        if self.is_outside and self.order is not None:
            raise TypeError("a sort takes no negated condition over")

    @property
    def is_collated(self) -> bool:
        """Whether the command compares strings under a collation."""
        is_sorted = self.order is not None and self.order.strength != SIMPLE
        return is_sorted or any(each.strength for each in self.operators)

    @property
    def comparisons(self) -> int:
        """How often it compares stored values."""
        return len(self.operators) + (self.order is not None)


@dataclass(frozen=True, slots=True)
class ValuesAnswer:
    """The stored values that satisfy each operator, and those that satisfy all, without any twice."""

    each: tuple[tuple[HeldValue, ...], ...]
    all: tuple[HeldValue, ...]
    is_single: bool
    """Whether no document holds more than one value there: then all operators are about the same one."""
    ranks: Ranks | None = None
    """The ranks of what satisfies all, where the question is about the order: then the first values alone."""

    @property
    def arrays(self) -> int:
        """How many arrays satisfy all."""
        return sum(held.value[0] == kinds.ARRAY for held in self.all)


class ValuesUnknown(Exception):
    """The server has to be asked this; then the command can be planned."""

    def __init__(self, question: ValuesQuestion) -> None:
        """Raises Refusal(PATTERN, RANGE, SHAPE) for operands that nobody can judge by."""
        super().__init__(question.path)
        self.question: Final = question
        self.judgement: Final = ValuesJudgement(question)


@final
class Answers:
    """What the server's values have said for the command that is being planned. One for each session."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: Final[dict[ValuesQuestion, ValuesAnswer | Refusal]] = {}
        """Empty once the command has been planned."""

    @property
    def has_order(self) -> bool:
        """Whether the command is sorted by stored values."""
        return any(question.order is not None for question in self.known)

    @property
    def has_first(self) -> bool:
        """Whether there is any document to sort."""
        ordered = [each for question, each in self.known.items() if question.order is not None]
        answers = [each for each in ordered if isinstance(each, ValuesAnswer)]
        return any(each.all or (each.ranks is not None and each.ranks.nulls is not None) for each in answers)

    def narrowed(self, question: ValuesQuestion, among: bytes) -> ValuesQuestion:
        """The question about documents that meet a filter, if it is one of the first. Others share one."""
        found = replace(question, among=among)
        return found if found in self.known or len(self.known) < MOST_NARROWED else question

    def of(self, question: ValuesQuestion) -> ValuesAnswer:
        """Raises ValuesUnknown, and the refusal that was learned in the place of an answer."""
        found = self.known.get(question)
        if found is None:
            if len(self.known) >= MAX_QUESTIONS:
                raise Refusal(Reason.QUESTION, rule=f"more than {MAX_QUESTIONS} questions for one command")
            raise ValuesUnknown(question)
        if isinstance(found, Refusal):
            raise found
        return found

    def learn(self, question: ValuesQuestion, answer: ValuesAnswer | Refusal) -> None:
        """It counts until `clear`."""
        self.known[question] = answer


class Barrier(Enum):
    """What lies around a condition, so that nothing is asked for it."""

    ELSEWHERE = "elsewhere"
    """The documents may be another collection's, and a question is about the command's own."""
    NESTING = "nesting"
    """The path may lead into arrays in arrays, or to fields with numbers as names."""


class Met(NamedTuple):
    """A planned condition of a filter that each document has to meet, with its part of the draft."""

    element: Element
    parents: tuple[int, ...]
    edits: tuple[int, int]
    """From which of the draft's edits to which; `slice` is no type in the compiled core."""
    replacements: tuple[int, int]


@dataclass(slots=True)
class WholeFilter:
    """A filter on documents that is being planned."""

    start: int
    digest: bytes = b""
    """It stands for the filter as it was sent, once something is asked: conditions are looked up by it."""
    has_equality: bool = False
    """Whether it says of a field which values it has; found out with the digest."""
    met: list[Met] = field(default_factory=list)
    """The conditions of it that are planned, and that each document has to meet."""
    lacking: "ValuesUnknown | None" = None
    """The first question that its conditions need."""
    changing: dict[str, bool] = field(default_factory=dict)
    """By path what `Asking.may_change` has found out: it takes as long as the filter is."""


@dataclass(slots=True)
class TakenOver:
    """Operators of a filter on the field that the command is sorted by: one question is about both."""

    elements: list[Element]
    parents: tuple[int, ...]
    keeps_others: bool
    """Whether other operators stay beside them."""
    takes_list: bool
    """Whether there is room for `$in`."""
    is_pattern: bool
    """Whether it is a pattern that stands in the place of a value."""


@dataclass(slots=True)
class SortAhead:
    """The `$sort` that comes behind nothing but `$match`."""

    stage: int
    """Where it begins."""
    key: bytes
    """The first field of it whose values have to be asked for."""
    places: frozenset[int]
    """Where in filters all of whose conditions have to be met the conditions on that field begin."""
    operators: list[AskedOperator] = field(default_factory=list)
    taken: list[TakenOver] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StagesBefore:
    """What the stages of a pipeline before the one at hand mean for a question about its order."""

    start: int | None = None
    """Where they begin, if a question can repeat all of them: then it is about the values at this place."""
    reshaping: str = ""
    """One that may give covered paths other values than stored ones. Then a question has to repeat them."""
    is_windowed: bool = False
    """Whether one has cut documents off by their number."""


# --------------------------------------------------------------------------------------- what a write may ask
#
# A filter decides whether a document is written, at the moment at which it is: its list is compared then. So
# an update, a delete or `findAndModify` may ask anywhere. What decides more needs one point in time, which
# only a transaction has: whether an upsert inserts, and which values of an array are changed or pulled. A
# statement sees what others before it in the same command have written. The question does not: it is asked
# before all of them.

_BRANCHES: Final = frozenset(b"$and $or $nor".split())
_IN_TRANSACTION: Final = ", which needs a transaction"


@final
class FieldsWritten:
    """The fields that earlier statements of a command may have written."""

    __slots__ = ("_is_any", "_paths", "_unset", "count")

    def __init__(self) -> None:
        self.count = 0
        """How many statements there were."""
        self._is_any = False
        self._paths: list[list[bytes]] = []
        self._unset: list[list[bytes]] = []

    def note(self, buf: bytes, update: Element | None, *, inserts: bool) -> None:
        """A statement with this update comes before what follows; `inserts`: it may insert a document.

        Raises BsonError. Cost: O(paths of the update).
        """
        self.count += 1
        first = (
            None if update is None or update.kind != kinds.OBJECT else next(elements(buf, update.value), None)
        )
        if update is None or first is None or inserts or not first.name.startswith(b"$"):
            self._is_any = True  # a pipeline, a replacement, or what an upsert takes from its filter
            return
        for operator in elements(buf, update.value):
            is_operator = operator.name.startswith(b"$") and operator.kind == kinds.OBJECT
            if not is_operator or operator.name == b"$rename":
                self._is_any = True
            else:
                paths = self._unset if operator.name == b"$unset" else self._paths
                paths.extend(_names(argument.name) for argument in elements(buf, operator.value))

    def meets(self, path: str) -> bool:
        """Whether a value at a path may come from an earlier statement. Cost: O(paths)."""
        return self._is_any or _is_among(path.encode().split(b"."), self._paths)

    def may_change(self, buf: bytes, start: int, path: str) -> bool:
        """Whether documents may have come to meet a filter by earlier statements, apart from a path of it.

        Raises BsonError. Cost: O(elements, paths).
        """
        if not self._paths and not self._unset:
            return self._is_any
        for part in elements(buf, start):
            if part.name in _BRANCHES and part.kind == kinds.ARRAY:
                branches = [each.value for each in elements(buf, part.value) if each.kind == kinds.OBJECT]
                if any(self.may_change(buf, each, path) for each in branches):
                    return True
            elif part.name.startswith(b"$"):
                if part.name != b"$comment":
                    return True
            # what is gone from a field of the document itself needs no list
            elif b"." not in part.name and part.name == path.encode():
                continue
            elif self._is_any or _is_among(_names(part.name), self._paths + self._unset):
                return True
        return False


def _is_among(names: list[bytes], paths: list[list[bytes]]) -> bool:
    return any(each[: len(names)] == names[: len(each)] for each in paths)


def _names(path: bytes) -> list[bytes]:
    return [part for part in parts_of(path) if not is_transparent(part)]


@final
class Asking:
    """Where in a command the planner may ask, and the answers that it has."""

    __slots__ = (
        "ahead",
        "answers",
        "barriers",
        "before",
        "collation",
        "forbids",
        "groups",
        "hint",
        "is_at_one_time",
        "is_here",
        "is_in_transaction",
        "is_negated",
        "names",
        "namespace",
        "removed",
        "sorts_write",
        "strength",
        "tree",
        "whole",
        "written",
    )

    def __init__(
        self,
        answers: Answers,
        tree: PathNode,
        *,
        is_in_transaction: bool = False,
        is_at_one_time: bool = False,
        namespace: str = "",
    ) -> None:
        self.answers: Final = answers
        self.tree: Final = tree
        """The covered paths of the documents that the command reads, as they are stored."""
        self.is_in_transaction: Final = is_in_transaction
        self.strength = SIMPLE
        """How strong the collation of the statement is, if strings may be asked about under it."""
        self.collation = b""
        """The collation as the client has sent it."""
        self.hint = b""
        """The index in which the command finds its documents, which a question about their order uses too."""
        self.is_at_one_time: Final = is_at_one_time or is_in_transaction
        """Whether the command reads what its questions have read: nothing changes meanwhile."""
        self.namespace: Final = namespace
        """The collection, if it may be another one than the command's; else empty."""
        self.written: Final = FieldsWritten()
        """What earlier statements of the command may have written."""
        self.forbids = ""
        """Why what is at hand may not be asked about, for the rule of a refusal; empty if it may."""
        self.before = StagesBefore()
        """The stages before the one at hand."""
        self.groups: Final[dict[int, dict[bytes, bytes]]] = {}
        """By the offset of a `$sort` behind a `$group`, the fields that have the ranks for its keys."""
        self.sorts_write = False
        """Whether it is a write of one document that is sorted by stored values."""
        self.is_here = False
        """Whether the filter at hand is on such documents."""
        self.barriers: Final[list[Barrier]] = []
        """What lies around the condition at hand, from the outside in."""
        self.is_negated = False
        """Whether the condition at hand lets a document in by not being satisfied."""
        self.names: Final[dict[int, set[bytes]]] = {}
        """By the offset of a filter, the names that it has, and those that were put into it."""
        self.removed: Final[set[int]] = set()
        """The offsets of patterns that are left out of a list, because they are covered elsewhere."""
        self.ahead: SortAhead | None = None
        """What takes over conditions on its field."""
        self.whole: WholeFilter | None = None
        """The filter on documents at hand."""

    def joining(self, namespace: str, tree: PathNode | None) -> "Asking":
        """The same command in a pipeline on another collection; `tree`: None if nothing is asked about it."""
        found = Asking(
            self.answers,
            tree or PathNode(""),
            is_in_transaction=self.is_in_transaction,
            is_at_one_time=self.is_at_one_time,
            namespace=namespace,
        )
        found.strength, found.collation = self.strength, self.collation
        return found

    def may_change(self, buf: bytes, whole: WholeFilter, path: str) -> bool:
        """As `FieldsWritten.may_change`, once for each filter and path."""
        found = whole.changing.get(path)
        if found is None:
            found = whole.changing[path] = self.written.may_change(buf, whole.start, path)
        return found

    @contextmanager
    def on(self, node: PathNode) -> Iterator[None]:
        """A filter on documents with these covered paths."""
        before, self.is_here = self.is_here, node is self.tree
        try:
            yield
        finally:
            self.is_here = before

    def begin_change(self, what: str, node: PathNode | None = None) -> None:
        """A part of a write that decides more than which documents are written, until `end_change`.

        `what` it is, and on documents with which covered paths, if that is no filter.
        """
        self.is_here = node is self.tree
        self.forbids = "" if self.is_in_transaction else f"{what}{_IN_TRANSACTION}"

    def end_change(self) -> None:
        """Also if a statement was refused in its midst."""
        self.is_here = self.is_negated = False
        self.barriers.clear()
        self.forbids = ""


@final
class ValuesJudgement:
    """The values that satisfy a question, as they come."""

    __slots__ = (
        "_all",
        "_answered",
        "_batches",
        "_bytes",
        "_conditions",
        "_each",
        "_is_outside",
        "_is_random",
        "_is_single",
        "_keys",
        "_matches",
        "_nulls",
        "_order",
        "_passed",
        "_work",
        "bounds",
        "seen",
    )

    def __init__(self, question: ValuesQuestion) -> None:
        """Raises Refusal(PATTERN, RANGE, SHAPE) for operands that nobody can judge by."""
        self._is_random: Final = question.is_random
        conditions = [(each.asks, condition_of(each)) for each in question.operators]
        self._order: Final = question.order
        meets_arrays = self._is_random or self.takes_arrays
        self._conditions: Final = tuple(
            in_arrays(found) if meets_arrays and asks not in _OF_ARRAYS else found
            for asks, found in conditions
        )
        self._each: Final[tuple[dict[HeldValue, None], ...]] = tuple({} for _ in self._conditions)
        self._matches: Final = any(each.has_pattern for each in question.operators)
        self._all: Final[dict[HeldValue, None]] = {}
        self._keys: Final[list[tuple[OrderKey, int]]] = []
        """Where each value that satisfies all stands in the order, and how many documents have it."""
        self._nulls: int | None = None
        self._is_outside: Final = question.is_outside
        self._is_single = True
        self._passed: list[bytes] = []
        self._batches = self._bytes = self._work = self._answered = 0
        self.seen = 0
        """How many values have been looked at."""
        self.bounds = USUAL_BOUNDS

    def begin_batch(self, length: int) -> None:
        """A reply of so many bytes, with values. Raises Refusal(QUESTION_SIZE) for too many."""
        self._batches += 1
        self._answered += length
        if self._batches > MAX_BATCHES:
            raise _too_much(f"an answer in more than {MAX_BATCHES} replies")
        if self._answered > self.bounds.bytes:
            raise _too_much(f"stored values of more than {self.bounds.bytes} bytes (limits.question_bytes)")
        self._work = 0

    @property
    def wants_all(self) -> bool:
        """Whether a value that cannot be judged would be missing: none of them is left out."""
        return self._order is not None and not self._conditions

    @property
    def takes_arrays(self) -> bool:
        """Whether an array is judged as a whole: some value in it satisfies each operator."""
        return self._order is not None and self._order.takes_arrays

    def pass_over(self, document: bytes) -> bool:
        """Whether the one value of a document need not be judged: it is known not to satisfy all operators.

        Raises Refusal(QUESTION_SIZE). Cost: O(1).
        """
        if len(self._conditions) > 1:
            if not self._is_single or self._is_outside:
                return False  # each operator has its own list
            self._passed.append(document)
        self.count()
        return True

    def overdue(self) -> list[bytes]:
        """Documents that were passed over, and count because some other one holds more than one value."""
        if self._is_single:
            return []
        found, self._passed = self._passed, []
        self.seen -= len(found)
        return found

    @property
    def has_one_list(self) -> bool:
        """Whether values that do not satisfy all operators only count."""
        return len(self._conditions) == 1

    def count(self, amount: int = 1) -> None:
        """So many more values are looked at. Raises Refusal(QUESTION_SIZE) for too many."""
        self.seen += amount
        bounds, name = self.bounds, "candidates" if self._is_random else "values"
        most = bounds.candidates if self._is_random else bounds.values
        if self.seen > most:
            raise _too_much(f"more than {most} stored values (limits.question_{name})")

    def take(self, held: HeldValue, documents: int = 1) -> bool:
        """A value that is stored, in so many documents; whether it satisfies all operators.

        Raises Undecided; Refusal(QUESTION_SIZE) for too many of them, or too long ones.
        Cost: one test for each operator.
        """
        self.count()
        (kind, data), satisfied = held.value, 0
        if self._matches:
            items = items_of(data) if kind == kinds.ARRAY else [held.value]
            self._work += sum(len(item) * len(item) for _, item in items)
        if self._work > MAX_BATCH_WORK:
            raise _too_much("values that are too long to judge so many of them at a time")
        for number, condition in enumerate(self._conditions):
            if condition(kind, data) is not self._is_outside:
                self._each[number][held] = None
                satisfied += 1
        if satisfied == len(self._conditions):
            if self._order is not None and held not in self._all:
                is_array = kind == kinds.ARRAY
                key = (
                    array_key(data, self._order) if is_array else order_key(held.value, self._order.strength)
                )
                self._keys.append((key, documents))
            self._all[held] = None
        if satisfied or self.wants_all:
            self._bytes += len(data) + len(held.stored[1])
            if self._bytes > MAX_BYTES:
                raise _too_much(f"values of more than {MAX_BYTES} bytes that satisfy it")
            listed = len(self._all) if self._is_single else max(map(len, self._each))
            if listed > self.bounds.matches:
                bound = f"{self.bounds.matches} stored values that satisfy it (limits.question_matches)"
                raise _too_much(f"more than {bound}")
        return satisfied == len(self._conditions)

    def take_nulls(self, documents: int) -> None:
        """So many documents at least have no value."""
        if self.wants_all:
            self._nulls = documents + (self._nulls or 0)

    def take_several(self) -> None:
        """Some document holds more than one value. Raises Refusal(QUESTION) where they are sorted by."""
        if self._order is not None:
            raise Refusal(Reason.QUESTION, rule="a sort by a field that is in an array, or is one")
        self._is_single = False

    def answer(self) -> ValuesAnswer:
        """What was found so far. Raises Undecided, Refusal(QUESTION) for an order. Cost: O(values)."""
        found = tuple(self._all)
        if self._order is not None:
            ranks, places = first_ranks(self._keys, self._nulls, self._order)
            answer = ValuesAnswer((), tuple(found[place] for place in places), True, ranks)
            if answer.arrays > MAX_ARRAYS:
                raise Refusal(Reason.QUESTION, rule=f"a sort by more than {MAX_ARRAYS} different arrays")
            return answer
        return ValuesAnswer(tuple(tuple(found) for found in self._each), found, self._is_single)


def _too_much(rule: str) -> Refusal:
    return Refusal(Reason.QUESTION_SIZE, rule=rule)


def condition_of(operator: AskedOperator) -> Condition:
    """What an operator asks of one value. Raises Refusal."""
    asks, name, operands = operator.asks, operator.name, operator.operands
    match asks:
        case Asks.ORDER:
            return compared(name, *operands[0], operator.strength)
        case Asks.ACROSS:
            return compared_across(name, *operands[0], operator.strength)
        case Asks.PATTERN:
            return matched(operands[0][1], operands[1][1])
        case Asks.REMAINDER:
            return modulo(*operands[:2])
        case Asks.BITS:
            return bits(name, [int.from_bytes(data, "little") for _, data in operands])
        case Asks.EQUAL:
            return among(operands, operator.strength)
        case Asks.TYPE:
            return typed(frozenset(kind for kind, _ in operands))
        case Asks.SIZE:
            return sized(int.from_bytes(operands[0][1], "little"))
        case _:
            assert_never(asks)
