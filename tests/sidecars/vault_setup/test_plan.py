"""Desired against found: what a set-up would do, does, and leaves alone."""

from dataclasses import replace

import pytest

from sealwire.keys.errors import KeySettingError
from sealwire.sidecars.errors import CannotCreate, SetupReason
from sealwire.sidecars.vault_setup.desired import MARK, AtMost, Kind, State, Step, differences, resources
from sealwire.sidecars.vault_setup.plan import carry_out, compare_all, configuration, outstanding, verify
from sealwire.sidecars.vault_setup.settings import QUARTER_S, AppRole, Kubernetes, SetupSettings
from tests.sidecars.vault_setup.fake_server import FakeServer, set_up

SETTINGS = SetupSettings(audit_file="/var/log/audit.log")
EVERY_AUTH = [AppRole(), AppRole(bound_cidrs=("10.1.2.3/32",)), Kubernetes("https://10.0.0.1", "pem")]


def states(steps: tuple[Step, ...]) -> set[State]:
    return {step.state for step in steps}


def step_of(steps: tuple[Step, ...], kind: Kind, name: str) -> Step:
    (step,) = (step for step in steps if (step.kind, step.name) == (kind, name))
    return step


@pytest.mark.parametrize("auth", EVERY_AUTH)
def test_an_empty_server_gets_everything_once(auth: AppRole | Kubernetes) -> None:
    settings, server = replace(SETTINGS, auth=auth), FakeServer()
    steps = compare_all(server, settings)
    assert states(steps) == {State.TO_DO}
    assert states(tuple(carry_out(server, steps))) == {State.SATISFIED}
    assert len(server.writes) == len(steps)
    again = compare_all(server, settings)
    assert outstanding(again) == ()
    assert all(step.request is None for step in again)


def test_looking_changes_nothing() -> None:
    server = FakeServer()
    compare_all(server, SETTINGS)
    assert server.writes == []


def test_a_set_up_that_stopped_in_the_middle_goes_on_from_there() -> None:
    server = FakeServer()
    server.fails_at = "sys/auth/approle"
    with pytest.raises(KeySettingError):
        list(carry_out(server, compare_all(server, SETTINGS)))
    server.fails_at = None
    left = outstanding(compare_all(server, SETTINGS))
    assert {step.kind for step in left} == {Kind.AUTH, Kind.ROLE, Kind.AUDIT}
    assert states(tuple(carry_out(server, left))) == {State.SATISFIED}


@pytest.mark.parametrize(
    ("path", "change", "kind", "name"),
    [
        ("transit/keys/sealwire-proxy", {"deletion_allowed": True}, Kind.KEY, "sealwire-proxy"),
        ("transit/keys/sealwire-backup", {"auto_rotate_period": 0}, Kind.KEY, "sealwire-backup"),
        ("transit/keys/sealwire-backup", {"auto_rotate_period": QUARTER_S + 1}, Kind.KEY, "sealwire-backup"),
        ("sys/policies/acl/sealwire-proxy", {"policy": 'path "*" {}'}, Kind.POLICY, "sealwire-proxy"),
        ("auth/approle/role/sealwire-proxy", {"token_policies": ["root"]}, Kind.ROLE, "sealwire-proxy"),
        (
            "auth/approle/role/sealwire-auditor",
            {"token_policies": ["sealwire-auditor", "admin"]},
            Kind.ROLE,
            "sealwire-auditor",
        ),
        ("auth/approle/role/sealwire-proxy", {"bind_secret_id": False}, Kind.ROLE, "sealwire-proxy"),
    ],
)
def test_drift_is_found_and_mended(path: str, change: dict[str, object], kind: Kind, name: str) -> None:
    server = set_up()
    server.objects[path].update(change)
    (drift,) = outstanding(compare_all(server, SETTINGS))
    assert (drift.kind, drift.name, drift.state) == (kind, name, State.DIFFERS)
    assert {each.field for each in drift.differences} == set(change)
    list(carry_out(server, (drift,)))
    assert outstanding(compare_all(server, SETTINGS)) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("exportable", True), ("derived", False), ("type", "rsa-2048"), ("allow_plaintext_backup", True)],
)
def test_a_key_that_was_made_otherwise_is_left_alone_and_stops_everything(field: str, value: object) -> None:
    server = FakeServer()
    server.objects["transit/keys/sealwire-proxy"] = {
        **dict(resources(SETTINGS)[2].create.body),
        "deletion_allowed": False,
        field: value,
    }
    steps = compare_all(server, SETTINGS)
    assert step_of(steps, Kind.KEY, "sealwire-proxy").state is State.BY_HAND
    with pytest.raises(CannotCreate) as caught:
        list(carry_out(server, steps))
    assert caught.value.reason is SetupReason.FIXED
    assert server.writes == []


def test_a_mount_of_another_type_is_left_alone() -> None:
    server = FakeServer()
    server.listings["sys/mounts"]["secret/"] = {"type": "kv", "options": {"version": "1"}}
    step = step_of(compare_all(server, SETTINGS), Kind.MOUNT, "secret")
    assert (step.state, step.request) == (State.BY_HAND, None)


def test_a_mount_that_was_there_before_serves_and_is_not_marked() -> None:
    server = FakeServer()
    server.listings["sys/mounts"]["transit/"] = {"type": "transit", "description": "of the payroll"}
    list(carry_out(server, compare_all(server, SETTINGS)))
    assert server.listings["sys/mounts"]["transit/"]["description"] == "of the payroll"
    assert server.listings["sys/mounts"]["secret/"]["description"] == MARK


def test_oftener_than_quarterly_is_fine_unless_a_period_is_asked_for() -> None:
    server = set_up()
    server.objects["transit/keys/sealwire-proxy"]["auto_rotate_period"] = 3600
    assert outstanding(compare_all(server, SETTINGS)) == ()
    exact = replace(SETTINGS, rotation_s=7200)
    assert {step.name for step in outstanding(compare_all(server, exact))} == {
        "sealwire-proxy",
        "sealwire-backup",
    }


def test_where_the_api_takes_no_audit_device_the_step_is_by_hand_with_the_text_to_write() -> None:
    server = FakeServer(takes_audit=False)
    done = tuple(carry_out(server, compare_all(server, SETTINGS)))
    (left,) = outstanding(verify(server, SETTINGS, done))
    assert (left.kind, left.state) == (Kind.AUDIT, State.BY_HAND)
    assert configuration("/var/log/audit.log") in left.advice


def test_any_audit_device_is_enough_and_none_is_drift() -> None:
    server = FakeServer()
    server.listings["sys/audit"]["syslog/"] = {"type": "syslog"}
    assert step_of(compare_all(server, SETTINGS), Kind.AUDIT, "syslog").state is State.SATISFIED
    without = compare_all(FakeServer(), SetupSettings())
    assert step_of(without, Kind.AUDIT, "sealwire").state is State.BY_HAND


def test_servers_keep_lists_as_sets_and_say_null_for_an_empty_one() -> None:
    assert differences({"a": ["x", "y"], "b": []}, {"a": ["y", "x"], "b": None}) == ()
    assert [each.field for each in differences({"a": [], "b": 0}, {"a": ["x"], "b": None})] == ["a", "b"]


@pytest.mark.parametrize("found", [0, 11, None, "5"])
def test_a_number_out_of_bounds_differs(found: int | str | None) -> None:
    assert differences({"n": AtMost(10)}, {"n": found}) != ()
    assert differences({"n": AtMost(10)}, {"n": 10}) == ()
