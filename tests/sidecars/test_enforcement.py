"""The validator against a checker of its own and a server's matcher, and how a collection gets it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from bson import Int64, decode, encode
from bson.binary import Binary
from hypothesis import example, given
from hypothesis import strategies as st
from secantus.query import matches  # type: ignore[import-untyped]

from sealwire.policies.errors import Refusal
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PathNode, PolicySet
from sealwire.sidecars.covered import CoveredCollection, Validation
from sealwire.sidecars.enforcement.validators import (
    LEAF_ARRAYS,
    MARK,
    MAX_CONDITIONS,
    Change,
    Enforced,
    EnforcementOutcome,
    Options,
    SchemaTooLarge,
    carry_out,
    combine,
    covering_rules,
    covering_schema,
    enforced,
    enforces_versions,
    plan_install,
    plan_removal,
    take_apart,
)
from tests.policies.support import plan_of, seal
from tests.sidecars.drift_samples import FakeServer
from tests.sidecars.test_recorded import POLICY


def policies_of(*fields: str) -> PolicySet:
    """A policy for `d.c` with these `path: class` lines; classes are `det` and `ran`."""
    lines = "".join(f"    {field}\n" for field in fields)
    classes = "  det: {mode: deterministic, type: string}\n  ran: {mode: random}\n"
    source = f"version: 1\nclasses:\n{classes}collections:\n  d.c:\n{lines}"
    return load_policy(source.encode(), "policy.yaml")


def tree(*fields: str) -> PathNode:
    """The covered paths of such a policy."""
    return policies_of(*fields).collections["d.c"]


POLICIES = (
    policies_of("a: det", "b: ran"),
    policies_of("a.b: det", "a.c: ran", "b: det"),
    policies_of("a.b.c: det", "a.c: ran"),
)
TREES = tuple(policies.collections["d.c"] for policies in POLICIES)
SEALED = Binary(b"SW\x01\x01 and so on", 0x80)


def accepts(root: PathNode, document: Mapping[str, Any], only: str | None = None) -> bool:
    """Whether a server would let the document in."""
    return bool(matches(document, {"$jsonSchema": covering_schema(root, only)}))


class Checker:
    """Walks a document along the policy's paths, by the rules of the documentation, not of the schema."""

    def __init__(
        self, root: PathNode, document: Mapping[str, Any], header: bytes = b"", names: int = 1
    ) -> None:
        self.plaintext = False
        self.other_version = False
        """Whether there is a deterministic value that does not begin with the header."""
        self._header = header
        self.deep = False
        """Whether there is structure below the depths that the schema follows."""
        self._document(root, document, root.depth, names)

    def _document(self, node: PathNode, document: Mapping[str, Any], arrays: int, names: int) -> None:
        for name, value in document.items():
            if (child := node.children.get(name.encode())) is not None:
                self._value(child, value, arrays, names)
            elif name in ("0", "17", "$x"):
                self._value(node, value, arrays, names - isinstance(value, (dict, list)))

    def _value(self, node: PathNode, value: object, arrays: int, names: int) -> None:
        if node.leaf is not None:
            self._leaf(value, 0, follow=node.leaf.name == "det")
        elif isinstance(value, dict):
            self.deep |= names < 0
            self._document(node, value, arrays, names)
        elif isinstance(value, list):
            self.deep |= names < 0
            for item in value:
                self.deep |= arrays == 0 and isinstance(item, (dict, list))
                self._value(node, item, arrays - 1, names)

    def _leaf(self, value: object, above: int, *, follow: bool) -> None:
        if isinstance(value, list) and follow:
            self.deep |= above == LEAF_ARRAYS
            for item in value:
                self._leaf(item, above + 1, follow=True)
        elif isinstance(value, Binary):
            self.other_version |= follow and not value.startswith(self._header)
        elif value is not None:
            self.plaintext = True


def header(class_id: int, version: int) -> bytes:
    return b"SW\x01\x01" + class_id.to_bytes(4, "big") + version.to_bytes(4, "big")


ACTIVE = {"det": header(5, 6)}
NOW, OTHER_TYPE = (Binary(ACTIVE["det"] + bytes((kind,)) + b" and so on", 0x80) for kind in (2, 16))
# fewer bits, more bits, both; too short; another class, mode or format; none of ours
OTHERS = [
    *(Binary(header(5, version) + b"\x02 and so on", 0x80) for version in (4, 7, 5, 1 << 24 | 6)),
    *(Binary(ACTIVE["det"][:length], 0x80) for length in (0, 4, 11)),
    Binary(header(4, 6) + b"\x02 and so on", 0x80),
    Binary(ACTIVE["det"].replace(b"\x01\x01", b"\x01\x02") + b"\x02 and so on", 0x80),
    Binary(ACTIVE["det"].replace(b"\x01\x01", b"\x02\x01") + b"\x02 and so on", 0x80),
    Binary(b" " + ACTIVE["det"], 0),
]


