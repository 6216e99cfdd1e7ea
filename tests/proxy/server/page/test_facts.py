"""What of policy and keyring is seen."""

import pytest

from sealwire.keys.frontier.frontier import AFTER_ALL, Frontier
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.config.policy_file import parse_policy
from sealwire.proxy.server.page.facts import (
    MAX_ROWS,
    OBSERVED,
    CoveredField,
    age_days,
    facts_of,
)
from tests.proxy.server.page.pages import NOW, POLICY, a_keyring, some_facts


def test_the_policys_paths_are_told_with_their_classes() -> None:
    facts = some_facts()
    assert facts.covered_count == len(facts.covered) == 6
    assert (
        CoveredField("clinic.patients", "contacts.phone", "phone", "deterministic", "string", "")
        in facts.covered
    )
    birth = next(each for each in facts.covered if each.class_name == "date_of_birth")
    assert birth.extras == "ranges"
    assert ("tenant_*.patients", "nhs_number") in [(each.namespace, each.path) for each in facts.covered]


def test_what_is_only_observed_is_told_as_in_clear() -> None:
    source = b"""\
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs: nhs}, clinic.visits: {nhs: nhs}}
observe: [clinic.visits]
"""
    facts = facts_of(parse_policy(source, "policy.yaml").rules, Keyring([]), {})
    modes = {each.namespace: each.mode for each in facts.covered}
    assert modes == {"clinic.patients": "deterministic", "clinic.visits": OBSERVED}


def test_contexts_and_subjects_are_told() -> None:
    source = b"""\
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  notes: {mode: random, key: {per: tenant}}
  remarks: {mode: random, key: {per: $database}}
collections:
  clinic.patients: {nhs_number: nhs_number, notes: notes, remarks: remarks}
subjects: {class: nhs_number}
"""
    facts = facts_of(parse_policy(source, "policy.yaml").rules, Keyring([]), {})
    extras = {each.class_name: each.extras for each in facts.covered}
    assert extras["nhs_number"] == "identifies a person"
    assert extras["notes"] == "a key for each tenant"
    assert extras["remarks"] == "a key for each database"


def test_keys_are_told_without_their_material() -> None:
    text = str(some_facts())
    assert [(each.class_name, each.version, each.state) for each in some_facts().keys][:2] == [
        ("nhs_number", 1, "retired"),
        ("nhs_number", 2, "active"),
    ]
    keyring = a_keyring()
    assert all(type(field).__name__ != "bytes" for key in keyring.listed for field in key)
    assert len(text) < 3000


@pytest.mark.parametrize(
    ("frontier", "stage"),
    [
        (None, "lost"),
        (Frontier(1, 1, 2), "waits"),
        (Frontier(1, 1, 2).opened(b"\x01"), "window open"),
        (Frontier(1, 1, 2).opened(b"\x01").moving(), "window moves"),
        (Frontier(1, 1, 2).opened(b"\x01").moving().closed(), "between windows"),
        (Frontier(1, 1, 2).opened(AFTER_ALL).moving().closed(), "over"),
    ],
)
def test_a_move_has_a_stage_and_no_position(frontier: Frontier | None, stage: str) -> None:
    facts = facts_of(parse_policy(POLICY, "policy.yaml").rules, Keyring([]), {"phone": frontier})
    assert [each.stage for each in facts.moves] == [stage]
    assert "01" not in str(facts).replace("1900-01-01", "")


def test_a_large_policy_is_cut_and_counted() -> None:
    paths = "".join(f"    f{number}: nhs_number\n" for number in range(MAX_ROWS + 5))
    classes = "classes: {nhs_number: {mode: deterministic, type: string}}"
    source = f"version: 1\n{classes}\ncollections:\n  a.b:\n{paths}"
    facts = facts_of(parse_policy(source.encode(), "policy.yaml").rules, Keyring([]), {})
    assert (len(facts.covered), facts.covered_count) == (MAX_ROWS, MAX_ROWS + 5)


def test_ages_are_whole_days_and_never_negative() -> None:
    assert age_days("2026-11-20T10:00:00+00:00", NOW) == 6
    assert age_days("2027-01-01T00:00:00+00:00", NOW) == 0
