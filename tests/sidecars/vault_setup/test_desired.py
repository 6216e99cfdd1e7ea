"""The policies: what each role may do, written down a second time by hand, and what none may."""

import json
import re

import pytest

from sealwire.sidecars.vault_setup.desired import OWN_TOKEN, Rule, policy_text, rules
from sealwire.sidecars.vault_setup.settings import Kubernetes, Role, SetupSettings
from tests.build_context import ROOT

SETTINGS = SetupSettings()
WITH_CONTEXTS = SetupSettings(with_contexts=True)
KEYS_PAGE = ROOT / "docs" / "operations" / "context-keys.md"
OWN_PATHS = {rule.path for rule in OWN_TOKEN}


def allowed(role: Role) -> dict[str, tuple[str, ...]]:
    return {rule.path: rule.capabilities for rule in rules(SETTINGS, role) if rule.path not in OWN_PATHS}


def test_the_proxy_opens_keys_and_reads_its_keyring() -> None:
    assert allowed(Role.PROXY) == {
        "transit/decrypt/sealwire-proxy": ("update",),
        "secret/data/sealwire/keyring": ("read",),
    }


def test_a_backup_is_written_without_the_power_to_read_one() -> None:
    assert allowed(Role.BACKUP_WRITER) == {"transit/encrypt/sealwire-backup": ("update",)}
    assert allowed(Role.BACKUP_RESTORER) == {"transit/decrypt/sealwire-backup": ("update",)}


def test_rotation_cannot_open_backups_and_sets_no_more_than_the_period() -> None:
    assert "transit/decrypt/sealwire-backup" not in allowed(Role.ROTATION)
    config = [rule for rule in rules(SETTINGS, Role.ROTATION) if rule.path.endswith("/config")]
    assert [rule.only_parameters for rule in config] == [("auto_rotate_period",)] * 2


def test_the_auditor_only_reads_and_reads_no_secret() -> None:
    found = allowed(Role.AUDITOR)
    assert {path for path, each in found.items() if "update" in each} == {
        f"auth/approle/role/{SETTINGS.role_name(role)}/secret-id-accessor/lookup" for role in Role
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
    [(Role.PROXY, "sealwire-contexts"), (Role.ROTATION, "sealwire-contexts-operator")],
)
def test_what_contexts_add_is_what_the_page_says(role: Role, name: str) -> None:
    added = set(rules(WITH_CONTEXTS, role)) - set(rules(SETTINGS, role))
    page = re.search(rf"vault policy write {name} - <<'EOF'\n(.*?)\nEOF", KEYS_PAGE.read_text(), re.DOTALL)
    assert page
    lines = re.findall(r'path "(.*)" +\{ capabilities = (\[.*\]) \}', page[1])
    assert {rule.path: list(rule.capabilities) for rule in added} == {
        path: json.loads(capabilities) for path, capabilities in lines
    }


@pytest.mark.parametrize("role", [Role.BACKUP_WRITER, Role.BACKUP_RESTORER, Role.AUDITOR])
def test_contexts_add_nothing_for_others(role: Role) -> None:
    assert rules(WITH_CONTEXTS, role) == rules(SETTINGS, role)


def test_a_proxy_destroys_no_key_of_a_context_and_lists_none() -> None:
    for rule in rules(WITH_CONTEXTS, Role.PROXY):
        assert not rule.path.startswith(("secret/destroy/", "secret/delete/", "secret/metadata/"))
        assert not {"delete", "list", "sudo"} & set(rule.capabilities)


@pytest.mark.parametrize("role", Role)
def test_wildcards_stand_below_the_store_of_contexts_only(role: Role) -> None:
    for rule in rules(WITH_CONTEXTS, role):
        assert "*" not in rule.path or "/sealwire/contexts/" in rule.path


@pytest.mark.parametrize("role", Role)
def test_no_rule_has_a_wildcard_and_none_makes_keys(role: Role) -> None:
    for rule in rules(SETTINGS, role):
        assert "*" not in rule.path
        assert "+" not in rule.path
        assert rule.path.startswith("secret/data/") or "create" not in rule.capabilities


def test_only_kubernetes_has_a_configuration_to_audit() -> None:
    kubernetes = SetupSettings(auth=Kubernetes("https://10.0.0.1", "pem"))
    paths = {rule.path for rule in rules(kubernetes, Role.AUDITOR)}
    assert "auth/kubernetes/config" in paths
    assert "auth/approle/config" not in allowed(Role.AUDITOR)


def test_the_text_is_the_language_of_the_server() -> None:
    text = policy_text([Rule("a/b", ("read",)), Rule("c", ("update",), only_parameters=("x", "y"))])
    assert text == (
        'path "a/b" {\n  capabilities = ["read"]\n}\n\n'
        'path "c" {\n  capabilities = ["update"]\n  allowed_parameters = { "x" = [], "y" = [] }\n}\n'
    )