def keeps(root: PathNode, document: Mapping[str, Any]) -> bool:
    """Whether a server that insists on the active version would let the document in."""
    schema, conditions = covering_rules(root, ACTIVE)
    return bool(matches(document, combine(schema, Validation(), conditions)))


_SCALARS = st.one_of(
    st.just(SEALED), st.none(), st.sampled_from(["plain", 5, 2.5, True, Int64(7), "", {}, {"k": "plain"}])
)
_NAMES = st.sampled_from(["a", "b", "c", "0", "17", "$x", "0\n", "0x", "other", "a.b"])
_VALUES = st.recursive(
    st.one_of(st.just(SEALED), st.just(SEALED), _SCALARS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=3), st.lists(inner, max_size=1)
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(_NAMES, _VALUES, max_size=4)


@given(st.sampled_from(TREES), DOCUMENTS)
@example(TREES[1], {"a": [[{"b": "plain"}]]})
@example(TREES[1], {"a": [[[[{"b": "plain"}]]]]})
@example(TREES[1], {"0": {"a": {"b": "plain"}}})
@example(TREES[1], {"0\n": {"a": {"b": "plain"}}})
@example(TREES[2], {"a": [{"b": [{"c": [[[SEALED]]]}]}], "$x": [{"a": {"b": 5, "c": None}}]})
def test_the_schema_rejects_exactly_plaintext_and_what_is_too_deep(
    root: PathNode, document: dict[str, Any]
) -> None:
    found = Checker(root, document)
    if found.plaintext:
        assert not accepts(root, document)
    elif not found.deep:
        assert accepts(root, document)


_ENVELOPES = st.one_of(st.sampled_from([NOW, NOW, NOW, OTHER_TYPE, None]), st.sampled_from(OTHERS))
_VERSIONS = st.recursive(
    _ENVELOPES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "c", "0"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(TREES), st.dictionaries(_NAMES, _VERSIONS, max_size=4))
@example(TREES[1], {"a": [{"b": NOW}, {"b": [NOW, OTHERS[0]]}], "b": [[[[NOW, OTHERS[1]]]]]})
@example(TREES[1], {"a": [[{"b": NOW}, {"b": [[OTHERS[2]]]}], {"b": NOW}]})
@example(TREES[2], {"a": [{"b": [[{"c": NOW}, {"c": OTHERS[0]}]]}]})
@example(TREES[2], {"a": [[[{"b": {"c": OTHERS[0]}}]]]})
@example(TREES[1], {"a": [{"b": OTHERS[0], "c": NOW}, {"b": OTHERS[1]}]})
def test_with_versions_it_rejects_exactly_what_the_active_one_did_not_make(
    root: PathNode, document: dict[str, Any]
) -> None:
    found = Checker(root, document, ACTIVE["det"], names=0)
    if found.plaintext or found.other_version:
        assert not keeps(root, document)
    elif not found.deep:
        assert keeps(root, document)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(
    "place",
    [
        lambda value: {"b": value},
        lambda value: {"b": [NOW, value]},
        lambda value: {"b": [[NOW], [[[value]]]]},
        lambda value: {"a": {"b": value}},
        lambda value: {"a": [{"b": NOW}, {"b": value}, {"b": [NOW]}]},
        lambda value: {"a": [{"b": [NOW, NOW]}, {"b": [NOW, value]}]},
        lambda value: {"a": [[{"b": NOW}], [{"b": [[value]]}]]},
        lambda value: {"0": {"a": {"b": value}}},
    ],
)
def test_no_place_hides_a_value_of_another_version(place: Callable[[Any], Any], other: Binary) -> None:
    assert accepts(TREES[1], place(other))
    assert not keeps(TREES[1], place(other))
    if "0" not in place(NOW):
        assert keeps(TREES[1], place(NOW))


def test_a_random_class_has_no_version_that_is_right() -> None:
    assert covering_rules(TREES[1], {}) == (covering_schema(TREES[1]), ())
    assert covering_rules(tree("b: ran"), ACTIVE) == (covering_schema(tree("b: ran")), ())
    assert keeps(TREES[1], {"a": {"c": OTHERS[0], "b": NOW}})


_UNSEALED_NAMES = st.sampled_from(["a", "b", "c", "0", "17", "x"])
_UNSEALED = st.recursive(
    st.one_of(st.none(), st.just("plain"), st.just("plain")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_UNSEALED_NAMES, inner, max_size=3)),
    max_leaves=8,
)


