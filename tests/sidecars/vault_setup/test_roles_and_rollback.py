"""Logins handed out and taken back, key rotation, and what the rollback takes away."""

from datetime import UTC, datetime, timedelta
from enum import Enum

import pytest

from sealwire.keys.errors import KeySettingError
from sealwire.sidecars.errors import SetupReason, SidecarError, Unavailable, Unusable
from sealwire.sidecars.vault_setup.credentials import issue, logins, revoke, role_id_of
from sealwire.sidecars.vault_setup.desired import Kind, ages, rotate_now, set_period
from sealwire.sidecars.vault_setup.plan import Fate, plan_removal, take_away
from sealwire.sidecars.vault_setup.settings import QUARTER_S, Kubernetes, Role, SetupSettings
from tests.sidecars.vault_setup.fake_server import MADE_AT, FakeServer, set_up

SETTINGS = SetupSettings()
KUBERNETES = SetupSettings(auth=Kubernetes("https://10.0.0.1", "pem"))
PROXY_ROLE = "auth/approle/role/sealwire-proxy"


def reason_of(error: pytest.ExceptionInfo[SidecarError]) -> Enum:
    return error.value.reason


def test_a_credential_is_a_role_id_and_a_wrapped_secret_id_that_no_repr_shows() -> None:
    server = set_up()
    server.objects[f"{PROXY_ROLE}/role-id"] = {"role_id": "role-1"}
    made = issue(server, SETTINGS, Role.PROXY, 3600)
    assert role_id_of(server, SETTINGS, Role.PROXY) == "role-1"
    assert (made.token, made.ttl_s) == ("hvs.wrapping", 3600)
    assert "hvs." not in repr(made)


def test_without_the_role_there_is_no_credential() -> None:
    with pytest.raises(Unavailable) as caught:
        role_id_of(FakeServer(), SETTINGS, Role.PROXY)
    assert reason_of(caught) is SetupReason.NOT_SET_UP


def test_kubernetes_has_no_credentials() -> None:
    with pytest.raises(Unusable) as caught:
        issue(FakeServer(), KUBERNETES, Role.PROXY, 60)
    assert reason_of(caught) is SetupReason.AUTH


def test_with_kubernetes_the_tokens_are_revoked() -> None:
    server = set_up(KUBERNETES)
    server.objects["auth/token/accessors/1"] = {"policies": ["sealwire-proxy"]}
    ended = revoke(server, KUBERNETES, Role.PROXY)
    assert (ended.secret_ids, ended.tokens) == (0, 1)


def test_revoking_ends_the_secret_ids_and_tokens_of_one_role_only() -> None:
    server = set_up()
    for role in (Role.PROXY, Role.AUDITOR):
        server.wrap(f"auth/approle/role/{SETTINGS.role_name(role)}/secret-id", {}, 60)
        token = {"policies": [SETTINGS.role_name(role)]}
        server.objects[f"auth/token/accessors/{role.value}"] = token
    ended = revoke(server, SETTINGS, Role.PROXY)
    assert (ended.secret_ids, ended.tokens) == (1, 1)
    assert server.list("auth/token/accessors") == (Role.AUDITOR.value,)
    assert server.list(f"{PROXY_ROLE}/secret-id") == ()
    assert len(server.list("auth/approle/role/sealwire-auditor/secret-id")) == 1


def test_what_ended_by_itself_is_passed_over_and_what_cannot_be_ended_is_told_at_the_end() -> None:
    server = set_up()
    for name in ("1", "2", "3"):
        server.objects[f"auth/token/accessors/{name}"] = {"policies": ["sealwire-proxy"]}
    server.fails_for = {"1": True, "2": False}
    with pytest.raises(KeySettingError):
        revoke(server, SETTINGS, Role.PROXY)
    assert server.list("auth/token/accessors") == ("2",)
    server.objects["auth/token/accessors/1"] = {"policies": ["sealwire-proxy"]}
    server.fails_for = {"1": True}
    assert revoke(server, SETTINGS, Role.PROXY).tokens == 1


