"""The environment overrides every key of the configuration file, and says which variable was wrong."""

import re
from pathlib import Path

import pytest

from sealwire.keys.providers import ProviderKind, ProviderSettings, parse_provider
from sealwire.proxy.server.config.reader import variables_unread
from sealwire.proxy.server.config.settings import (
    KEYS,
    KNOWN_VARIABLES,
    Kind,
    ListenTls,
    TlsMode,
    UpstreamTls,
    variable_of,
)
from sealwire.proxy.server.findings import variable_findings
from tests.build_context import ROOT
from tests.proxy.server.config_texts import FOLDER, IN_VAULT, SHORT, WHOLE, error_of, parse

VALUES = {Kind.TEXT: "changed", Kind.INTEGER: "77", Kind.NUMBER: "7.5", Kind.BOOLEAN: "true"}

SPECIAL = {
    ("listen", "address"): "127.0.0.1:7",
    ("listen", "advertise"): "other:7",
    ("listen", "tls", "minimum"): "1.2",
    ("listen", "tls", "require_client_certificate"): "false",
    ("listen", "compression"): "zlib",
    ("upstream", "compression"): "zlib",
    ("upstream", "address"): "other:7",
    ("upstream", "tls", "minimum"): "1.3",
    ("upstream", "access_control"): "required",
    ("reveal",): "protected",
    ("admin", "address"): "other:7",
    ("admin", "page", "name"): "other.example",
    ("workers",): "3",
    ("audit", "file_bytes"): "65536",
    ("audit", "commands"): "writes",
    ("audit", "when_full"): "block",
    ("log", "level"): "error",
    ("log", "format"): "text",
    ("traces", "endpoint"): "https://other:4318",
    ("keys", "cache", "kek"): "env:OTHER",
    ("vault", "address"): "https://other:8200",
}


# These make sense only together with others.
MODES = (
    ("listen", "tls", "mode"),
    ("upstream", "tls", "mode"),
    ("kek", "provider"),
    ("kek", "variable"),
    ("vault", "auth"),
    ("listen", "zlib_level"),
    ("upstream", "zlib_level"),
    ("listen", "ports"),
    ("listen", "ports_file"),
    ("upstream", "uri"),
    ("upstream", "heartbeat_s"),
)

AUTHS = {"token_file": "token-file", "role": "kubernetes", "jwt_file": "kubernetes"}


def whole_for(path: tuple[str, ...]) -> str:
    if path[0] == "vault" or path in (("kek", "name"), ("kek", "mount")):
        in_vault = IN_VAULT.replace("AUTH", AUTHS.get(path[-1], "approle"))
        return re.sub(r"^kek: .*\n", "", WHOLE, flags=re.MULTILINE) + in_vault
    return WHOLE


@pytest.mark.parametrize("path", [path for path in KEYS if path not in MODES], ids=variable_of)
def test_the_environment_overrides_every_key(path: tuple[str, ...]) -> None:
    whole = whole_for(path)
    changed = parse(whole, {variable_of(path): SPECIAL.get(path, VALUES[KEYS[path]])})
    assert changed != parse(whole)
    assert changed.ignored_variables == ()


def test_the_environment_can_turn_tls_on_and_choose_another_provider() -> None:
    config = parse(
        SHORT,
        {
            "SEALWIRE_LISTEN_TLS_MODE": "tls",
            "SEALWIRE_LISTEN_TLS_CERTIFICATE": "proxy.pem",
            "SEALWIRE_UPSTREAM_TLS_MODE": "tls",
            "SEALWIRE_KEK_PROVIDER": "file",
            "SEALWIRE_KEK_PATH": "/run/kek.json",
        },
    )
    assert config.listen_tls == ListenTls(TlsMode.TLS, FOLDER / "proxy.pem")
    assert config.upstream_tls == UpstreamTls(TlsMode.TLS)
    assert config.kek == ProviderSettings(ProviderKind.KEY_FILE, "/run/kek.json")
    assert parse(SHORT, {"SEALWIRE_KEK_VARIABLE": "OTHER"}).kek.location == "OTHER"


