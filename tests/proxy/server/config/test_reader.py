"""The configuration file: what it may say, and where its errors point."""

import re
import ssl
from pathlib import Path

import pytest

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.providers import ProviderKind, ProviderSettings, parse_provider
from sealwire.keys.vault.settings import AuthMethod, AuthSettings, VaultSettings
from sealwire.proxy.server.config.reader import load_config, parse_config, variables_unread
from sealwire.proxy.server.config.rows import Address, Setting
from sealwire.proxy.server.config.settings import (
    KNOWN_VARIABLES,
    SETTINGS,
    AccessControl,
    CacheSettings,
    Config,
    KeySettings,
    Limits,
    ListenTls,
    Member,
    PageSettings,
    TlsMode,
    TraceSettings,
    UpstreamTls,
)
from sealwire.proxy.server.errors import FileProblem, StartReason
from sealwire.proxy.server.findings import variable_findings
from sealwire.proxy.server.observability.audit_settings import AuditSettings, WhenFull
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.session.choices import CommandScope, Reveal
from tests.build_context import ROOT
from tests.proxy.server.config_texts import EVERYWHERE, FOLDER, IN_VAULT, SHORT, VAULT, WHOLE, error_of, parse
from tests.support.reasons import raising
from tests.support.rows import rows


def test_every_key_is_read_and_paths_start_at_the_files_folder() -> None:
    assert parse(WHOLE) == Config(
        members=(
            Member(Address(EVERYWHERE, 27018), Address("proxy.example", 27018), Address("fd00::1", 27017)),
        ),
        listen_tls=ListenTls(
            TlsMode.TLS,
            FOLDER / "tls/proxy.crt",
            FOLDER / "tls/proxy.key",
            FOLDER / "tls/clients.crt",
            require_client_certificate=True,
            minimum=ssl.TLSVersion.TLSv1_3,
        ),
        upstream_tls=UpstreamTls(
            TlsMode.TLS,
            Path("/etc/mongo/ca.crt"),
            FOLDER / "tls/client.crt",
            FOLDER / "tls/client.key",
            "mongo.example",
        ),
        probe=False,
        access_control=AccessControl.NONE,
        reveal=Reveal.EVERYWHERE,
        policy=FOLDER / "policy.yaml",
        keyring=FOLDER / "keyring.json",
        kek=ProviderSettings(ProviderKind.KEY_FILE, "/etc/sealwire/kek.json", FOLDER / "passphrase"),
        keys=KeySettings(
            30.0,
            3600.0,
            CacheSettings(
                FOLDER / "cache.json",
                ProviderSettings(
                    ProviderKind.KEY_FILE, "/etc/sealwire/cache-kek.json", FOLDER / "cache-passphrase"
                ),
                600.0,
            ),
        ),
        admin=Address("127.0.0.1", 9999),
        admin_tls=ListenTls(
            TlsMode.TLS, FOLDER / "tls/admin.crt", FOLDER / "tls/admin.key", FOLDER / "tls/people.crt"
        ),
        admin_page=PageSettings(FOLDER / "admin-token", "sealwire.clinic.example", FOLDER / "alerts.yaml"),
        log_level="debug",
        log_format=LogFormat.JSON,
        slow_ms=250,
        traces=TraceSettings("http://collector:4318/v1/traces"),
        limits=Limits(10, 1.0, 2.5, 3.0, 500, 70_000, 50, 40),
        audit=AuditSettings(
            LogPlace(FOLDER / "audit.jsonl", Path("/mnt/worm/clinic.checkpoints")),
            FOLDER / "audit.key",
            LogPace(500, 10.0, 1 << 20),
        ),
        frontier_uri_file=FOLDER / "frontier.uri",
    )


def test_what_is_left_out_has_its_default() -> None:
    config = parse(SHORT)
    assert config.members == (
        Member(Address("127.0.0.1", 27018), Address("127.0.0.1", 27018), Address("mongo", 27017)),
    )
    assert config.kek == ProviderSettings(ProviderKind.ENVIRONMENT, "SEALWIRE_KEK")
    assert (config.admin, config.limits) == (Address("127.0.0.1", 9464), Limits())
    assert (config.log_level, config.log_format, config.audit) == ("info", LogFormat.TEXT, None)
    assert config.probe
    assert (config.access_control, config.reveal) == (AccessControl.REQUIRED, Reveal.PROTECTED)
    assert config.workers == 1
    assert (config.keys, config.vault) == (KeySettings(60.0, None, None), None)
    assert config.frontier_uri_file is None
    assert (config.admin_tls, config.admin_page) == (ListenTls(TlsMode.PLAINTEXT), PageSettings())


