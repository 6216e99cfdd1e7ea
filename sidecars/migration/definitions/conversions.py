"""What a job does to definitions: judge them, widen them before it begins, narrow them at its end."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from itertools import takewhile
from typing import Any, Final

import bson

from sealwire.policies.aggregation.pipelines import plan_pipeline
from sealwire.policies.aggregation.stages import TABLES
from sealwire.policies.commands.views import NamespaceUnknown, View, ViewCatalog
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import (
    NOTHING,
    PER_DATABASE,
    FieldClass,
    Mode,
    PathNode,
    PolicySet,
    ValueType,
    context_field,
    covered_fields,
    whole_path,
)
from sealwire.policies.planning.contexts import Contexts
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.trees import Work
from sealwire.policies.planning.walk import Draft, Surroundings, Walk
from sealwire.sidecars.direct import is_envelope_value
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.definitions.constants import ClassChange, Width
from sealwire.sidecars.migration.definitions.filters import Way, convert_filter
from sealwire.sidecars.migration.definitions.server import (
    Definition,
    DefinitionKind,
    Definitions,
    KeptForms,
    Records,
)
from sealwire.sidecars.migration.moves import touches
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import elements

# What becomes of a definition when values move: the one table, and how indexes are read for it.

WIDE_PREFIX: Final = "sealwire_wide_"
"""Begins the name of an index that stands for another one while values move."""
_OURS: Final = ("sealwire_move_", WIDE_PREFIX)


class Judgement(IntEnum):
    """What a definition is after the move; of several the highest counts."""

    KEPT = 0
    """It means what it meant."""
    USELESS = 1
    """It finds nothing any more, and does no harm."""
    CONVERTED = 2
    LOST = 3
    """It loses its meaning, or a part of it: nothing moves until somebody accepts that."""
    IN_THE_WAY = 4
    """The server would refuse the values: it has to be dropped first."""

    @property
    def word(self) -> str:
        """As plans show it, to programs as well."""
        return self.name.lower().replace("_", " ")


class Trait(Enum):
    """What an index can be, or have; one can have several."""

    PLAIN = "plain, compound or sparse"
    UNIQUE = "unique"
    UNIQUE_BEYOND = "unique, without the field of the contexts"
    EXPIRING = "TTL"
    TEXT = "text"
    GEO = "geo"
    HASHED = "hashed"
    WILDCARD = "wildcard"
    COLLATED = "with a collation"


_Moves = tuple[Judgement, Judgement, Judgement]
"""By the direction: plaintext to envelopes, envelopes to envelopes, envelopes to plaintext."""
_K, _U, _L, _W = Judgement.KEPT, Judgement.USELESS, Judgement.LOST, Judgement.IN_THE_WAY


@dataclass(frozen=True, slots=True)
class TraitRow:
    """What becomes of indexes with a trait."""

    deterministic: _Moves
    random: _Moves
    why: str


TABLE: Final[Mapping[Trait, TraitRow]] = {
    Trait.PLAIN: TraitRow((_K, _K, _K), (_U, _K, _K), "finds no encrypted value"),
    Trait.UNIQUE: TraitRow(
        (_K, _K, _K), (_L, _K, _L), "is unique, and envelopes of a random class never equal each other"
    ),
    Trait.UNIQUE_BEYOND: TraitRow(
        (_L, _K, _L),
        (_L, _K, _L),
        "is unique beyond contexts, and equal values of two of them are one in clear and two once encrypted",
    ),
    Trait.EXPIRING: TraitRow(
        (_L, _K, _L), (_L, _K, _L), "lets documents expire by a date, which goes on in clear only"
    ),
    Trait.TEXT: TraitRow((_L, _K, _K), (_L, _K, _K), "is a text index, and words are hidden"),
    Trait.GEO: TraitRow((_W, _W, _K), (_W, _W, _K), "is a geo index, which takes no envelopes"),
    Trait.HASHED: TraitRow((_K, _K, _K), (_U, _K, _K), "finds no encrypted value"),
    Trait.WILDCARD: TraitRow((_K, _K, _K), (_U, _K, _K), "finds no encrypted value"),
    Trait.COLLATED: TraitRow(
        (_L, _K, _K), (_U, _K, _K), "has a collation, and envelopes are equal by their bytes only"
    ),
}
"""Partial filters, validators and views have no row: `filters`, `schemas` and `views` follow their parts."""


def is_ours(index: Mapping[str, Any]) -> bool:
    """Whether an index was made by a job."""
    return str(index["name"]).startswith(_OURS)


def judge_index(
    index: Mapping[str, Any], paths: Mapping[str, FieldClass], change: ClassChange
) -> tuple[Judgement, tuple[str, ...], tuple[str, ...]]:
    """How an index stands to the paths that move, whose classes are given; which, and why.

    Its partial filter is not looked at. KEPT also where it has none of the paths.
    """
    direction = 0 if change.was_clear else 2 if change.is_clear else 1
    worst = _K
    why: dict[str, None] = {}
    met: dict[str, None] = {}
    for name, kind in _fields(index):
        for path, leaf in paths.items():
            if name and not touches(name, path):
                continue
            met[path] = None
            for trait in _traits(index, name, kind, path, leaf):
                row = TABLE[trait]
                judged = (row.random if leaf.mode is Mode.RANDOM else row.deterministic)[direction]
                if judged is not _K:
                    why[row.why] = None
                worst = max(worst, judged)
    return worst, tuple(met), tuple(why)


def _fields(index: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Field and kind; "" stands for all fields, as wildcard indexes have it."""
    for name, kind in index["key"].items():
        if name == "_fts":
            # a text index hides its fields in the weights
            yield from ((each.removesuffix("$**"), "text") for each in index.get("weights") or {})
        elif name != "_ftsx":
            yield name.removesuffix("$**").removesuffix("."), "*" if "$**" in name else kind