@pytest.mark.parametrize(
    "setting",
    [
        "env:OUR_KEY",
        "file:/k.json",
        "vault:transit/x",
        "vault:kv/t/x",
        "aws:alias/a",
        "gcp:a/b",
        "pkcs11:o=a",
    ],
)
@pytest.mark.parametrize("section", ["provider: environment", "provider: file, path: p, passphrase_file: f"])
def test_the_provider_of_commands_replaces_the_section(setting: str, section: str) -> None:
    environ = {"SEALWIRE_KEK_PROVIDER": setting, "VAULT_ADDR": "https://v:8200", "VAULT_TOKEN": "t"}
    config = parse(SHORT.replace("provider: environment", section), environ)
    assert config.kek == parse_provider(setting)


def test_a_passphrase_file_stands_beside_a_key_file() -> None:
    environ = {"SEALWIRE_KEK_PROVIDER": "file:k", "SEALWIRE_KEK_PASSPHRASE_FILE": "/p"}
    config = parse(SHORT, environ)
    assert config.kek == ProviderSettings(ProviderKind.KEY_FILE, str(FOLDER / "k"), Path("/p"))


@pytest.mark.parametrize(
    ("setting", "more"),
    [
        ("vault:transit", {}),
        ("vaults:transit/x", {}),
        ("env:", {}),
        ("vault:transit/x", {"SEALWIRE_KEK_NAME": "y"}),
        ("aws:alias/a", {"SEALWIRE_KEK_PASSPHRASE_FILE": "/p"}),
    ],
)
def test_one_that_is_not_understood_or_says_two_things_is_refused(setting: str, more: dict[str, str]) -> None:
    environ = {"SEALWIRE_KEK_PROVIDER": setting, "VAULT_ADDR": "https://v:8200", "VAULT_TOKEN": "t", **more}
    assert error_of(SHORT, environ).filename in environ


def test_the_file_may_have_the_provider_of_commands_and_nothing_beside_it() -> None:
    text = SHORT.replace("provider: environment", "provider: 'aws:alias/a'")
    assert parse(text).kek == ProviderSettings(ProviderKind.AWS_KMS, "alias/a")
    assert error_of(text.replace("'aws:alias/a'", "'aws:alias/a', name: b")).filename not in KNOWN_VARIABLES


def test_an_override_makes_sections_that_the_file_leaves_out() -> None:
    assert parse(SHORT, {"SEALWIRE_LOG_LEVEL": "error"}).log_level == "error"


def test_an_empty_variable_overrides_nothing() -> None:
    assert parse(SHORT, {"SEALWIRE_LISTEN_ADDRESS": ""}) == parse(SHORT)


def test_a_bad_override_is_named_by_its_variable() -> None:
    error = error_of(SHORT, {"SEALWIRE_LIMITS_CONNECTIONS": "many"})
    assert error.filename == "SEALWIRE_LIMITS_CONNECTIONS"


def test_variables_that_name_no_key_are_reported_and_the_kek_itself_is_none_of_them() -> None:
    environ = {"SEALWIRE_LOG_LEVLE": "debug", "SEALWIRE_KEK": "secret", "SEALWIRE_PORT": "tcp://10.0.0.1"}
    assert parse(SHORT, environ).ignored_variables == ("SEALWIRE_LOG_LEVLE",)


