"""What the planner does with one command, operator or stage: the rows of every table.

A table drives its module, and the support matrix (docs/commands.md) is printed from the same rows. So what
the documentation says of a name is what stands beside its handler; a test holds each row against a command.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.arguments import operator_name
from sealwire.policies.planning.signatures import Signature, signatures_in
from sealwire.wire.raw_bson import Element

if TYPE_CHECKING:
    from sealwire.policies.planning.walk import Walk

H = TypeVar("H", bound=Callable[..., object])
H_co = TypeVar("H_co", bound=Callable[..., object], covariant=True)


class Verdict(Enum):
    """What becomes of an operation on a covered path."""

    ENCRYPTED = "encrypted"
    """It works; the values in it that are stored at, or compared with, the path are encrypted."""
    PASSED = "passed"
    """It works as it stands: it holds no value of the path."""
    REFUSED = "refused"
    """Ciphertext cannot give the right answer."""


class Act(Enum):
    """Why a command is on record whatever it names and whatever the settings say."""

    ADMINISTRATION = "administration"
    """It changes who may do what, or what the server does for everybody."""
    DESTRUCTION = "destruction"
    """It takes away whole collections, or may."""


@dataclass(frozen=True, slots=True)
class Rule(Generic[H_co]):
    """One row: a handler, and what it does on covered paths. Elsewhere every operation passes."""

    verdict: Verdict
    handler: H_co
    reason: Reason | None = None
    """Why it is refused, where it is."""
    note: str = ""
    """For the reader of the matrix: the condition under which the verdict holds."""
    signature: Signature | None = None
    """The arguments that an expression operator, an accumulator or a stage takes."""
    act: Act | None = None
    """Why the command is always on record; None: it is where the settings say so."""


R = TypeVar("R", bound=Rule[Callable[..., object]])


def encrypted(handler: H, note: str = "") -> Rule[H]:
    """It works, and its values are covered."""
    return Rule(Verdict.ENCRYPTED, handler, None, note)


def passed(handler: H, note: str = "") -> Rule[H]:
    """It works as it stands."""
    return Rule(Verdict.PASSED, handler, None, note)


def refused(handler: H, reason: Reason, note: str = "") -> Rule[H]:
    """The handler raises a Refusal for this reason where a covered path is concerned."""
    return Rule(Verdict.REFUSED, handler, reason, note)


def never(reason: Reason, note: str = "") -> Rule[Callable[["Walk", Element], NoReturn]]:
    """Refused for this reason wherever it stands with covered paths in reach."""

    def refuse(walk: "Walk", element: Element) -> NoReturn:
        raise Refusal(reason, path=walk.node.path, rule=operator_name(element))

    return refused(refuse, reason, note)


def family(names: str, rule: Rule[H]) -> dict[bytes, Rule[H]]:
    """The same row for several names, separated by white space."""
    return dict.fromkeys(names.encode().split(), rule)


def acts(act: Act, rules: Mapping[bytes, Rule[H]]) -> dict[bytes, Rule[H]]:
    """The same rows, of commands that are always on record."""
    return {name: replace(rule, act=act) for name, rule in rules.items()}


def signed(notation: str, rule: R) -> dict[bytes, R]:
    """The same row for the names in a notation of signatures (`signatures_in`), each with its own."""
    return {name: replace(rule, signature=signature) for name, signature in signatures_in(notation).items()}


Infer = Callable[["Walk", Element], PathNode]
"""Covers the constants among an operator's arguments, and tells what it yields. Raises Refusal, BsonError."""

Check = Callable[["Walk", Element, PathNode], None]
"""Covers them so that what it yields can be stored at a covered path. Raises Refusal, BsonError."""

Results = Callable[["Walk", Element], list[tuple["Walk", Element]]]
"""Covers the arguments that only decide, and gives those of which one, or a part, is what it yields."""


@dataclass(frozen=True, slots=True)
class Operator(Rule[Infer]):
    """The row of an expression operator: its handler infers what it yields."""

    check: Check | None = None
    """Where its result is stored; None: the class that is inferred must be that of the path."""
    results: Results | None = None


def operators(
    notation: str, rule: Rule[Infer], *, check: Check | None = None, results: Results | None = None
) -> dict[bytes, Operator]:
    """The same row for the operators in a notation of signatures."""
    row = Operator(rule.verdict, rule.handler, rule.reason, rule.note, check=check, results=results)
    return signed(notation, row)


@dataclass(frozen=True, slots=True)
class Tables:
    """The rows that rules go back to for what lies inside: the planner hands them down."""

    operators: Mapping[bytes, Operator]
    stages: Mapping[bytes, Rule[Infer]]
