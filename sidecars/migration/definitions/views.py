"""The pipeline of a view, for values in both forms or in the new one."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

import bson

from sealwire.policies.aggregation.pipelines import plan_pipeline
from sealwire.policies.aggregation.stages import TABLES
from sealwire.policies.aggregation.views import NamespaceUnknown, View, ViewCatalog
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import NOTHING, PathNode, PolicySet
from sealwire.policies.planning.budget import Work
from sealwire.policies.planning.contexts import Contexts
from sealwire.policies.planning.draft import Draft
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.surroundings import Surroundings
from sealwire.policies.planning.walk import Walk
from sealwire.sidecars.migration.definitions.filters import convert_filter
from sealwire.sidecars.migration.definitions.schemas import Way
from sealwire.sidecars.raw_documents import is_envelope_value
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import elements

Pipeline = Sequence[Mapping[str, Any]]

_LEADING: Final = frozenset({"$match", "$sort", "$limit", "$skip", "$unwind", "$sample"})
"""Stages that leave documents as they are: what stands at a path before them stands there after them."""


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
        leading = list(takewhile(lambda stage: next(iter(stage), "") in _LEADING, pipeline))
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
        around = Surroundings(self.covered, self._database, self._policies.covered)
        try:
            plan_pipeline(Walk(draft, base, (0,), Use.MATCH, around=around), next(elements(encoded, 0)))
        except Refusal as refusal:
            rule = f" ({refusal.rule})" if refusal.rule else ""
            return f"what Sealwire refuses in a pipeline: {refusal.reason.value}{rule}"
        except BsonError:
            return "a pipeline that cannot be read"
        return "a constant behind its leading stages" if draft.edits else ""


def _holds_envelope(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_envelope, value.values()))
    if isinstance(value, list):
        return any(map(_holds_envelope, value))
    return is_envelope_value(value)
