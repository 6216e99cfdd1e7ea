"""What the commands of the taint test are about: a policy, views, and the covered paths of a place."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from bson import encode

from sealwire.policies.aggregation.pipelines import plan_pipeline
from sealwire.policies.aggregation.stages import TABLES
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import NOTHING, PathNode, PolicySet
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.walk import Draft, Surroundings, Walk
from sealwire.wire.raw_bson import elements

_CLASSES: Final = """
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  postcode: {mode: deterministic, type: string}
  visits: {mode: deterministic, type: int}
  big: {mode: deterministic, type: long}
  ratio: {mode: deterministic, type: double}
  born: {mode: deterministic, type: date}
  ref: {mode: deterministic, type: objectId}
  blob: {mode: deterministic, type: binData}
  flag: {mode: deterministic, type: bool}
  age: {mode: deterministic, type: int, range: {from: 0, to: 120}}
  day: {mode: deterministic, type: date, range: {unit: day, from: 1900-01-01, to: 2100-01-01}}
  secret: {mode: random}
"""
_COLLECTIONS: Final = """
collections:
  clinic.patients:
    nhs_number: nhs
    other_nhs: nhs
    address.postcode: postcode
    contacts.phone: nhs
    contacts.note: secret
    tags: nhs
    visits: visits
    big: big
    ratio: ratio
    born: born
    ref: ref
    blob: blob
    flag: flag
    age: age
    day: day
    notes: secret
    deep.er.st: nhs
  clinic.appointments:
    patient_nhs: nhs
    codes: nhs
    remark: secret
  tenant_*.patients:
    nhs_number: nhs
"""
_KEYS: Final = {
    **{"nhs": "tenant", "visits": "tenant", "secret": "owner.id", "born": "owner.id"},
    **dict.fromkeys(("postcode", "big", "ratio", "ref", "blob", "flag"), "$database"),
}
"""For each class what it has a key for each of, in the policy with contexts."""


def _keyed(line: str) -> str:
    per = _KEYS.get(line.strip().partition(":")[0])
    return line if per is None else line.replace("}", f", key: {{per: {per}}}}}")


POLICY = load_policy((_CLASSES + _COLLECTIONS).encode(), "policy.yaml")
ASKING = load_policy(
    (re.sub("deterministic|random", r"\g<0>, ask: true", _CLASSES) + _COLLECTIONS).encode(), "asking.yaml"
)
"""The same, whose classes are asked about."""
KEYED = load_policy(("\n".join(map(_keyed, _CLASSES.splitlines())) + _COLLECTIONS).encode(), "keyed.yaml")
"""The same, with a key for each context where a class can have that."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The documents that a place in a command speaks of, as far as they are covered."""

    paths: tuple[str, ...]
    """Covered paths; after a stage has taken a field away, still those that a client would mean by it."""
    arrays: tuple[str, ...] = ()
    """Those of them that hold arrays of a deterministic class."""

    def with_copy(self, name: str) -> "Ground":
        """After a stage has put a covered value at `name` as well."""
        return Ground((*self.paths, name), self.arrays)


BARE = Ground(())
"""Documents of a collection that is not protected: only variables are covered there."""
_TEXTS = ("nhs_number", "nhs_number", "other_nhs", "address.postcode", "contacts.phone", "tags", "deep.er.st")
_PATIENTS = Ground(
    (
        *(*_TEXTS, *_TEXTS, *_TEXTS, "contacts.note", "notes"),
        *("visits", "big", "ratio", "born", "ref", "blob", "flag", "age", "day"),
    ),
    ("tags",),
)
_APPOINTMENTS = Ground(("patient_nhs", "patient_nhs", "codes", "remark"), ("codes",))

VIEWS: Mapping[str, tuple[str, list[Any]]] = MappingProxyType(
    {
        "everybody": ("patients", []),
        "renamed": ("patients", [{"$project": {"number": "$nhs_number", "notes": 1, "tags": 1, "ward": 1}}]),
        "numberless": ("patients", [{"$unset": "nhs_number"}]),
        "behind": ("renamed", [{"$match": {"ward": "a"}}]),
    }
)
"""For each view of the database `clinic` what it reads, and its pipeline."""

PROTECTED: Mapping[str, Ground] = MappingProxyType({"patients": _PATIENTS, "appointments": _APPOINTMENTS})
GROUNDS: Mapping[str, Ground] = MappingProxyType(
    {
        **PROTECTED,
        "everybody": _PATIENTS,
        "renamed": Ground(("number", "notes", "tags"), ("tags",)),
        "numberless": _PATIENTS,
        "behind": Ground(("number", "tags"), ("tags",)),
    }
)
"""What may be read in the database `clinic`, protected collections and views."""

PLAIN = ("wards", "stats")
"""Collections of it that are not protected."""

COVERED_WORDS = frozenset(
    {
        *GROUNDS,
        *(part for ground in GROUNDS.values() for path in ground.paths for part in path.split(".")),
        *("copy", "part", "doc", "docs", "mates", "inner", "$$v", "$$w"),
    }
)
"""Names that make a place in a command one that is covered: whoever makes a command smaller keeps them."""


def covering(policies: PolicySet) -> Callable[[str], PathNode | None]:
    """What tells the covered paths of what is read under a name, also a view's; others are plain."""
    trees: dict[str, PathNode] = {}

    def covered(namespace: str) -> PathNode | None:
        node = policies.covered(namespace)
        database, _, name = namespace.partition(".")
        if node is not None or database != "clinic" or name not in VIEWS:
            return node
        if name not in trees:
            on, stages = VIEWS[name]
            draft = Draft(encode({"pipeline": stages}), TABLES)
            pipeline = next(elements(draft.buf, 0))
            base = covered(f"{database}.{on}") or NOTHING
            draft.around = Surroundings(covered, database)
            walk = Walk(draft, base, (0,), Use.MATCH)
            trees[name] = plan_pipeline(walk, pipeline)
        return trees[name]

    return covered