def _traits(index: Mapping[str, Any], field: str, kind: Any, path: str, leaf: FieldClass) -> Iterable[Trait]:
    yield _KINDS.get(kind, Trait.GEO) if isinstance(kind, str) else Trait.PLAIN
    if index.get("unique"):
        yield Trait.UNIQUE if _has_context(index, path, leaf) else Trait.UNIQUE_BEYOND
    if "expireAfterSeconds" in index and field:
        yield Trait.EXPIRING
    is_text = leaf.value_type in (None, ValueType.STRING)
    if index.get("collation") and is_text:
        yield Trait.COLLATED


def _has_context(index: Mapping[str, Any], path: str, leaf: FieldClass) -> bool:
    """Whether what it holds apart, contexts hold apart too; all of a collection are in one database."""
    if leaf.per is None or leaf.per == PER_DATABASE:
        return True
    return whole_path(context_field(leaf.per, path)).decode() in index["key"]


_KINDS: Final = {"text": Trait.TEXT, "hashed": Trait.HASHED, "*": Trait.WILDCARD}


_PARTIAL: Final = "partialFilterExpression"

_Follow = Callable[[Way], Mapping[str, Any]]


# --------------------------------------- the pipeline of a view, for values in both forms or in the new one

Pipeline = Sequence[Mapping[str, Any]]