@given(st.sampled_from(POLICIES), st.dictionaries(_UNSEALED_NAMES, _UNSEALED, max_size=4))
@example(POLICIES[1], {"a": [[{"b": ["plain", ["plain"]], "c": {"x": 1}}]], "0": {"b": "plain"}})
def test_what_the_planner_encrypts_is_rejected_before_and_accepted_after(
    policies: PolicySet, document: dict[str, Any]
) -> None:
    try:
        plan = plan_of({"insert": "c", "documents": [document], "$db": "d"}, policies)
    except Refusal:
        return
    (sealed,) = decode(seal(plan))["documents"]
    root = policies.collections["d.c"]
    if plan.edits:
        assert not accepts(root, document)
    if not Checker(root, sealed).deep:
        assert accepts(root, sealed)


_FREE: list[Any] = [5, None, "text", [], {}, [1, "x"], {"other": {"b": "plain"}}]
_HARMLESS: list[Any] = [SEALED, None, [], [SEALED, None, [SEALED]]]
_PLAIN: list[Any] = ["plain", 5, {}, ["x"], [SEALED, [[5]]], True]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        *(({"a": value}, True) for value in _FREE),
        *(({"a": {"b": value}}, True) for value in _HARMLESS),
        *(({"a": {"b": value}}, False) for value in _PLAIN),
        *(({"a": {"c": value}}, True) for value in (SEALED, None)),
        *(({"a": {"c": value}}, False) for value in (["x"], [SEALED], "plain")),
        ({"a": {"c": []}}, False),
        ({"a": [{"b": SEALED}, {"b": "plain"}]}, False),
        ({"a": [[{"b": SEALED}], [{"b": [SEALED]}], 5]}, True),
        ({"a": [[{"b": SEALED}], [{"b": 5}]]}, False),
        ({"a": {"3": {"b": SEALED}}}, True),
        ({"a": {"3": {"b": "plain"}}}, False),
        ({"2024": {"b": "plain"}}, False),
        ({"2024": {"name": "plain"}, "other": [{"b": "plain"}]}, True),
    ],
)
def test_paths_are_seen_through_arrays_and_numbers(document: dict[str, Any], expected: bool) -> None:
    assert accepts(TREES[1], document) is expected


def test_what_is_too_deep_to_follow_is_rejected_unless_it_holds_no_structure() -> None:
    root = TREES[1]  # two parts: the outer one may be an array of arrays
    assert accepts(root, {"a": [[{"b": SEALED}]]})
    assert accepts(root, {"a": [[[5, "x"]]]})
    assert not accepts(root, {"a": [[[{"name": 5}]]]})
    nested: Any = SEALED
    for _ in range(LEAF_ARRAYS):
        nested = [nested]
    assert accepts(root, {"b": nested})
    assert not accepts(root, {"b": [nested]})
    assert accepts(root, {"0": {"1": 5}})
    assert not accepts(root, {"0": {"1": {"name": 5}}})


def test_one_path_can_be_looked_at_by_itself() -> None:
    document = {"a": {"b": "plain", "c": SEALED}, "b": SEALED}
    verdicts = {path: accepts(TREES[1], document, path) for path in ("a.b", "a.c", "b")}
    assert verdicts == {"a.b": False, "a.c": True, "b": True}
    prefixes = tree("a: det", "ab: det")
    assert accepts(prefixes, {"a": "plain"}, "ab")


