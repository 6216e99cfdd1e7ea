"""Counts what became of generated commands: the figures that show the test does not agree by refusing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tests.integration.differential.sides import Answer, Outcome


@dataclass(slots=True)
class Tally:
    """Counts by kind of command and outcome, and refusals by reason."""

    examples: int = 0
    outcomes: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    """How many answered commands had each operator or stage somewhere in them."""
    left_out: int = 0
    """Commands of transactions that the server has not got."""
    refused_statements: int = 0
    """Those that were refused while others of their command were carried out."""

    waits: Counter[int] = field(default_factory=Counter)
    """By code: commands that were sent again because classes moved."""
    moves: Counter[str] = field(default_factory=Counter)
    """What became of the moves that went on meanwhile."""

    def count(self, kind: str, answer: Answer, body: Mapping[str, object] | None = None) -> None:
        """One command, and what it came to through Sealwire."""
        self.outcomes[kind, answer.outcome] += 1
        self.refused_statements += len(answer.left_out)
        if answer.reason is not None:
            self.reasons[answer.reason.value] += 1
        if answer.outcome is Outcome.ANSWERED:
            self.answered.update(set(_operators(body)))

    def add(self, other: Self) -> None:
        """Everything that another run counted."""
        self.examples += other.examples
        self.left_out += other.left_out
        self.refused_statements += other.refused_statements
        self.outcomes += other.outcomes
        self.reasons += other.reasons
        self.answered += other.answered
        self.waits += other.waits
        self.moves += other.moves

    @property
    def commands(self) -> int:
        """All of them."""
        return self.outcomes.total()

    @property
    def refused(self) -> int:
        """How many of them Sealwire refused."""
        return self.reasons.total()

    @property
    def share_answered(self) -> float:
        """0 to 1: how many commands were not refused."""
        return 1 - self.refused / self.commands if self.commands else 0.0

    def table(self) -> list[str]:
        """Lines for people: a row for each kind, then the reasons."""
        lines = [
            f"{'command':<22}{'sent':>9}{'answered':>10}{'failed alike':>14}{'refused':>9}{'not refused':>13}"
        ]
        kinds = sorted({kind for kind, _ in self.outcomes})
        lines += [self._row(kind, [self.outcomes[kind, outcome] for outcome in Outcome]) for kind in kinds]
        every = [sum(self.outcomes[kind, outcome] for kind in kinds) for outcome in Outcome]
        lines.append(self._row("all", every))
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
        lines.append(f"refusals by reason: {reasons or 'none'}")
        lines.append(f"statements refused while others were carried out: {self.refused_statements}")
        if self.moves:
            again = self.waits.total()
            told = ", ".join(f"{name} {count}" for name, count in sorted(self.moves.items()))
            lines.append(f"meanwhile: {told}; commands sent again: {again}")
        return lines

    @staticmethod
    def _row(kind: str, counts: list[int]) -> str:
        total = sum(counts)
        share = f"{(total - counts[-1]) / max(total, 1):.1%}"
        return f"{kind:<22}{total:>9}{counts[0]:>10}{counts[1]:>14}{counts[2]:>9}{share:>13}"

    def to_json(self) -> dict[str, object]:
        """What `from_json` reads."""
        rows = [[kind, outcome.value, count] for (kind, outcome), count in self.outcomes.items()]
        return {
            **{"examples": self.examples, "outcomes": rows},
            **{"reasons": dict(self.reasons), "answered": dict(self.answered)},
            "refused_statements": self.refused_statements,
            "waits": list(self.waits.items()),
            "moves": dict(self.moves),
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """The tally of another process."""
        outcomes = Counter({(kind, Outcome(outcome)): count for kind, outcome, count in said["outcomes"]})
        found = cls(said["examples"], outcomes, Counter(said["reasons"]), Counter(said["answered"]))
        found.refused_statements = said["refused_statements"]
        found.waits, found.moves = Counter(dict(said["waits"])), Counter(said["moves"])
        return found


def _operators(value: object) -> Iterator[str]:
    """Every name in a command that begins with a dollar sign."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name.startswith("$"):
                yield name
            yield from _operators(inner)
    elif isinstance(value, list):
        for item in value:
            yield from _operators(item)