def test_keys_and_keyring_may_lie_in_vault() -> None:
    config = parse(
        VAULT
        + "keyring: vault:secret/sealwire/keyring\nkek: {provider: vault, name: clinic, mount: kv/transit}",
    )
    assert config.keyring == VaultDocument("secret", "sealwire/keyring")
    assert config.kek == ProviderSettings(ProviderKind.VAULT_TRANSIT, "kv/transit/clinic")
    assert config.keys.max_age_s == 86_400
    assert config.vault == VaultSettings(
        "https://vault.example:8200",
        AuthSettings(AuthMethod.APPROLE, "approle", "role", FOLDER / "secret-id", wrapped=True),
        namespace="clinic",
        ca=FOLDER / "ca.crt",
        timeout_s=2.0,
    )


def test_keys_of_contexts_may_lie_in_vault_while_all_else_is_here() -> None:
    section = "vault: {address: 'https://v', auth: approle, role_id: r, secret_id_file: s}\n"
    config = parse(f"{SHORT}\n{section}keys: {{contexts: 'vault:secret/clinic/contexts'}}")
    assert config.keys == KeySettings(max_age_s=86_400, contexts=VaultDocument("secret", "clinic/contexts"))
    assert config.vault is not None
    assert config.vault.address == "https://v"
    config = parse(f"{SHORT}\n{section}keys: {{contexts: contexts.db}}")
    assert config.keys == KeySettings(contexts=FOLDER / "contexts.db")
    assert config.vault is None
    there = f"{SHORT}\n{section}keys: {{contexts: 'vault:secret/contexts', max_age_s: 5}}"
    assert parse(there).keys.max_age_s == 5
    error = error_of(f"{SHORT}\n{section}keys: {{contexts: 'vault:contexts'}}")
    assert "vault:MOUNT/PATH" in error.hint


@rows(
    "provider, name, kind",
    ("aws", "alias/clinic", ProviderKind.AWS_KMS),
    ("azure", "https://clinic.vault.azure.net/keys/k", ProviderKind.AZURE),
    ("gcp", "projects/p/locations/l/keyRings/r/cryptoKeys/k", ProviderKind.GCP_KMS),
    ("pkcs11", "token=a;object=b?module-path=/c", ProviderKind.PKCS11),
)
def test_the_kek_may_lie_with_a_service_and_then_keys_have_an_age_and_need_no_vault(
    provider: str, name: str, kind: ProviderKind
) -> None:
    config = parse(SHORT.replace("{provider: environment}", f"{{provider: {provider}, name: '{name}'}}"))
    assert config.kek == ProviderSettings(kind, name)
    assert (config.keys.max_age_s, config.vault) == (86_400, None)


def test_vaults_own_variables_fill_in_what_the_section_leaves_open() -> None:
    text = SHORT.replace("kek: {provider: environment}", "kek: {provider: vault, name: clinic}")
    environ = {"VAULT_ADDR": "https://v:8200", "VAULT_NAMESPACE": "ns", "VAULT_CACERT": "/ca.crt"}
    vault = parse(text, environ).vault
    assert vault is not None
    assert (vault.address, vault.namespace, vault.ca) == ("https://v:8200", "ns", Path("/ca.crt"))
    assert error_of(text).line == text.splitlines().index("kek: {provider: vault, name: clinic}") + 1


@rows(
    "section, line",
    ("vault: {address: 'ftp://v', auth: token}", 1),
    ("vault: {address: 'http://vault.example:8200'}", 1),
    ("vault: {address: 'https://u:p@vault.example'}", 1),
    ("vault: {address: 'https://v', auth: ldap}", 1),
    ("vault: {address: 'https://v', auth: approle, role_id: r}", 1),
    ("vault: {address: 'https://v', token: x}", 1),
    ("keys: {cache: {path: c, kek: 'vault:transit/k'}}", 1),
    ("keys: {cache: {path: c, kek: '?'}}", 1),
    ("keys: {cache: {path: c, kek: 'aws:alias/a'}}", 1),
    ("keys: {cache: {path: c}}", 1),
    ("frontier: {}", 1),
    ("frontier: {uri: 'mongodb://a'}", 1),
    ("keys: {max_age_s: 0}", 1),
)
def test_what_makes_no_sense_for_keys_is_refused(section: str, line: int) -> None:
    text = SHORT.replace("kek: {provider: environment}", "kek: {provider: vault, name: clinic}")
    text = text if section.startswith("vault") else text + "vault: {address: 'https://v'}\n"
    assert error_of(f"{section}\n{text}").line == line