def test_more_conditions_than_fit_are_refused() -> None:
    fields = [f"f{number}: det" for number in range(MAX_CONDITIONS // 8 + 1)]
    assert covering_rules(tree(*fields[1:]), ACTIVE)
    with pytest.raises(SchemaTooLarge):
        covering_rules(tree(*fields), ACTIVE)


DEEP = covering_rules(tree("a.b.c.d.e: det"), ACTIVE)


def test_a_tree_that_is_too_deep_is_refused_before_its_schema_is_written_out() -> None:
    assert len(encode(covering_schema(tree("a.b.c.d.e: det")))) < 1_500_000
    assert len(encode(combine(covering_schema(tree("b: det")), Validation(), DEEP[1]))) < 1_500_000
    with pytest.raises(SchemaTooLarge):
        covering_schema(tree("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t: det"))


FORMERS = (
    Validation(),
    Validation({"age": {"$gt": 5}}),
    Validation({"$and": [{"x": 1}, {"y": 2}]}, "moderate", "warn"),
    Validation({"$jsonSchema": {"title": "theirs", "required": ["x"]}}, "off"),
    Validation(None, None, "error"),
)


@pytest.mark.parametrize("former", FORMERS)
@pytest.mark.parametrize("headers", [{}, ACTIVE])
def test_what_was_combined_can_be_taken_apart(former: Validation, headers: dict[str, bytes]) -> None:
    schema, conditions = covering_rules(TREES[0], headers)
    combined = combine(schema, former, conditions)
    assert take_apart(combined) == former
    assert not matches({"a": "plain", "age": 6, "x": 1, "y": 2}, combined)


def test_the_former_validator_goes_on_counting() -> None:
    combined = combine(covering_schema(TREES[0]), FORMERS[1])
    assert matches({"age": 6}, combined)
    assert not matches({"age": 5}, combined)


@pytest.mark.parametrize(
    "validator",
    [
        *(former.validator for former in FORMERS),
        {"$jsonSchema": {"title": MARK}},
        {"$jsonSchema": {"title": f"{MARK}; before: level= action= and more"}},
        {"$jsonSchema": {"title": 5}},
        {"$jsonSchema": 5},
        {"$and": [combine({}, FORMERS[0])]},
        {"$and": [{"x": 1}, combine({}, FORMERS[0])]},
        {"$and": [combine({}, FORMERS[0]), {"x": 1}], "y": 1},
        {"$and": [combine({}, FORMERS[0]), 5]},
        {**combine({}, FORMERS[0]), "y": 1},
        {"$and": [{**combine({}, FORMERS[0]), "z": 1}, {"x": 1}]},
        {},
    ],
)
def test_a_validator_that_is_not_ours_is_not_taken_apart(validator: dict[str, Any] | None) -> None:
    assert take_apart(validator) is None


OWNERS: tuple[Mapping[str, Any], ...] = ({}, {"$jsonSchema": {"required": ["a"]}}, {"a": {"$gt": 1}})


@pytest.mark.parametrize("former", OWNERS)
def test_a_validator_of_ours_is_known_by_the_policy_that_it_was_made_for(former: Mapping[str, Any]) -> None:
    before = Validation(former or None, "strict", "error")
    ours = combine(covering_schema(TREES[0]), before)
    assert enforced(Validation(ours), TREES[0]) is Enforced.AS_POLICY
    assert enforced(Validation(ours, "moderate", "error"), TREES[0]) is Enforced.AS_POLICY
    for other in (TREES[1], None):
        assert enforced(Validation(ours), other) is Enforced.OTHERWISE


@pytest.mark.parametrize("former", OWNERS)
def test_a_validator_says_whether_it_insists_on_a_version(former: Mapping[str, Any]) -> None:
    schema, conditions = covering_rules(TREES[0], ACTIVE)
    ours = decode(encode(combine(schema, Validation(former or None), conditions)))
    assert enforces_versions(Validation(ours))
    assert enforced(Validation(ours), TREES[0]) is Enforced.AS_POLICY
    assert enforced(Validation(ours), TREES[1]) is Enforced.OTHERWISE
    for idle in (Validation(ours, "off"), Validation(ours, "strict", "warn")):
        assert not enforces_versions(idle)
    for other in (combine(covering_schema(TREES[0]), Validation(former or None)), former, None):
        assert not enforces_versions(Validation(other))


@pytest.mark.parametrize(
    "now",
    [
        Validation(),
        *(Validation(each) for each in OWNERS),
        Validation(combine(covering_schema(TREES[0]), Validation()), "off", "error"),
        Validation(combine(covering_schema(TREES[0]), Validation()), "strict", "warn"),
    ],
)
def test_what_rejects_nothing_or_is_its_owners_is_not_ours(now: Validation) -> None:
    assert enforced(now, TREES[0]) is Enforced.NOT


# --------- what is done to one covered collection: decided by what is there, and carried out by one command


TREE = POLICY.collections["clinic.patients"]
PATIENTS = CoveredCollection("clinic.patients", TREE, exists=True)
CLEAN = [0]
"""Counted once: nothing stands in the way."""


def install(found: CoveredCollection, *counts: int, options: Options | None = None) -> Change:
    return plan_install(FakeServer(counts=list(counts)).client, found, options or Options())


def installed(found: CoveredCollection = PATIENTS) -> CoveredCollection:
    """The same collection after `plan_install`."""
    command = install(found, 0).command
    assert command is not None
    validation = Validation(command["validator"], command["validationLevel"], command["validationAction"])
    return replace(found, validation=validation)


def test_a_clean_collection_gets_a_strict_validator() -> None:
    change = install(PATIENTS, *CLEAN)
    assert change.outcome is EnforcementOutcome.INSTALLED
    assert change.command is not None
    assert change.command["collMod"] == "patients"
    assert (change.command["validationLevel"], change.command["validationAction"]) == ("strict", "error")
    assert change.command["validator"]["$jsonSchema"].items() >= covering_schema(TREE).items()


def test_installing_twice_is_no_change() -> None:
    change = install(installed())
    assert (change.outcome, change.command) == (EnforcementOutcome.ALREADY, None)


def test_plaintext_is_counted_by_path_and_stands_in_the_way_unless_it_is_allowed() -> None:
    refused = install(PATIENTS, 3, 3)
    assert (refused.outcome, refused.command) == (EnforcementOutcome.FAILED, None)
    assert refused.plaintext == {"nhs_number": 3}
    allowed = install(PATIENTS, 3, 3, options=Options(allow_existing=True))
    assert allowed.outcome is EnforcementOutcome.INSTALLED
    warned = install(PATIENTS, 3, 3, options=Options(action="warn"))
    assert warned.outcome is EnforcementOutcome.INSTALLED
    assert warned.reason


def test_a_validator_that_is_there_goes_on_counting_with_its_level() -> None:
    theirs = replace(PATIENTS, validation=Validation({"ward": {"$exists": True}}, "moderate", "error"))
    change = install(theirs, *CLEAN)
    assert change.command is not None
    assert change.command["validationLevel"] == "moderate"
    assert take_apart(change.command["validator"]) == theirs.validation


def test_ours_gives_way_to_one_with_other_options() -> None:
    change = install(installed(), 0, options=Options(level="moderate"))
    assert change.outcome is EnforcementOutcome.REPLACED


@pytest.mark.parametrize("kind", ["view", "timeseries"])
def test_what_takes_no_validator_is_skipped(kind: str) -> None:
    assert install(replace(PATIENTS, kind=kind)).outcome is EnforcementOutcome.SKIPPED


def test_a_collection_that_is_not_there_is_created_only_when_asked_for() -> None:
    missing = replace(PATIENTS, exists=False)
    assert install(missing).outcome is EnforcementOutcome.SKIPPED
    created = install(missing, options=Options(create=True))
    assert created.outcome is EnforcementOutcome.CREATED
    assert created.command is not None
    assert created.command["create"] == "patients"


def test_removing_brings_back_what_was_there() -> None:
    theirs = replace(PATIENTS, validation=Validation({"ward": 1}, "moderate", "warn"))
    change = plan_removal(installed(theirs))
    assert change.outcome is EnforcementOutcome.REMOVED
    assert change.command == {
        "collMod": "patients",
        "validator": {"ward": 1},
        "validationLevel": "moderate",
        "validationAction": "warn",
    }
    assert plan_removal(theirs).outcome is EnforcementOutcome.SKIPPED
    assert plan_removal(replace(PATIENTS, exists=False)).outcome is EnforcementOutcome.SKIPPED


def test_what_the_server_refuses_is_a_failed_outcome() -> None:
    refusing = FakeServer(refuses=True, counts=[0])
    assert plan_install(refusing.client, PATIENTS, Options()).outcome is EnforcementOutcome.FAILED
    change = install(PATIENTS, *CLEAN)
    assert carry_out(refusing.client, change).outcome is EnforcementOutcome.FAILED
    server = FakeServer()
    assert carry_out(server.client, change) == change
    assert server.commands == [("clinic", change.command)]


def test_a_validator_that_insists_on_a_version_is_loosened_with_a_word_about_it() -> None:
    strict = Options(headers={"nhs": b"SW\x01\x01" + bytes(7) + b"\x02"})
    refused = install(installed(), 1, 1, options=strict)
    assert (refused.outcome, bool(refused.reason)) == (EnforcementOutcome.FAILED, True)
    command = install(installed(), 0, options=strict).command
    assert command is not None
    insisting = replace(PATIENTS, validation=Validation(command["validator"], "strict", "error"))
    assert install(insisting, options=strict).outcome is EnforcementOutcome.ALREADY
    loosened = install(insisting, 0)
    assert (loosened.outcome, "versions" in loosened.reason) == (EnforcementOutcome.REPLACED, True)
    assert plan_removal(insisting).outcome is EnforcementOutcome.REMOVED