def test_a_misspelt_variable_is_found_anywhere_and_what_was_meant_is_said() -> None:
    meant = {
        "SEALWIRE_WORKER": "SEALWIRE_WORKERS",
        "SEALWIER_WORKERS": "SEALWIRE_WORKERS",
        "sealwire_reveal": "SEALWIRE_REVEAL",
        "SEALWIRE_LOGLEVEL": "SEALWIRE_LOG_LEVEL",
        "SEALWIRE_WHATEVER_THAT_IS_NOTHING": "",
        "SELWIRE_WORKERS": "SEALWIRE_WORKERS",
        "SAELWIRE_LOG_LEVEL": "SEALWIRE_LOG_LEVEL",
        "SAELWIRE_KEK": "SEALWIRE_KEK",
        "SelWire_Log_Levle": "SEALWIRE_LOG_LEVEL",
        "EALWIRE_UPSTREAM_ADRESS": "SEALWIRE_UPSTREAM_ADDRESS",
    }
    found = variable_findings(parse(SHORT, dict.fromkeys(meant, "secret")).ignored_variables)
    assert [finding.fields["variable"] for finding in found] == sorted(meant)
    for finding in found:
        assert meant[str(finding.fields["variable"])] in finding.hint
        assert "secret" not in repr(finding)


def test_the_name_of_a_variable_cannot_write_lines_of_its_own() -> None:
    (found,) = variable_findings(parse(SHORT, {"SEALWIRE_X\nsealwire: ok\x1b[2J": "1"}).ignored_variables)
    assert (found.problem + found.hint).isprintable()


def test_variables_of_kubernetes_of_other_commands_and_of_others_are_nobodys_mistake() -> None:
    environ = {
        "SEALWIRE_SERVICE_HOST": "10.0.0.1",
        "SEALWIRE_ADMIN_SERVICE_PORT_METRICS": "9464",
        "SEALWIRE_PORT_27018_TCP_ADDR": "10.0.0.1",
        "SEALWIRE_ADMIN_PORT": "tcp://10.0.0.1:9464",
        "SEALWIRE_BACKUP_STORE": "/var/backups",
        "SEALED_SECRETS": "1",
        "SEAL": "1",
        "FIREWIRE_WORKERS": "1",
        "SEALION_WORKERS": "1",
        "STEELWIRE_KEK": "1",
        "WIRE_LOG_LEVEL": "1",
        "LOG_LEVEL": "1",
        "SELWIRE_HOME": "1",
        "SELWIRE": "1",
        "SELWIRE_SERVICE_HOST": "10.0.0.1",
        "_": "1",
        "": "1",
    }
    assert parse(SHORT, environ).ignored_variables == ()
    assert parse(SHORT, {"SEALWIRE_ADMIN_PORT": "9464"}).ignored_variables == ("SEALWIRE_ADMIN_PORT",)


def test_of_a_configuration_that_cannot_be_read_what_it_names_is_nobodys_mistake(tmp_path: Path) -> None:
    file = tmp_path / "sealwire.yaml"
    file.write_text("kek: {variable: SEALWIRE_OUR_KEY}\nlisten: [\n")
    environ = {"SEALWIRE_OUR_KEY": "secret", "SELWIRE_WORKERS": "1"}
    assert variables_unread(file, environ) == ("SELWIRE_WORKERS",)
    assert variables_unread(tmp_path / "none", environ) == ("SEALWIRE_OUR_KEY", "SELWIRE_WORKERS")
    assert variables_unread(tmp_path, {}) == ()


def test_the_variable_of_the_key_is_known_under_any_name() -> None:
    source = SHORT.replace("provider: environment", "provider: environment, variable: SEALWIRE_OUR_KEY")
    assert "OUR_KEY" in source
    assert parse(source, {"SEALWIRE_OUR_KEY": "secret"}).ignored_variables == ()


def test_every_variable_that_a_source_names_is_known() -> None:
    rooms = ("audit", "crypto", "keys", "policies", "proxy", "sidecars", "sealwire/cli", "wire")
    sources = [path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py")]
    named = set(re.findall(r"\"(SEALWIRE_[A-Z0-9_]*[A-Z0-9])\"", "\n".join(sources)))
    assert len(named) > 15
    assert named <= KNOWN_VARIABLES