@rows(
    "old, new, in_hint",
    (
        'listen: {address: "127.0.0.1:27018", tls: {mode: plaintext}}',
        'listen: @{address: "a:1"}',
        "plaintext",
    ),
    ("tls: {mode: plaintext}}\nup", "tls: @{}}\nup", "certificate"),
    ("mode: plaintext}}\nup", "mode: @plain}}\nup", "plaintext"),
    ("mode: plaintext}}\nup", "mode: plaintext, key: @k}}\nup", "remove"),
    ("mode: plaintext}}\nup", "@mod: plaintext}}\nup", "mode"),
    ("tls: {mode: plaintext}}\npo", "tls: {key: @k}}\npo", "certificate"),
    ("policy: p", "@polcy: p", "policy"),
    ("listen:", "@listen:", "policy"),
    ('"127.0.0.1:27018"', '@"0.0.0.0:27018"', "advertise"),
    ('"127.0.0.1:27018"', '@"127.0.0.1"', "host:port"),
    ('"127.0.0.1:27018"', '@"127.0.0.1:99999"', "host:port"),
    ('"127.0.0.1:27018"', '@"127.0.0.1:"', "host:port"),
    ('"127.0.0.1:27018"', '@":27018"', "host:port"),
    ('"127.0.0.1:27018"', '@"::1:27018"', "["),
    ("provider: environment", "provider: @enviroment", "environment"),
    ("{provider: environment", "@{provider: file", "key file"),
    ("provider: environment", "provider: environment, path: @x", "remove"),
    ("provider: environment", "provider: file, path: x, variable: @y", "remove"),
    ("provider: environment", "provider: aws, name: a, mount: @m", "remove"),
    ("{provider: environment", "@{provider: aws", "cloud"),
    ("{provider: environment", "@{provider: azure", "cloud"),
    ("kek:", "limits: {connections: @0}\nkek:", ""),
    ("kek:", "limits: {drain_s: @soon}\nkek:", ""),
    ("kek:", "log: {level: @loud}\nkek:", ""),
    ("kek:", "workers: @0\nkek:", ""),
    ("kek:", "workers: @65\nkek:", ""),
    ("kek:", "log: {slow_ms: @-1}\nkek:", ""),
    ("kek:", 'traces: {endpoint: @"collector:4318"}\nkek:', "OTEL_EXPORTER_OTLP_HEADERS"),
    ("kek:", "traces: @{}\nkek:", ""),
)
def test_errors_point_at_the_line_and_column(old: str, new: str, in_hint: str) -> None:
    """`@` in the replacement stands where the error must point."""
    assert SHORT.count(old) == 1
    text = SHORT.replace(old, new)
    if old == "listen:":
        text = text.replace("policy: policy.yaml\n", "")
    before = text[: text.index("@")]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    error = error_of(text.replace("@", ""))
    assert (error.filename, error.line, error.column) == ("/etc/sealwire/sealwire.yaml", line, column)
    assert in_hint in error.hint


def test_a_secret_id_for_one_log_in_cannot_serve_several_workers() -> None:
    text = re.sub(r"^kek: .*\n", "", WHOLE, flags=re.MULTILINE) + IN_VAULT.replace("AUTH", "approle")
    assert parse(text + "workers: 2\n").workers == 2
    wrapped = text.replace("role_id: i", "role_id: i, secret_id_wrapped: true")
    assert parse(wrapped + "workers: 1\n").workers == 1
    assert "token-file" in error_of(wrapped + "workers: 2\n").hint


@rows(
    "old, new, place",
    ("access_control: none", "access_control: off", (13, 19)),
    ("access_control: none", "access_control: null", (13, 19)),
    ("access_control: none", "access_control: nobody", (13, 19)),
    ("reveal: everywhere", "reveal: all", (36, 9)),
    ("reveal: everywhere", "reveal: true", (36, 9)),
)
def test_what_opens_doors_has_to_be_written_word_for_word(old: str, new: str, place: tuple[int, int]) -> None:
    error = error_of(WHOLE.replace(old, new))
    assert (error.line, error.column) == place


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with raising(FileProblem, StartReason.FILE_MISSING):
        load_config(tmp_path / "sealwire.yaml", {})


@rows("leftover", "checkpoints: other", "checkpoint_lines: 10", "checkpoint_s: 5", ids=lambda text: text[:-3])
def test_checkpoints_need_a_key(leftover: str) -> None:
    error = error_of(f"{SHORT}audit:\n  path: audit.jsonl\n  {leftover}\n")
    assert (error.line, "without `key`" in str(error)) == (8, True)


def test_an_audit_log_needs_a_path() -> None:
    assert error_of(f"{SHORT}audit: {{key: audit.key}}\n").line == 6


def test_an_audit_log_says_which_commands_and_by_what_key_persons_are_named() -> None:
    audit = parse(f"{SHORT}audit: {{path: a, commands: writes, subjects_key: s.key}}\n").audit
    assert audit is not None
    assert (audit.commands, audit.subjects_key) == (CommandScope.WRITES, FOLDER / "s.key")
    assert error_of(f"{SHORT}audit:\n  path: a\n  commands: reads\n").line == 8


