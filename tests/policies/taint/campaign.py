"""Attack the planner with many cases, and report what it got wrong, made small."""

import os
from collections import Counter
from dataclasses import dataclass, field

from tests.policies.taint.commands import Case, draw_case
from tests.policies.taint.drawer import ROWS
from tests.policies.taint.outcome import outcome_of
from tests.policies.taint.saying import saying
from tests.policies.taint.shrink import shrunk, signature
from tests.policies.taint.values import shown

_STRIDE = 10**9
"""Seeds of campaigns lie this far apart, so that no two share a case."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One command that the planner got wrong."""

    seed: int
    """What the case was drawn from: `draw_case` draws it again."""
    problem: str
    case: Case

    def __str__(self) -> str:
        text = f"case {self.seed} {self.problem}:\n  {shown(self.case.whole)}"
        return f"{text}\n  sequences {shown(self.case.sequences)}" if self.case.sequences else text


@dataclass(slots=True)
class Report:
    """What became of a campaign."""

    examples: int = 0
    refused: int = 0
    findings: list[Finding] = field(default_factory=list)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each row of the support matrix was drawn."""

    @property
    def missing(self) -> set[tuple[str, str]]:
        """Rows that were never drawn."""
        return {(key, name) for key, names in ROWS.items() for name in names} - set(self.rows)

    def __str__(self) -> str:
        head = f"{self.examples} commands, {self.refused} refused, {len(self.findings)} findings"
        return "\n".join([head, *map(str, self.findings)])


def attack(seed: int, examples: int, most_findings: int = 5, *, is_keyed: bool = False) -> Report:
    """Plan `examples` cases drawn from `seed`; end early after so many different findings.

    With `is_keyed` under a policy with contexts, which most of the commands say.

    Cost: about 0.5 ms a case; a finding takes a second to make small.
    """
    report = Report()
    known: set[str] = set()
    for number in range(seed * _STRIDE, seed * _STRIDE + examples):
        case = saying(draw_case(number), number) if is_keyed else draw_case(number)
        outcome = outcome_of(case, is_keyed=is_keyed)
        report.examples += 1
        report.refused += outcome.refused
        report.rows.update(case.rows)
        if not outcome.problem:
            continue
        if signature(case) in known:
            continue
        small = shrunk(case, is_keyed=is_keyed)
        kind = signature(small)
        if kind not in known:
            known |= {kind, signature(case)}
            report.findings.append(Finding(number, outcome.problem, small))
            if len(report.findings) >= most_findings:
                break
    return report


def chosen_seed(otherwise: int) -> int:
    """The seed that the environment asks for, to repeat a run."""
    return int(os.environ.get("SEALWIRE_SEED", otherwise))
