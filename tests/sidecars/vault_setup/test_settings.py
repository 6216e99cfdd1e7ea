"""Names, periods and networks that an operator gives: what is taken, and what a path would misread."""

import json
import re

import pytest

from sealwire.sidecars.errors import SetupReason, Unusable
from sealwire.sidecars.vault_setup.desired import OWN_TOKEN, PathRule, policy_text, rules
from sealwire.sidecars.vault_setup.settings import (
    QUARTER_S,
    AppRole,
    Kubernetes,
    SetupSettings,
    VaultRole,
    address_or_network,
    format_period,
    parse_period,
)
from tests.build_context import ROOT
from tests.support.reasons import raising


def test_every_name_begins_with_the_prefix() -> None:
    settings = SetupSettings(prefix="clinic-a")
    assert settings.keys == ("clinic-a-proxy", "clinic-a-backup")
    assert settings.keyring == "clinic-a/keyring"
    assert settings.role_name(VaultRole.BACKUP_WRITER) == "clinic-a-backup-writer"


@pytest.mark.parametrize("name", ["", "*", "a*", "+", "a/b", "../sys", 'a"', "A", "a\n", "-a", "a" * 65])
def test_a_prefix_that_a_policy_would_read_otherwise_is_refused(name: str) -> None:
    with raising(Unusable, SetupReason.NAME):
        SetupSettings(prefix=name)


@pytest.mark.parametrize("mount", ["", "/transit", "transit/", "a/../b", "a*", "tran sit"])
def test_a_mount_that_a_path_would_read_otherwise_is_refused(mount: str) -> None:
    for settings in ({"transit_mount": mount}, {"kv_mount": mount}, {"auth": AppRole(mount)}):
        with raising(Unusable, SetupReason.NAME):
            SetupSettings(**settings)


def test_the_two_mounts_are_two() -> None:
    with raising(Unusable, SetupReason.NAME):
        SetupSettings(transit_mount="secret")


@pytest.mark.parametrize(("text", "seconds"), [("90d", QUARTER_S), ("1h", 3600), ("2w", 14 * 86400)])
def test_periods_have_a_unit(text: str, seconds: int) -> None:
    assert parse_period(text) == seconds


@pytest.mark.parametrize("text", ["90", "0h", "-1d", "1.5d", "11y", "9999999d", "4000d", "", "d", "٣d"])
def test_other_periods_are_refused(text: str) -> None:
    with raising(Unusable, SetupReason.PERIOD):
        parse_period(text)


@pytest.mark.parametrize(("seconds", "text"), [(QUARTER_S, "90d"), (5400 * 2, "3h"), (61, "61s"), (0, "")])
def test_periods_are_shown_in_the_largest_exact_unit(seconds: int, text: str) -> None:
    assert format_period(seconds) == text


def test_a_network_of_one_address_is_the_address() -> None:
    assert str(address_or_network("10.1.2.3/32")) == "10.1.2.3"
    assert str(address_or_network("::1/128")) == "::1"
    assert str(address_or_network("10.1.0.0/16")) == "10.1.0.0/16"