def test_an_audit_log_says_what_becomes_of_clients_when_it_is_full_and_where_copies_go() -> None:
    section = "audit: {path: a, when_full: block, copies: [stdout, 'syslog:udp:log.example:514']}"
    audit = parse(f"{SHORT}{section}\n").audit
    assert audit is not None
    assert audit.when_full is WhenFull.BLOCK
    assert audit.copies == ("stdout", "syslog:udp:log.example:514")
    assert error_of(f"{SHORT}audit:\n  path: a\n  when_full: drop\n").line == 8
    error = error_of(f"{SHORT}audit:\n  path: a\n  copies:\n  - syslog:udp:log.example\n")
    assert (error.line, "syslog:udp:HOST:PORT" in error.hint) == (9, True)


def test_an_audit_log_without_a_key_has_defaults() -> None:
    audit = parse(f"{SHORT}audit: {{path: audit.jsonl}}\n").audit
    assert audit == AuditSettings(LogPlace(FOLDER / "audit.jsonl"), None, LogPace())


OVERRIDABLE = [row for row in SETTINGS.values() if row.has_variable]


def test_the_reference_names_every_key_and_its_variable() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    documented = dict(
        re.findall(r"^\| `([a-z0-9_.]+)` \|.*\| `(SEALWIRE_[A-Z0-9_]+)` \|$", text, re.MULTILINE)
    )
    assert documented == {row.name: row.variable for row in OVERRIDABLE}


def test_the_example_is_valid_and_shows_every_section() -> None:
    file = ROOT / "deploy" / "sealwire.example.yaml"
    source = file.read_bytes()
    assert parse_config(source, file, {}).members
    for name in SETTINGS:
        assert name.rpartition(".")[2].encode() in source


VALUES = {True: "changed", False: "77"}

SPECIAL = {
    "listen.load_balanced": "true",
    "upstream.probe": "true",
    "vault.secret_id_wrapped": "true",
    "listen.address": "127.0.0.1:7",
    "listen.advertise": "other:7",
    "listen.tls.minimum": "1.2",
    "listen.tls.require_client_certificate": "false",
    "listen.compression": "zlib",
    "upstream.compression": "zlib",
    "upstream.address": "other:7",
    "upstream.tls.minimum": "1.3",
    "upstream.access_control": "required",
    "reveal": "protected",
    "admin.address": "other:7",
    "admin.page.name": "other.example",
    "workers": "3",
    "audit.file_bytes": "65536",
    "limits.question_bytes": "65536",
    "audit.commands": "writes",
    "audit.when_full": "block",
    "log.level": "error",
    "log.format": "text",
    "traces.endpoint": "https://other:4318",
    "keys.cache.kek": "env:OTHER",
    "vault.address": "https://other:8200",
}


# These make sense only together with others.
MODES = (
    "listen.tls.mode",
    "upstream.tls.mode",
    "kek.provider",
    "kek.variable",
    "vault.auth",
    "listen.zlib_level",
    "upstream.zlib_level",
    "listen.ports",
    "listen.ports_file",
    "upstream.uri",
    "upstream.heartbeat_s",
)

AUTHS = {"token_file": "token-file", "role": "kubernetes", "jwt_file": "kubernetes"}


def whole_for(name: str) -> str:
    if name.startswith("vault.") or name in ("kek.name", "kek.mount"):
        in_vault = IN_VAULT.replace("AUTH", AUTHS.get(name.rpartition(".")[2], "approle"))
        return re.sub(r"^kek: .*\n", "", WHOLE, flags=re.MULTILINE) + in_vault
    return WHOLE


@pytest.mark.parametrize(
    "setting", [row for row in OVERRIDABLE if row.name not in MODES], ids=lambda row: row.name
)
def test_the_environment_overrides_every_key(setting: Setting) -> None:
    whole = whole_for(setting.name)
    changed = parse(whole, {setting.variable: SPECIAL.get(setting.name, VALUES[setting.value.is_text])})
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


@rows(
    "setting",
    "env:OUR_KEY",
    "file:/k.json",
    "vault:transit/x",
    "vault:kv/t/x",
    "aws:alias/a",
    "gcp:a/b",
    "pkcs11:o=a",
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


@rows(
    "setting, more",
    ("vault:transit", {}),
    ("vaults:transit/x", {}),
    ("env:", {}),
    ("vault:transit/x", {"SEALWIRE_KEK_NAME": "y"}),
    ("aws:alias/a", {"SEALWIRE_KEK_PASSPHRASE_FILE": "/p"}),
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
