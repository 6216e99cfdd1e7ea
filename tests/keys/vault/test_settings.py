from pathlib import Path

import pytest

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.vault.settings import (
    KUBERNETES_JWT,
    AuthMethod,
    AuthSettings,
    check_path,
    settings_from_environment,
    vault_settings,
)
from tests.support.reasons import raising

ADDRESS = {"address": "https://vault.example:8200"}


def refused(options: dict[str, str], environ: dict[str, str] | None = None) -> KeySettingError:
    with raising(KeySettingError, KeysReason.VAULT_SETTING) as caught:
        vault_settings(options, environ or {})
    assert caught.value.hint
    return caught.value


def test_the_usual_variables_suffice() -> None:
    settings = settings_from_environment(
        {
            "VAULT_ADDR": "https://v:8200/",
            "VAULT_NAMESPACE": "clinic/",
            "VAULT_CACERT": "/ca.crt",
            "VAULT_TOKEN": "hvs.secret",
        }
    )
    assert (settings.address, settings.namespace, settings.ca) == (
        "https://v:8200",
        "clinic",
        Path("/ca.crt"),
    )
    assert settings.auth == AuthSettings(AuthMethod.TOKEN)
    assert "hvs.secret" not in repr(settings)


def test_openbaos_variables_come_before_vaults_and_our_own_before_both() -> None:
    environ = {"VAULT_ADDR": "https://v", "BAO_ADDR": "https://b"}
    assert settings_from_environment(environ).address == "https://b"
    environ["SEALWIRE_VAULT_ADDRESS"] = "https://s"
    assert settings_from_environment(environ).address == "https://s"


@pytest.mark.parametrize("host", ["127.0.0.1:8200", "localhost", "[::1]:8200"])
def test_plain_http_is_for_this_machine(host: str) -> None:
    assert vault_settings({"address": f"http://{host}"}, {}).address == f"http://{host}"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "vault:8200",
        "ftp://vault",
        "http://vault.example",
        "http://127.0.0.1.example",
        "https://",
        "https://user:password@vault",
        "https://vault/v1",
        "https://vault?x=1",
        "https://vault:port",
    ],
)
def test_addresses_that_are_none_are_refused_and_not_shown(address: str) -> None:
    error = refused({"address": address})
    assert "password" not in str(error) + error.hint


@pytest.mark.parametrize(
    ("options", "auth"),
    [
        (
            {"auth": "token-file", "token_file": "/t"},
            AuthSettings(AuthMethod.TOKEN_FILE, "", None, Path("/t")),
        ),
        (
            {"auth": "approle", "role_id": "r", "secret_id_file": "/s", "secret_id_wrapped": "true"},
            AuthSettings(AuthMethod.APPROLE, "approle", "r", Path("/s"), wrapped=True),
        ),
        (
            {"auth": "approle", "role_id": "r", "secret_id_file": "/s", "auth_mount": "team/apps/"},
            AuthSettings(AuthMethod.APPROLE, "team/apps", "r", Path("/s")),
        ),
        (
            {"auth": "kubernetes", "role": "r"},
            AuthSettings(AuthMethod.KUBERNETES, "kubernetes", "r", KUBERNETES_JWT),
        ),
        ({"auth": "certificate", "certificate": "/c"}, AuthSettings(AuthMethod.CERTIFICATE, "cert")),
    ],
    ids=lambda value: value["auth"] if isinstance(value, dict) else "",
)
def test_ways_to_log_in(options: dict[str, str], auth: AuthSettings) -> None:
    assert vault_settings(ADDRESS | options, {}).auth == auth


@pytest.mark.parametrize(
    "options",
    [
        {"auth": "ldap"},
        {"auth": "token-file"},
        {"auth": "approle", "role_id": "r"},
        {"auth": "approle", "secret_id_file": "/s"},
        {"auth": "kubernetes"},
        {"auth": "certificate"},
        {"auth": "approle", "role_id": "r", "secret_id_file": "/s", "auth_mount": "../sys"},
        {"auth": "approle", "role_id": "r", "secret_id_file": "/s", "secret_id_wrapped": "yes"},
        {"timeout_s": "0"},
        {"deadline_s": "soon"},
        {"namespace": "a b"},
    ],
)
def test_what_is_missing_or_strange_is_refused(options: dict[str, str]) -> None:
    refused(ADDRESS | options)


@pytest.mark.parametrize(
    "path", ["", "/", "a//b", "..", "a/../b", "./a", "a/.", "a b", "a?b", "a%2fb", "a#", "é", "a" * 257]
)
def test_paths_that_a_url_would_change_are_refused(path: str) -> None:
    with pytest.raises(KeySettingError):
        check_path(path, "it")


@pytest.mark.parametrize("path", ["transit", "team/kv", "a.b-c_d", "..a", "a/..b"])
def test_other_paths_are_taken(path: str) -> None:
    assert check_path(path, "it") == path