def test_a_login_lasts_as_long_as_its_longest_secret_id() -> None:
    server = set_up()
    secret_ids = f"{PROXY_ROLE}/secret-id"
    for day in ("01", "20"):
        end = f"2031-05-{day}T10:11:12.123456789Z"
        server.objects[f"{secret_ids}/{day}"] = {"expiration_time": end}
    server.objects["auth/approle/role/sealwire-auditor/secret-id/a"] = {
        "expiration_time": "0001-01-01T00:00:00Z"
    }
    proxy, auditor = logins(server, SETTINGS)
    assert (proxy.role, proxy.secret_ids, proxy.ends.day) == ("sealwire-proxy", 2, 20)
    assert not proxy.ends_soon(proxy.ends - timedelta(days=15))
    assert proxy.ends_soon(proxy.ends - timedelta(days=13))
    assert not auditor.ends_soon(datetime(2999, 1, 1, tzinfo=UTC))
    assert logins(server, KUBERNETES) == ()


def test_rotation_adds_a_version_and_the_period_can_be_changed() -> None:
    server = set_up()
    set_period(server, SETTINGS, "sealwire-proxy", 7200)
    rotate_now(server, SETTINGS, "sealwire-proxy")
    proxy, backup = ages(server, SETTINGS)
    assert (proxy.version, proxy.period_s) == (2, 7200)
    assert (backup.version, backup.period_s) == (1, QUARTER_S)


def test_a_key_that_the_server_should_have_rotated_is_overdue_after_a_day_of_grace() -> None:
    (age, _) = ages(set_up(), SETTINGS)
    due = datetime.fromtimestamp(MADE_AT, UTC) + timedelta(seconds=QUARTER_S)
    assert not age.overdue(due + timedelta(hours=23))
    assert age.overdue(due + timedelta(hours=25))


def test_without_the_keys_there_is_nothing_to_rotate() -> None:
    with pytest.raises(Unavailable) as caught:
        ages(FakeServer(), SETTINGS)
    assert reason_of(caught) is SetupReason.NOT_SET_UP


def fates(server: FakeServer, *, destroy_keys: bool = False) -> dict[tuple[Kind, str], Fate]:
    """Carries the rollback out and says what became of each resource: what the plan has said."""
    plan = plan_removal(server, SETTINGS, destroy_keys=destroy_keys)
    done = tuple(take_away(server, SETTINGS, plan))
    assert done == plan
    return {(each.resource.kind, each.resource.name): each.fate for each in done}


def test_the_rollback_takes_everything_but_the_keys() -> None:
    server = set_up()
    found = fates(server)
    kept = {name for name, fate in found.items() if fate is Fate.KEEP}
    assert kept == {(Kind.KEY, "sealwire-proxy"), (Kind.KEY, "sealwire-backup"), (Kind.MOUNT, "transit")}
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
    assert fates(server)[Kind.MOUNT, "secret"] is Fate.KEEP
    assert "secret/metadata/sealwire/keyring" in server.objects


def test_what_was_there_before_or_holds_something_else_is_kept() -> None:
    server = set_up()
    server.listings["sys/mounts"]["transit/"]["description"] = "of the payroll"
    server.objects["auth/approle/role/payroll"] = {}
    server.objects["secret/metadata/payroll"] = {}
    found = fates(server, destroy_keys=True)
    kept = {name for name, fate in found.items() if fate is Fate.KEEP}
    assert kept == {(Kind.MOUNT, "transit"), (Kind.AUTH, "approle"), (Kind.MOUNT, "secret")}


def test_what_comes_into_a_mount_after_the_plan_keeps_it() -> None:
    server = set_up()
    plan = plan_removal(server, SETTINGS, destroy_keys=True)
    server.objects["auth/approle/role/payroll"] = {}
    done = {(each.resource.kind, each.resource.name): each.fate for each in take_away(server, SETTINGS, plan)}
    assert done[Kind.AUTH, "approle"] is Fate.KEEP


def test_planning_a_rollback_changes_nothing() -> None:
    server = set_up()
    plan_removal(server, SETTINGS, destroy_keys=True)
    assert server.writes == []
    assert len(server.objects) > 10
