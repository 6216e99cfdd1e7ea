"""Counts what became of generated commands: the figures that show the test does not agree by refusing."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from tests.integration.differential.sides import Answer, Outcome


@dataclass(slots=True)
class Tally:
    """Counts by kind of command and outcome, and refusals by reason."""

    examples: int = 0
    outcomes: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def count(self, kind: str, answer: Answer) -> None:
        """One command, and what it came to through Sealwire."""
        self.outcomes[kind, answer.outcome] += 1
        if answer.reason is not None:
            self.reasons[answer.reason.value] += 1

    def add(self, other: Self) -> None:
        """Everything that another run counted."""
        self.examples += other.examples
        self.outcomes += other.outcomes
        self.reasons += other.reasons

    @property
    def commands(self) -> int:
        """All of them."""
        return self.outcomes.total()

    @property
    def share_answered(self) -> float:
        """0 to 1: how many commands were not refused."""
        refused = sum(count for (_, outcome), count in self.outcomes.items() if outcome is Outcome.REFUSED)
        return 1 - refused / self.commands if self.commands else 0.0

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
        return [*lines, f"refusals by reason: {reasons or 'none'}"]

    @staticmethod
    def _row(kind: str, counts: list[int]) -> str:
        total = sum(counts)
        share = f"{(total - counts[-1]) / max(total, 1):.1%}"
        return f"{kind:<22}{total:>9}{counts[0]:>10}{counts[1]:>14}{counts[2]:>9}{share:>13}"

    def to_json(self) -> dict[str, object]:
        """What `from_json` reads."""
        rows = [[kind, outcome.value, count] for (kind, outcome), count in self.outcomes.items()]
        return {"examples": self.examples, "outcomes": rows, "reasons": dict(self.reasons)}

    @classmethod
    def from_json(cls, said: dict[str, object]) -> Self:
        """The tally of another process."""
        rows, reasons, examples = said["outcomes"], said["reasons"], said["examples"]
        assert isinstance(rows, list)
        assert isinstance(reasons, dict)
        assert isinstance(examples, int)
        outcomes = Counter({(kind, Outcome(outcome)): count for kind, outcome, count in rows})
        return cls(examples, outcomes, Counter(reasons))