class ViewPaths:
    """Which paths that move a view's documents have, by its definition, also where it reads another view."""

    def __init__(self, policies: PolicySet, database: str, views: Mapping[str, tuple[str, Pipeline]]) -> None:
        """`policies` cover what moves and nothing else; `views` are all of the database, by name."""
        self._policies = policies
        self._database = database
        self._catalog = ViewCatalog(policies)
        for name, (on, pipeline) in views.items():
            self._catalog.learn(f"{database}.{name}", View(on, bson.encode({"pipeline": pipeline})))

    def covered(self, namespace: str) -> PathNode | None:
        """The paths that move of what is read under a name; None when nothing does."""
        self._catalog.work.clear()  # each view may take what a command may
        try:
            return self._catalog.covered(namespace)
        except NamespaceUnknown:
            return None

    def converted(self, on: str, pipeline: Pipeline, way: Way) -> list[Any]:
        """A view's pipeline, read from the collection or view `on`.

        Only `$match` stages that lead are converted. What a later stage has of constants is lost: what it
        compares is not known by a path. Cost: O(pipeline), an encryption or decryption for each constant.
        """
        base = self.covered(f"{self._database}.{on}") or NOTHING
        leading = list(takewhile(_leads, pipeline))
        out: list[Any] = [
            {"$match": convert_filter(stage["$match"], base, way)} if "$match" in stage else stage
            for stage in leading
        ]
        rest = list(pipeline[len(leading) :])
        contexts = self._contexts(on, base, leading) if self._policies.has_contexts else None
        what = self._lost(base, rest, contexts, was_clear=way.change.was_clear)
        if what:
            way.lose("", what)
        return [*out, *rest]

    def _contexts(self, on: str, base: PathNode, leading: Pipeline) -> Contexts:
        """In which contexts the values are behind the leading stages."""
        contexts = Contexts(self._database, Work())
        is_stored = self._policies.covered(f"{self._database}.{on}") is base
        contexts.read(base, is_stored=is_stored and not any("$unwind" in stage for stage in leading))
        for stage in leading:
            if "$match" in stage:
                contexts.source.narrow(bson.encode(stage["$match"]), 0)
        return contexts

    def _lost(self, base: PathNode, rest: Pipeline, contexts: Contexts | None, *, was_clear: bool) -> str:
        """Why stages that stay as they are lose their meaning; empty where they keep it."""
        if not rest:
            return ""
        if not was_clear:
            return "a constant behind its leading stages" if _holds_envelope(rest) else ""
        encoded = bson.encode({"pipeline": rest})
        draft = Draft(encoded, TABLES)
        draft.contexts = contexts
        draft.around = Surroundings(self.covered, self._database, self._policies.covered)
        try:
            plan_pipeline(Walk(draft, base, (0,), Use.MATCH), next(elements(encoded, 0)))
        except Refusal as refusal:
            rule = f" ({refusal.rule})" if refusal.rule else ""
            return f"what Sealwire refuses in a pipeline: {refusal.reason.value}{rule}"
        except BsonError:
            return "a pipeline that cannot be read"
        return "a constant behind its leading stages" if draft.edits else ""


def _leads(stage: Mapping[str, Any]) -> bool:
    """Whether what stands at a path before a stage stands there after it."""
    row = TABLES.stages.get(next(iter(stage), "").encode())
    return row is not None and row.converted is not None


