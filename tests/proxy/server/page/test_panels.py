"""Figures by name, and how they have changed."""

import pytest

from sealwire.keys.frontier.frontier import AFTER_ALL, Frontier
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.config.policy_file import parse_policy
from sealwire.proxy.server.page.facts import MAX_ROWS, OBSERVED, CoveredField, age_days, facts_of
from sealwire.proxy.server.page.panels import COMMANDS, EVERY_S, LastHour, Readings, quantile
from tests.proxy.server.page.pages import METRICS, NOW, POLICY, HandClock, a_keyring, some_facts
from tests.support.rows import rows

HISTOGRAM = """\
# TYPE sealwire_command_duration_seconds histogram
sealwire_command_duration_seconds_bucket{le="0.001"} 50
sealwire_command_duration_seconds_bucket{le="0.01"} 99
sealwire_command_duration_seconds_bucket{le="+Inf"} 100
sealwire_command_duration_seconds_count 100
sealwire_command_duration_seconds_sum 1
"""


def finds(count: int) -> bytes:
    return f'# TYPE sealwire_commands counter\nsealwire_commands_total{{command="find"}} {count}\n'.encode()


class Source:
    """Figures that a test changes."""

    def __init__(self) -> None:
        self.count = 0

    def render(self) -> bytes:
        return finds(self.count)


def test_figures_are_looked_up_by_name_and_label() -> None:
    readings = Readings(METRICS)
    assert readings.sum(COMMANDS) == 18302 + 2412 + 964 + 531
    assert next(iter(readings.by_label(COMMANDS, "command"))) == "find"
    assert readings.value("sealwire_client_connections") == 12
    assert readings.value("sealwire_missing") is None
    assert readings.value(COMMANDS) is None
    assert readings.by_labels("sealwire_plaintext_values_total", "namespace", "path") == {
        ("clinic.patients", "contacts.phone"): 7.0
    }


def test_a_text_that_is_no_metrics_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^"):
        Readings("sealwire_ready one\n")


def test_a_quantile_is_the_bound_of_its_bucket() -> None:
    buckets = Readings(HISTOGRAM).buckets("sealwire_command_duration_seconds")
    assert [quantile(buckets, part) for part in (0.5, 0.51, 0.99, 1.0)] == [0.001, 0.01, 0.01, float("inf")]
    assert quantile({}, 0.5) is None
    assert quantile({1.0: 0.0, float("inf"): 0.0}, 0.5) is None


def test_rates_are_of_the_last_minute() -> None:
    source, clock = Source(), HandClock()
    hour = LastHour(source.render, clock)
    hour.take()
    assert hour.lately(COMMANDS, Readings(finds(0).decode())) == {}
    for _ in range(8):
        clock.now_s += EVERY_S
        source.count += 150
        readings = hour.take()
    assert hour.lately(COMMANDS, readings) == {"find": 10.0}


def test_a_counter_that_was_begun_anew_is_not_negative() -> None:
    source, clock = Source(), HandClock()
    source.count = 1000
    hour = LastHour(source.render, clock)
    hour.take()
    clock.now_s += 60
    source.count = 30
    assert hour.lately(COMMANDS, hour.take()) == {"find": 0.5}


def test_the_last_hour_is_told_by_minutes() -> None:
    source, clock = Source(), HandClock()
    hour = LastHour(source.render, clock)
    for step in range(400):
        hour.take()
        source.count += step
        clock.now_s += EVERY_S
    minutes = hour.by_minute(COMMANDS)
    assert 59 <= len(minutes) <= 60
    assert list(minutes) == sorted(minutes)


def test_before_anything_was_read_nothing_is_known() -> None:
    hour = LastHour(Source().render, HandClock())
    assert hour.by_minute(COMMANDS) == ()
    assert hour.lately(COMMANDS, Readings()) == {}
    assert hour.reply_time_s(Readings(), 0.5) is None


def test_reply_times_are_those_of_the_last_minute() -> None:
    clock = HandClock()
    hour = LastHour(HISTOGRAM.encode, clock)
    hour.take()
    clock.now_s += 60
    later = HISTOGRAM.replace(" 99", " 109").replace(" 100", " 110")
    assert hour.reply_time_s(Readings(later), 0.5) == 0.01


# What of policy and keyring is seen.


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


@rows(
    "frontier, stage",
    (None, "lost"),
    (Frontier(1, 1, 2), "waits"),
    (Frontier(1, 1, 2).opened(b"\x01"), "window open"),
    (Frontier(1, 1, 2).opened(b"\x01").moving(), "window moves"),
    (Frontier(1, 1, 2).opened(b"\x01").moving().closed(), "between windows"),
    (Frontier(1, 1, 2).opened(AFTER_ALL).moving().closed(), "over"),
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