@pytest.mark.parametrize("text", ["10.1.2.3", "10.1.2.3/16", "host", "", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with raising(Unusable, SetupReason.AUTH):
        AppRole(bound_cidrs=(text,))


def test_kubernetes_is_reached_by_tls_only() -> None:
    with raising(Unusable, SetupReason.AUTH):
        SetupSettings(auth=Kubernetes("http://10.0.0.1", "pem"))


# The policies: what each role may do, written down a second time by hand, and what none may.


SETTINGS = SetupSettings()
WITH_CONTEXTS = SetupSettings(with_contexts=True)
KEYS_PAGE = ROOT / "docs" / "operations" / "context-keys.md"
OWN_PATHS = {rule.path for rule in OWN_TOKEN}


def allowed(role: VaultRole) -> dict[str, tuple[str, ...]]:
    return {rule.path: rule.capabilities for rule in rules(SETTINGS, role) if rule.path not in OWN_PATHS}


def test_the_proxy_opens_keys_and_reads_its_keyring() -> None:
    assert allowed(VaultRole.PROXY) == {
        "transit/decrypt/sealwire-proxy": ("update",),
        "secret/data/sealwire/keyring": ("read",),
    }


def test_a_backup_is_written_without_the_power_to_read_one() -> None:
    assert allowed(VaultRole.BACKUP_WRITER) == {"transit/encrypt/sealwire-backup": ("update",)}
    assert allowed(VaultRole.BACKUP_RESTORER) == {"transit/decrypt/sealwire-backup": ("update",)}


def test_rotation_cannot_open_backups_and_sets_no_more_than_the_period() -> None:
    assert "transit/decrypt/sealwire-backup" not in allowed(VaultRole.ROTATION)
    config = [rule for rule in rules(SETTINGS, VaultRole.ROTATION) if rule.path.endswith("/config")]
    assert [rule.only_parameters for rule in config] == [("auto_rotate_period",)] * 2


def test_the_auditor_only_reads_and_reads_no_secret() -> None:
    found = allowed(VaultRole.AUDITOR)
    assert {path for path, each in found.items() if "update" in each} == {
        f"auth/approle/role/{SETTINGS.role_name(role)}/secret-id-accessor/lookup" for role in VaultRole
    }
    assert {capability for each in found.values() for capability in each} == {
        "read",
        "list",
        "sudo",
        "update",
    }
    assert [path for path, each in found.items() if "sudo" in each] == ["sys/audit"]
    assert all(each == ("list",) for path, each in found.items() if path.endswith("/secret-id"))
    assert not any("/data/" in path for path in found)


@pytest.mark.parametrize(
    ("role", "name"),
    [(VaultRole.PROXY, "sealwire-contexts"), (VaultRole.ROTATION, "sealwire-contexts-operator")],
)
def test_what_contexts_add_is_what_the_page_says(role: VaultRole, name: str) -> None:
    added = set(rules(WITH_CONTEXTS, role)) - set(rules(SETTINGS, role))
    page = re.search(rf"vault policy write {name} - <<'EOF'\n(.*?)\nEOF", KEYS_PAGE.read_text(), re.DOTALL)
    assert page
    lines = re.findall(r'path "(.*)" +\{ capabilities = (\[.*\]) \}', page[1])
    assert {rule.path: list(rule.capabilities) for rule in added} == {
        path: json.loads(capabilities) for path, capabilities in lines
    }


@pytest.mark.parametrize("role", [VaultRole.BACKUP_WRITER, VaultRole.BACKUP_RESTORER, VaultRole.AUDITOR])
def test_contexts_add_nothing_for_others(role: VaultRole) -> None:
    assert rules(WITH_CONTEXTS, role) == rules(SETTINGS, role)


def test_a_proxy_destroys_no_key_of_a_context_and_lists_none() -> None:
    for rule in rules(WITH_CONTEXTS, VaultRole.PROXY):
        assert not rule.path.startswith(("secret/destroy/", "secret/delete/", "secret/metadata/"))
        assert not {"delete", "list", "sudo"} & set(rule.capabilities)


@pytest.mark.parametrize("role", VaultRole)
def test_wildcards_stand_below_the_store_of_contexts_only(role: VaultRole) -> None:
    for rule in rules(WITH_CONTEXTS, role):
        assert "*" not in rule.path or "/sealwire/contexts/" in rule.path


@pytest.mark.parametrize("role", VaultRole)
def test_no_rule_has_a_wildcard_and_none_makes_keys(role: VaultRole) -> None:
    for rule in rules(SETTINGS, role):
        assert "*" not in rule.path
        assert "+" not in rule.path
        assert rule.path.startswith("secret/data/") or "create" not in rule.capabilities


def test_only_kubernetes_has_a_configuration_to_audit() -> None:
    kubernetes = SetupSettings(auth=Kubernetes("https://10.0.0.1", "pem"))
    paths = {rule.path for rule in rules(kubernetes, VaultRole.AUDITOR)}
    assert "auth/kubernetes/config" in paths
    assert "auth/approle/config" not in allowed(VaultRole.AUDITOR)


def test_the_text_is_the_language_of_the_server() -> None:
    text = policy_text([PathRule("a/b", ("read",)), PathRule("c", ("update",), only_parameters=("x", "y"))])
    assert text == (
        'path "a/b" {\n  capabilities = ["read"]\n}\n\n'
        'path "c" {\n  capabilities = ["update"]\n  allowed_parameters = { "x" = [], "y" = [] }\n}\n'
    )
