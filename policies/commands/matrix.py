"""The support matrix: every table of this room, with a title, in the order in which a reader looks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sealwire.policies.aggregation.grouping import ACCUMULATORS
from sealwire.policies.aggregation.stages import STAGES
from sealwire.policies.commands.administration import BEYOND_TARGET
from sealwire.policies.commands.passed_commands import PASSED_COMMANDS
from sealwire.policies.commands.planner import COMMANDS, WHOLE_NAMES
from sealwire.policies.expressions.operators import OPERATORS as EXPRESSIONS
from sealwire.policies.filters.filters import OPERATORS as FILTER_OPERATORS
from sealwire.policies.filters.filters import TOP_LEVEL
from sealwire.policies.planning.rules import Rule
from sealwire.policies.updates.update_pipelines import STAGES as UPDATE_STAGES
from sealwire.policies.updates.updates import OPERATORS as UPDATE_OPERATORS
from sealwire.policies.updates.updates import PUSH_MODIFIERS


@dataclass(frozen=True, slots=True)
class Family:
    """One table: names of one kind, and the rule for each."""

    key: str
    """Names the family in tests."""
    title: str
    others: str
    """What becomes of a name that has no row."""
    rules: Mapping[bytes, Rule[Callable[..., object]]]


_REFUSED = "any other is refused [{}], also if nobody knows the name [{}]"
_WHOLE = "any other is refused on the whole collection [{}], also if nobody knows the name [{}]"

MATRIX: tuple[Family, ...] = (
    Family(
        "command",
        "Commands that name a protected collection",
        _REFUSED.format("command", "unknown-command"),
        {**COMMANDS, **WHOLE_NAMES},
    ),
    Family(
        "beyond",
        "Commands that may reach a protected collection which they do not name",
        "see the next table; `explain` does what the command inside it does",
        BEYOND_TARGET,
    ),
    Family(
        "passed",
        "Commands that carry no value of a document",
        "those of the two tables above pass where they reach no protected collection; any other is refused "
        "on any namespace [command, unknown-command] while the policy protects anything, unless its "
        "`allow_commands` names it",
        PASSED_COMMANDS,
    ),
    Family(
        "condition",
        "Filters: conditions on a field",
        _REFUSED.format("operator", "unknown-operator"),
        FILTER_OPERATORS,
    ),
    Family(
        "filter",
        "Filters: operators in place of a field",
        _WHOLE.format("operator", "unknown-operator"),
        TOP_LEVEL,
    ),
    Family("update", "Updates", _WHOLE.format("operator", "unknown-modifier"), UPDATE_OPERATORS),
    Family(
        "push",
        "Updates: modifiers of `$push`",
        _REFUSED.format("operator", "unknown-operator"),
        PUSH_MODIFIERS,
    ),
    Family(
        "update stage",
        "Updates: stages of a pipeline update",
        _WHOLE.format("stage", "unknown-stage"),
        UPDATE_STAGES,
    ),
    Family(
        "stage",
        "Aggregation stages",
        "any other passes where no covered field can reach it, and is refused elsewhere "
        "[stage, unknown-stage]",
        STAGES,
    ),
    Family(
        "accumulator",
        "Accumulators and window functions",
        _WHOLE.format("operator", "unknown-accumulator"),
        ACCUMULATORS,
    ),
    Family("expression", "Expressions", _WHOLE.format("operator", "unknown-expression"), EXPRESSIONS),
)