def _holds_envelope(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_envelope, value.values()))
    if isinstance(value, list):
        return any(map(_holds_envelope, value))
    return is_envelope_value(value)


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of one definition."""

    kind: DefinitionKind
    namespace: str
    name: str
    judgement: Judgement
    paths: tuple[str, ...] = ()
    """Those that move and that an index has; of others all that the collection has."""
    why: tuple[str, ...] = ()
    """What is lost or in the way."""
    forms: KeptForms | None = field(default=None, repr=False)
    """Where it is converted; a validator that loses a part has some as well."""

    @property
    def key(self) -> str:
        """What its forms are kept under."""
        return "\0".join((self.kind.value, self.namespace, self.name))

    def is_accepted(self, names: Iterable[str]) -> bool:
        """Whether one of the names means it."""
        return bool({self.name, f"{self.namespace}.{self.name}", self.namespace} & set(names))


class Conversions:
    """The definitions that one move of values touches."""

    def __init__(
        self,
        server: Definitions,
        records: Records,
        moved: Mapping[str, PathNode],
        change: ClassChange,
        accepted: Iterable[str] = (),
    ) -> None:
        """`moved` has the paths that move, and nothing else, by their collections' names.

        `accepted` names definitions that may lose their meaning: indexes and views stay as they are then,
        a validator goes on without the part that is lost.
        """
        self._server = server
        self._records = records
        self._moved = PolicySet({}, dict(moved))
        self._change = change
        self._accepted = tuple(accepted)
        paths = ((name, path) for name, tree in moved.items() for path, _ in covered_fields(tree))
        self._moves = tuple(sorted(paths))

    def judged(self) -> list[Judged]:
        """Every definition that speaks of a path that moves. Raises what the server raises.

        Cost: a listing of each collection and database; an encryption or decryption for each constant.
        """
        if self._change.changes_nothing:
            return []
        found = self._server.read(self._moved.collections)
        views = {
            database: ViewPaths(self._moved, database, _pipelines(found, database))
            for database in {each.namespace.partition(".")[0] for each in found}
        }
        grouped: dict[tuple[DefinitionKind, str, str], list[Definition]] = {}
        for each in found:
            grouped.setdefault((each.kind, each.namespace, _own_name(each)), []).append(each)
        judged = (
            self._judged(key, standing, views[key[1].partition(".")[0]]) for key, standing in grouped.items()
        )
        return [each for each in judged if each is not None]

    def check(self) -> list[Judged]:
        """The same, once nothing of it is in the way. Raises Unusable OBSTACLE with the first."""
        judged = self.judged()
        for each in judged:
            is_lost = each.judgement is Judgement.LOST and not each.is_accepted(self._accepted)
            if is_lost or each.judgement is Judgement.IN_THE_WAY:
                on = f" on {', '.join(each.paths)}" if each.paths else ""
                text = f"{each.namespace}: {each.kind.value} {each.name}{on}: {'; '.join(each.why)}"
                hint = f"drop it first, or lose that: --accept {each.name}" if is_lost else "drop it first"
                raise Unusable(MigrationReason.OBSTACLE, text, hint)
        return judged

    def widen(self) -> None:
        """Let definitions hold for both forms. May be repeated. Raises as `check`, and what servers raise."""
        found = {each.key: each.forms for each in self.check() if each.forms is not None}
        for key, forms in found.items():
            self._records.save(key, forms)
        for key, forms in found.items():
            self._put(key, forms.wide)

    def narrow(self) -> list[str]:
        """Let them hold for the new form only, once all values have it. May be repeated.

        Returns the names of those that somebody changed meanwhile: they stay as they are.
        Raises what the server raises.
        """
        if self._change.changes_nothing:
            return []
        changed = []
        for key in self._records.names():
            forms = self._records.load(key)
            if forms is None or forms.moves != self._moves or not self._is_same_way(forms):
                continue
            if not self._put(key, forms.after, forms):
                changed.append(" ".join(key.split("\0")))
        return changed

    def _put(self, key: str, content: Mapping[str, Any], forms: KeptForms | None = None) -> bool:
        """Put a form in place of another one; whether it, or one of `forms`, stood there."""
        kind, namespace, name = key.split("\0", 2)
        standing = [
            each
            for each in self._server.read([namespace])
            if (each.kind.value, each.namespace, _own_name(each)) == (kind, namespace, name)
        ]
        known = () if forms is None else (forms.before, forms.wide, forms.after)
        if forms is not None and not any(each.says_the_same(one) for each in standing for one in known):
            return False
        wanted = Definition(DefinitionKind(kind), namespace, str(content.get("name", name)), content)
        if kind != DefinitionKind.INDEX.value:
            if not any(each.says_the_same(content) for each in standing):
                self._server.make(wanted)
            return True
        self._put_index(wanted, standing)
        return True

    def _put_index(self, wanted: Definition, standing: Sequence[Definition]) -> None:
        """The new one is made before an old one goes, so that a unique one holds throughout."""
        if not any(each.name == wanted.name and each.says_the_same(wanted.content) for each in standing):
            self._server.make(wanted)
        for each in standing:
            if each.name != wanted.name:
                self._server.drop_index(each.namespace, each.name)

    # ------------------------------------------------------------------------------------------------ judging

    def _judged(
        self, key: tuple[DefinitionKind, str, str], standing: Sequence[Definition], views: ViewPaths
    ) -> Judged | None:
        kind, namespace, name = key
        base = Judged(kind, namespace, name, Judgement.KEPT)
        kept = self._followed(base.key, standing)
        if isinstance(kept, str):
            return replace(base, judgement=Judgement.IN_THE_WAY, why=(kept,))
        if kept is not None:
            return replace(base, judgement=Judgement.CONVERTED, forms=kept)
        definition = next((each for each in standing if each.name == name), None)
        if definition is None:
            why = "it stands for another one whose forms are not known: make that one anew"
            return replace(base, judgement=Judgement.IN_THE_WAY, why=(why,))
        if kind is DefinitionKind.VIEW:
            on, pipeline = str(definition.content["viewOn"]), definition.content["pipeline"]
            return self._converted(
                base,
                definition.content,
                lambda way: {"viewOn": on, "pipeline": views.converted(on, pipeline, way)},
            )
        tree = self._moved.collections[namespace]
        if kind is DefinitionKind.VALIDATOR:
            return self._converted(
                replace(base, paths=tuple(path for path, _ in covered_fields(tree))),
                definition.content,
                lambda way: convert_filter(definition.content, tree, way),
            )
        return self._judged_index(base, definition, tree)

    def _judged_index(self, base: Judged, definition: Definition, tree: PathNode) -> Judged | None:
        index = definition.content
        if is_ours(index):
            return None
        paths = dict(covered_fields(tree))
        judgement, met, why = judge_index(index, paths, self._change)
        chosen = index.get(_PARTIAL)
        partial = None
        if chosen:
            inside = tuple(path for path in paths if any(touches(name, path) for name in _names(chosen)))
            met = tuple(dict.fromkeys((*met, *inside)))
            partial = self._converted(
                base, index, lambda way: {**index, _PARTIAL: convert_filter(chosen, tree, way)}
            )
        if partial is not None and partial.judgement > judgement:
            lost = tuple(f"its partial filter: {each}" for each in partial.why)
            forms = partial.forms
            if forms is not None:
                forms = replace(forms, wide={**forms.wide, "name": f"{WIDE_PREFIX}{base.name}"})
            return replace(partial, paths=met, why=(*why, *lost), forms=forms)
        return replace(base, judgement=judgement, paths=met, why=why) if met else None

    def _converted(self, base: Judged, content: Mapping[str, Any], follow: _Follow) -> Judged | None:
        """None where nothing in it changes."""
        lost: list[str] = []
        new = follow(Way(self._change, Width.NEW, lost))
        wide = follow(Way(self._change, Width.WIDE, lost))
        why = tuple(dict.fromkeys(lost))
        is_whole = not why or base.kind is DefinitionKind.VALIDATOR
        is_other = any(bson.encode(each) != bson.encode(content) for each in (new, wide))
        forms = KeptForms(self._moves, self._change.was_clear, self._change.is_clear, content, wide, new)
        if why:
            return replace(
                base, judgement=Judgement.LOST, why=why, forms=forms if is_whole and is_other else None
            )
        return replace(base, judgement=Judgement.CONVERTED, forms=forms) if is_other else None

    def _followed(self, key: str, standing: Sequence[Definition]) -> KeptForms | str | None:
        """The forms that an earlier job has left; a text where they are in this one's way."""
        kept = self._records.load(key)
        if kept is None:
            return None
        stands_wide = any(
            each.says_the_same(kept.wide) and not each.says_the_same(kept.before) for each in standing
        )
        if stands_wide:
            if kept.moves == self._moves and self._is_same_way(kept):
                return kept
            if kept.moves == self._moves and self._is_way_back(kept):
                return kept.turned()
            return "it is wide for a job that has not come to its end: resume that one first"
        stands_after = any(each.says_the_same(kept.after) for each in standing)
        if stands_after and kept.moves == self._moves and self._is_way_back(kept):
            return kept.turned()
        return None

    def _is_same_way(self, kept: KeptForms) -> bool:
        return (kept.was_clear, kept.is_clear) == (self._change.was_clear, self._change.is_clear)

    def _is_way_back(self, kept: KeptForms) -> bool:
        """Whether values go where they came from. Another key's envelopes are not those of before."""
        return self._change.is_clear and (kept.was_clear, kept.is_clear) == (True, False)


def _own_name(definition: Definition) -> str:
    """Its name; of an index that stands for another one, that one's."""
    return definition.name.removeprefix(WIDE_PREFIX)


def _pipelines(found: Iterable[Definition], database: str) -> dict[str, tuple[str, Any]]:
    return {
        each.name: (str(each.content["viewOn"]), each.content["pipeline"])
        for each in found
        if each.kind is DefinitionKind.VIEW and each.namespace.startswith(f"{database}.")
    }


def _names(chosen: Any) -> Iterable[str]:
    """The fields that a filter names at any depth of its branches."""
    if isinstance(chosen, Mapping):
        for name, value in chosen.items():
            if name.startswith("$"):
                yield from _names(value)
            else:
                yield name
    elif isinstance(chosen, list):
        for each in chosen:
            yield from _names(each)
