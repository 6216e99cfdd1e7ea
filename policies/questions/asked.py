"""What has to be asked of the server before a command can be planned, and what was learned for it.

A condition that ciphertext cannot answer is a set: the stored values that satisfy it. The planner looks for
the answer to its question here. Where there is none it raises ValuesUnknown; the session asks the server for
the values that are stored, judges each (`Judgement`), lets the answer be known, and plans the command anew.
An answer counts for that command alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from sealwire.policies.questions.conditions import Condition, Value, bits, compared, matched, modulo


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a filter with its operands, as values of BSON."""

    name: bytes
    operands: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """Which values, of those stored at a path, satisfy operators that stand beside each other?"""

    namespace: str
    path: str
    operators: tuple[Operator, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The stored values that satisfy each operator, and those that satisfy all, without any twice."""

    each: tuple[tuple[Value, ...], ...]
    all: tuple[Value, ...]
    is_single: bool
    """Whether no document holds more than one value there: then all operators are about the same one."""


class ValuesUnknown(Exception):
    """The server has to be asked this; then the command can be planned."""

    def __init__(self, question: Question) -> None:
        super().__init__(question.path)
        self.question: Final = question


@final
class Answers:
    """What the server's values have said for the command that is being planned. One for each session."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Question, Answer] = {}

    def of(self, question: Question) -> Answer:
        """Raises ValuesUnknown."""
        found = self._known.get(question)
        if found is None:
            raise ValuesUnknown(question)
        return found

    def learn(self, question: Question, answer: Answer) -> None:
        self._known[question] = answer

    @property
    def known(self) -> dict[Question, Answer]:
        """All that the command rests on."""
        return dict(self._known)

    def clear(self) -> None:
        """The command has been planned, and carried out."""
        self._known.clear()


@final
class Judgement:
    """The values that satisfy a question, as they come."""

    __slots__ = ("_all", "_conditions", "_each", "_is_single")

    def __init__(self, question: Question) -> None:
        """Raises Refusal(PATTERN, RANGE, SHAPE) for operands that nobody can judge by."""
        self._conditions: Final = tuple(condition_of(each) for each in question.operators)
        self._each: Final[tuple[dict[Value, None], ...]] = tuple({} for _ in self._conditions)
        self._all: Final[dict[Value, None]] = {}
        self._is_single = True

    def take(self, value: Value) -> None:
        """A value that is stored. Raises Undecided. Cost: one test for each operator."""
        kind, data = value
        held = 0
        for condition, found in zip(self._conditions, self._each, strict=True):
            if condition(kind, data):
                found[value] = None
                held += 1
        if held == len(self._conditions):
            self._all[value] = None

    def take_several(self) -> None:
        """Some document holds more than one value."""
        self._is_single = False

    @property
    def satisfying(self) -> int:
        """How many values were kept."""
        return len(self._all) + sum(map(len, self._each))

    def answer(self) -> Answer:
        return Answer(tuple(tuple(found) for found in self._each), tuple(self._all), self._is_single)


_RANGES: Final = frozenset({b"$gt", b"$gte", b"$lt", b"$lte"})


def condition_of(operator: Operator) -> Condition:
    """What an operator asks of one value. Raises Refusal."""
    name, operands = operator.name, operator.operands
    if name in _RANGES:
        return compared(name, *operands[0])
    if name == b"$regex":
        return matched(operands[0][1], operands[1][1])
    if name == b"$mod":
        return modulo(*operands[:2])
    return bits(name, _positions(operands))


def _positions(operands: Sequence[Value]) -> list[int]:
    return [int.from_bytes(data, "little") for _, data in operands]
