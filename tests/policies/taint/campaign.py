"""Attack the planner with many cases, and report what it got wrong, made small."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.policies.taint.commands import Case, draw_case
from tests.policies.taint.drawer import ROWS
from tests.policies.taint.outcome import outcome_of, saying
from tests.policies.taint.stages import SHOWING
from tests.policies.taint.values import MARK, children, encoded, rebuilt, shown
from tests.policies.taint.world import COVERED_WORDS

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


# Make a finding small: leave out, or go inside, as long as the same problem is there.
#
# Whatever names something covered stays, as do markers: without the one the other would be no finding. For
# the same reason only an expression takes the place of an expression, and only a condition that of a
# condition.


_MOST_TRIES = 2_000
_KEPT = frozenset({"$db", "ns", "nsInfo", "let", "vars", "as", "$changeStream", "$documents", *SHOWING})
_AROUND = frozenset({*ROWS["expression"], "$and", "$or", "$nor"}) - {"$literal", "$getField"}
"""Names that may go when what they hold takes their place."""


def shrunk(case: Case, *, is_keyed: bool = False) -> Case:
    """The smallest case with the same problem that single steps lead to. Cost: up to 2,000 plans."""
    if case.refused:
        return case
    problem = outcome_of(case, is_keyed=is_keyed).problem
    tries = 0
    again = True
    while again:
        again = False
        for other in _smaller_cases(case):
            tries += 1
            if tries > _MOST_TRIES:
                return case
            if outcome_of(other, is_keyed=is_keyed).problem == problem:
                case, again = other, True
                break
    return case


def _smaller_cases(case: Case) -> Iterator[Case]:
    head, *rest = case.body.items()
    for parts in _smaller_parts(rest):
        yield replace(case, body=dict([head, *parts]))
    if type(head[1]) is dict and "$db" not in head[1]:
        yield replace(case, body=head[1] | {"$db": case.body["$db"]})
        for inner in _smaller_cases(replace(case, body=head[1])):
            yield replace(case, body=dict([(head[0], inner.body), *rest]))
    if case.sequences:
        yield replace(case, body=case.body | case.sequences, sequences={})
        for sequences in _smaller(case.sequences):
            if type(sequences) is dict and all(type(found) is list for found in sequences.values()):
                yield replace(case, sequences=sequences)


def _smaller_parts(parts: list[tuple[str, Any]]) -> Iterator[list[tuple[str, Any]]]:
    for place, (name, value) in enumerate(parts):
        if not is_needed(value, name):
            yield [*parts[:place], *parts[place + 1 :]]
    for place, (name, value) in enumerate(parts):
        for smaller in _smaller(value):
            yield [*parts[:place], (name, smaller), *parts[place + 1 :]]


def _smaller(value: Any) -> Iterator[Any]:
    """Values with one part less, or an inner value in place of what is around it."""
    parts = children(value)
    if len(parts) == 1 and parts[0][0] in _AROUND:
        # an array of arguments is no expression, one of its items is
        within = children(parts[0][1]) if type(parts[0][1]) is list else parts
        for place, (_, inner) in enumerate(within):
            others = [*within[:place], *within[place + 1 :]]
            if _is_operator(inner) and not any(is_needed(other) for _, other in others):
                yield inner
    for smaller in _smaller_parts(parts):
        yield rebuilt(value, smaller)


def _is_operator(value: Any) -> bool:
    return any(name.startswith("$") for name, _ in children(value)[:1])


def is_needed(value: Any, name: str = "") -> bool:
    """Whether a marker or something covered is in a value or its name."""
    if name in _KEPT or "tAiN" in name or not COVERED_WORDS.isdisjoint(_words(name)):
        return True
    inside = children(value)
    if inside or type(value) in (dict, list):
        return any(is_needed(inner, inner_name) for inner_name, inner in inside)
    if type(value) is str:
        return MARK.decode() in value or "$$" in value or not COVERED_WORDS.isdisjoint(_words(value))
    return MARK in encoded({"": value})


def _words(text: str) -> list[str]:
    return text.replace("$", ".").split(".")


_NESTING = frozenset(
    {
        *("explain", "pipeline", "$lookup", "$unionWith", "$facet", "$match", "$and", "$or", "$nor"),
        *("filter", "q", "query", "validator", "updates", "deletes", "ops", "indexes", "update", "u"),
        *("updateMods", "x", "y", ""),
    }
)
"""Names that say where in a command something stands, and not what is wrong with it."""


def signature(case: Case) -> str:
    """What two findings of one kind have in common: the last names on the way to the first marker."""
    names: list[str] = []
    _way(case.body | case.sequences, names)
    telling = [name for name in names if name not in _NESTING]
    told = ["P" if not COVERED_WORDS.isdisjoint(_words(name)) else name for name in telling]
    return f"{case.refused} {'/'.join(told[:2])}"


def _way(value: Any, names: list[str]) -> bool:
    inside = children(value)
    if not inside:
        return MARK in encoded({"": value})
    for name, inner in inside:
        names.append(name)
        if MARK.decode() in name or _way(inner, names):
            return True
        names.pop()
    return False
