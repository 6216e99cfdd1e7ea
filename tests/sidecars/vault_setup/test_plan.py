"""Desired against found: what a set-up would do, does, and leaves alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sealwire.keys.errors import KeySettingError
from sealwire.sidecars.errors import CannotCreate, SetupReason, Unavailable, Unusable
from sealwire.sidecars.vault_setup.credentials import issue, logins, revoke, role_id_of
from sealwire.sidecars.vault_setup.desired import (
    MARK,
    AtMost,
    PlanLine,
    ResourceKind,
    ResourceState,
    ages,
    differences,
    resources,
    rotate_now,
    set_period,
)
from sealwire.sidecars.vault_setup.plan import (
    Fate,
    carry_out,
    compare_all,
    configuration,
    outstanding,
    plan_removal,
    take_away,
    verify,
)
from sealwire.sidecars.vault_setup.settings import QUARTER_S, AppRole, Kubernetes, SetupSettings, VaultRole
from tests.sidecars.vault_setup.fake_server import MADE_AT, FakeServer, set_up
from tests.support.reasons import raising

SETTINGS = SetupSettings(audit_file="/var/log/audit.log")
PROXY_ROLE, AUDITOR_ROLE = "auth/approle/role/sealwire-proxy", "auth/approle/role/sealwire-auditor"
EVERY_AUTH = [AppRole(), AppRole(bound_cidrs=("10.1.2.3/32",)), Kubernetes("https://10.0.0.1", "pem")]


def states(steps: tuple[PlanLine, ...]) -> set[ResourceState]:
    return {step.state for step in steps}


def step_of(steps: tuple[PlanLine, ...], kind: ResourceKind, name: str) -> PlanLine:
    (step,) = (step for step in steps if (step.kind, step.name) == (kind, name))
    return step


@pytest.mark.parametrize("auth", EVERY_AUTH)
def test_an_empty_server_gets_everything_once(auth: AppRole | Kubernetes) -> None:
    settings, server = replace(SETTINGS, auth=auth), FakeServer()
    steps = compare_all(server, settings)
    assert states(steps) == {ResourceState.TO_DO}
    assert states(tuple(carry_out(server, steps))) == {ResourceState.SATISFIED}
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
    assert {step.kind for step in left} == {ResourceKind.AUTH, ResourceKind.ROLE, ResourceKind.AUDIT}
    assert states(tuple(carry_out(server, left))) == {ResourceState.SATISFIED}


@pytest.mark.parametrize(
    ("path", "change", "kind"),
    [
        ("transit/keys/sealwire-proxy", {"deletion_allowed": True}, ResourceKind.KEY),
        ("transit/keys/sealwire-backup", {"auto_rotate_period": 0}, ResourceKind.KEY),
        ("transit/keys/sealwire-backup", {"auto_rotate_period": QUARTER_S + 1}, ResourceKind.KEY),
        ("sys/policies/acl/sealwire-proxy", {"policy": 'path "*" {}'}, ResourceKind.POLICY),
        (PROXY_ROLE, {"token_policies": ["root"]}, ResourceKind.ROLE),
        (AUDITOR_ROLE, {"token_policies": ["sealwire-auditor", "admin"]}, ResourceKind.ROLE),
        (PROXY_ROLE, {"bind_secret_id": False}, ResourceKind.ROLE),
    ],
)
def test_drift_is_found_and_mended(path: str, change: dict[str, object], kind: ResourceKind) -> None:
    server = set_up()
    server.objects[path].update(change)
    (drift,) = outstanding(compare_all(server, SETTINGS))
    name = path.rpartition("/")[2]
    assert (drift.kind, drift.name, drift.state) == (kind, name, ResourceState.DIFFERS)
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
    assert step_of(steps, ResourceKind.KEY, "sealwire-proxy").state is ResourceState.BY_HAND
    with raising(CannotCreate, SetupReason.FIXED):
        list(carry_out(server, steps))
    assert server.writes == []


def test_a_mount_of_another_type_is_left_alone() -> None:
    server = FakeServer()
    server.listings["sys/mounts"]["secret/"] = {"type": "kv", "options": {"version": "1"}}
    step = step_of(compare_all(server, SETTINGS), ResourceKind.MOUNT, "secret")
    assert (step.state, step.request) == (ResourceState.BY_HAND, None)


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
    assert (left.kind, left.state) == (ResourceKind.AUDIT, ResourceState.BY_HAND)
    assert configuration("/var/log/audit.log") in left.advice


def test_any_audit_device_is_enough_and_none_is_drift() -> None:
    server = FakeServer()
    server.listings["sys/audit"]["syslog/"] = {"type": "syslog"}
    assert (
        step_of(compare_all(server, SETTINGS), ResourceKind.AUDIT, "syslog").state is ResourceState.SATISFIED
    )
    without = compare_all(FakeServer(), SetupSettings())
    assert step_of(without, ResourceKind.AUDIT, "sealwire").state is ResourceState.BY_HAND


def test_servers_keep_lists_as_sets_and_say_null_for_an_empty_one() -> None:
    assert differences({"a": ["x", "y"], "b": []}, {"a": ["y", "x"], "b": None}) == ()
    assert [each.field for each in differences({"a": [], "b": 0}, {"a": ["x"], "b": None})] == ["a", "b"]


@pytest.mark.parametrize("found", [0, 11, None, "5"])
def test_a_number_out_of_bounds_differs(found: int | str | None) -> None:
    assert differences({"n": AtMost(10)}, {"n": found}) != ()
    assert differences({"n": AtMost(10)}, {"n": 10}) == ()


# Logins handed out and taken back, key rotation, and what the rollback takes away.


WITH_ROLES = SetupSettings()
KUBERNETES = SetupSettings(auth=Kubernetes("https://10.0.0.1", "pem"))


def test_a_credential_is_a_role_id_and_a_wrapped_secret_id_that_no_repr_shows() -> None:
    server = set_up()
    server.objects[f"{PROXY_ROLE}/role-id"] = {"role_id": "role-1"}
    made = issue(server, WITH_ROLES, VaultRole.PROXY, 3600)
    assert role_id_of(server, WITH_ROLES, VaultRole.PROXY) == "role-1"
    assert (made.token, made.ttl_s) == ("hvs.wrapping", 3600)
    assert "hvs." not in repr(made)


def test_without_the_role_there_is_no_credential() -> None:
    with raising(Unavailable, SetupReason.NOT_SET_UP):
        role_id_of(FakeServer(), WITH_ROLES, VaultRole.PROXY)


def test_kubernetes_has_no_credentials() -> None:
    with raising(Unusable, SetupReason.AUTH):
        issue(FakeServer(), KUBERNETES, VaultRole.PROXY, 60)


def test_with_kubernetes_the_tokens_are_revoked() -> None:
    server = set_up(KUBERNETES)
    server.objects["auth/token/accessors/1"] = {"policies": ["sealwire-proxy"]}
    ended = revoke(server, KUBERNETES, VaultRole.PROXY)
    assert (ended.secret_ids, ended.tokens) == (0, 1)


def test_revoking_ends_the_secret_ids_and_tokens_of_one_role_only() -> None:
    server = set_up()
    for role in (VaultRole.PROXY, VaultRole.AUDITOR):
        server.wrap(f"auth/approle/role/{WITH_ROLES.role_name(role)}/secret-id", {}, 60)
        token = {"policies": [WITH_ROLES.role_name(role)]}
        server.objects[f"auth/token/accessors/{role.value}"] = token
    ended = revoke(server, WITH_ROLES, VaultRole.PROXY)
    assert (ended.secret_ids, ended.tokens) == (1, 1)
    assert server.list("auth/token/accessors") == (VaultRole.AUDITOR.value,)
    assert server.list(f"{PROXY_ROLE}/secret-id") == ()
    assert len(server.list(f"{AUDITOR_ROLE}/secret-id")) == 1


def test_what_ended_by_itself_is_passed_over_and_what_cannot_be_ended_is_told_at_the_end() -> None:
    server = set_up()
    for name in ("1", "2", "3"):
        server.objects[f"auth/token/accessors/{name}"] = {"policies": ["sealwire-proxy"]}
    server.fails_for = {"1": True, "2": False}
    with pytest.raises(KeySettingError):
        revoke(server, WITH_ROLES, VaultRole.PROXY)
    assert server.list("auth/token/accessors") == ("2",)
    server.objects["auth/token/accessors/1"] = {"policies": ["sealwire-proxy"]}
    server.fails_for = {"1": True}
    assert revoke(server, WITH_ROLES, VaultRole.PROXY).tokens == 1


def test_a_login_lasts_as_long_as_its_longest_secret_id() -> None:
    server = set_up()
    secret_ids = f"{PROXY_ROLE}/secret-id"
    for day in ("01", "20"):
        end = f"2031-05-{day}T10:11:12.123456789Z"
        server.objects[f"{secret_ids}/{day}"] = {"expiration_time": end}
    server.objects[f"{AUDITOR_ROLE}/secret-id/a"] = {"expiration_time": "0001-01-01T00:00:00Z"}
    proxy, auditor = logins(server, WITH_ROLES)
    assert (proxy.role, proxy.secret_ids, proxy.ends.day) == ("sealwire-proxy", 2, 20)
    assert not proxy.ends_soon(proxy.ends - timedelta(days=15))
    assert proxy.ends_soon(proxy.ends - timedelta(days=13))
    assert not auditor.ends_soon(datetime(2999, 1, 1, tzinfo=UTC))
    assert logins(server, KUBERNETES) == ()


def test_rotation_adds_a_version_and_the_period_can_be_changed() -> None:
    server = set_up()
    set_period(server, WITH_ROLES, "sealwire-proxy", 7200)
    rotate_now(server, WITH_ROLES, "sealwire-proxy")
    proxy, backup = ages(server, WITH_ROLES)
    assert (proxy.version, proxy.period_s) == (2, 7200)
    assert (backup.version, backup.period_s) == (1, QUARTER_S)


def test_a_key_that_the_server_should_have_rotated_is_overdue_after_a_day_of_grace() -> None:
    (age, _) = ages(set_up(), WITH_ROLES)
    due = datetime.fromtimestamp(MADE_AT, UTC) + timedelta(seconds=QUARTER_S)
    assert not age.overdue(due + timedelta(hours=23))
    assert age.overdue(due + timedelta(hours=25))


def test_without_the_keys_there_is_nothing_to_rotate() -> None:
    with raising(Unavailable, SetupReason.NOT_SET_UP):
        ages(FakeServer(), WITH_ROLES)


def fates(server: FakeServer, *, destroy_keys: bool = False) -> dict[tuple[ResourceKind, str], Fate]:
    """Carries the rollback out and says what became of each resource: what the plan has said."""
    plan = plan_removal(server, WITH_ROLES, destroy_keys=destroy_keys)
    done = tuple(take_away(server, WITH_ROLES, plan))
    assert done == plan
    return {(each.resource.kind, each.resource.name): each.fate for each in done}


def test_the_rollback_takes_everything_but_the_keys() -> None:
    server = set_up()
    found = fates(server)
    kept = {name for name, fate in found.items() if fate is Fate.KEEP}
    assert kept == {
        (ResourceKind.KEY, "sealwire-proxy"),
        (ResourceKind.KEY, "sealwire-backup"),
        (ResourceKind.MOUNT, "transit"),
    }
    assert set(server.objects) == {"transit/keys/sealwire-proxy", "transit/keys/sealwire-backup"}
    assert server.listings["sys/auth"] == {}


def test_with_the_keys_destroyed_nothing_is_left() -> None:
    server = set_up()
    server.objects["secret/metadata/sealwire/keyring"] = {}
    assert set(fates(server, destroy_keys=True).values()) == {Fate.REMOVE}
    assert server.objects == {}
    assert server.listings["sys/mounts"] == {}
    assert set(fates(server, destroy_keys=True).values()) == {Fate.ABSENT}


def test_a_keyring_in_the_storage_is_kept_with_its_keys() -> None:
    server = set_up()
    server.objects["secret/metadata/sealwire/keyring"] = {}
    assert fates(server)[ResourceKind.MOUNT, "secret"] is Fate.KEEP
    assert "secret/metadata/sealwire/keyring" in server.objects


def test_what_was_there_before_or_holds_something_else_is_kept() -> None:
    server = set_up()
    server.listings["sys/mounts"]["transit/"]["description"] = "of the payroll"
    server.objects["auth/approle/role/payroll"] = {}
    server.objects["secret/metadata/payroll"] = {}
    found = fates(server, destroy_keys=True)
    kept = {name for name, fate in found.items() if fate is Fate.KEEP}
    assert kept == {
        (ResourceKind.MOUNT, "transit"),
        (ResourceKind.AUTH, "approle"),
        (ResourceKind.MOUNT, "secret"),
    }


def test_what_comes_into_a_mount_after_the_plan_keeps_it() -> None:
    server = set_up()
    plan = plan_removal(server, WITH_ROLES, destroy_keys=True)
    server.objects["auth/approle/role/payroll"] = {}
    done = {
        (each.resource.kind, each.resource.name): each.fate for each in take_away(server, WITH_ROLES, plan)
    }
    assert done[ResourceKind.AUTH, "approle"] is Fate.KEEP


def test_planning_a_rollback_changes_nothing() -> None:
    server = set_up()
    plan_removal(server, WITH_ROLES, destroy_keys=True)
    assert server.writes == []
    assert len(server.objects) > 10
