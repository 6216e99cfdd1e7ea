"""Which changes of the configuration wait for a restart."""

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.keys.providers import ProviderKind, ProviderSettings
from sealwire.keys.vault.settings import vault_settings
from sealwire.proxy.server.config.settings import (
    SETTINGS,
    AccessControl,
    Address,
    CacheSettings,
    Compressed,
    Config,
    Discovery,
    IdentitySettings,
    KeySettings,
    Limits,
    ListenTls,
    PageSettings,
    Seeds,
    TlsMode,
    TraceSettings,
    UpstreamTls,
    changed,
    effective,
)
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.session.choices import Reveal
from tests.build_context import ROOT
from tests.proxy.server.harness import make_config, with_members

OLD = make_config(1)
MEMBER = OLD.members[0]
KEK = ProviderSettings(ProviderKind.ENVIRONMENT, "OTHER")

VAULT = vault_settings({"address": "https://v:1", "auth": "token"}, {"VAULT_TOKEN": "t"})

FOUND = Discovery(Seeds((Address("m", 1),)), "127.0.0.1", "proxy.test", 27018, 27020)

WAITING = {
    "listen.address": replace(OLD, members=(replace(MEMBER, listen=Address("other", 1)),)),
    "listen.advertise": replace(OLD, members=(replace(MEMBER, advertise=Address("other", 1)),)),
    "upstream.address": replace(OLD, members=(replace(MEMBER, upstream=Address("other", 1)),)),
    "members": with_members(OLD, ("a", 1), ("b", 2)),
    "upstream.uri": replace(OLD, discovery=FOUND),
    "keyring": replace(OLD, keyring=Path("other")),
    "kek": replace(OLD, kek=KEK),
    "keys.cache": replace(OLD, keys=replace(OLD.keys, cache=CacheSettings(Path("cache"), KEK))),
    "vault": replace(OLD, vault=VAULT),
    "frontier.uri_file": replace(OLD, frontier_uri_file=Path("other")),
    "listen.load_balanced": replace(OLD, load_balanced=True),
    "admin.address": replace(OLD, admin=Address("other", 1)),
    "admin.tls": replace(OLD, admin_tls=ListenTls(TlsMode.TLS, Path("other"))),
    "admin.page": replace(OLD, admin_page=PageSettings(Path("other"))),
    "audit": replace(OLD, audit=AuditSettings(LogPlace(Path("other")), None, LogPace())),
    "traces": replace(OLD, traces=TraceSettings("http://other:4318")),
    "workers": replace(OLD, workers=7),
}

COUNTING: dict[str, Any] = {
    "listen_tls": ListenTls(TlsMode.TLS, Path("other")),
    "upstream_tls": UpstreamTls(TlsMode.TLS),
    "probe": not OLD.probe,
    "policy": Path("other"),
    "log_level": "error",
    "log_format": LogFormat.JSON,
    "slow_ms": 7.0,
    "limits": Limits(7),
    "access_control": AccessControl.NONE,
    "identities": (IdentitySettings("CN=a", "b"),),
    "reveal": Reveal.EVERYWHERE,
    "keys": KeySettings(7.0, 8.0),
    "listen_compression": Compressed(("zlib",)),
    "upstream_compression": Compressed(("zlib",)),
    "ignored_variables": ("OTHER",),
}


@pytest.mark.parametrize("key", WAITING)
def test_a_key_that_waits_is_named_and_keeps_its_value(key: str) -> None:
    new = WAITING[key]
    assert changed(OLD, new) == [key]
    assert effective(OLD, new) == OLD


@pytest.mark.parametrize("name", COUNTING)
def test_a_key_that_counts_is_not_named(name: str) -> None:
    new = replace(OLD, **{name: COUNTING[name]})
    assert new != OLD
    assert changed(OLD, new) == []
    assert effective(OLD, new) == new


def test_every_field_of_the_configuration_waits_or_counts() -> None:
    waiting = {field.name for field in fields(Config) for new in WAITING.values() if differs(new, field.name)}
    assert waiting | set(COUNTING) == {field.name for field in fields(Config)}


def test_the_table_and_the_documents_name_what_waits() -> None:
    of_members = {"listen.address", "listen.advertise", "upstream.address", "members", "upstream.uri"}
    waiting = WAITING.keys() | {"keys.contexts"}
    assert {row.restart for row in SETTINGS.values()} - {""} == waiting - of_members
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| (.*) \| need a restart", text, re.MULTILINE)
    assert set(re.findall(r"`([a-z_.]+)`", row)) == waiting


def differs(config: Config, name: str) -> bool:
    return bool(getattr(config, name) != getattr(OLD, name))


def test_where_servers_are_followed_it_is_the_range_or_the_seeds_that_wait_and_not_who_was_found() -> None:
    old = replace(OLD, discovery=FOUND)
    assert changed(old, replace(old, members=())) == []
    assert changed(old, replace(old, discovery=replace(FOUND, last_port=27030))) == ["listen.ports"]
    assert changed(old, replace(old, discovery=replace(FOUND, heartbeat_s=7.0))) == ["upstream.heartbeat_s"]
    assert changed(old, replace(old, discovery=replace(FOUND, seeds=Seeds((), "m.test")))) == ["upstream.uri"]
    assert effective(old, replace(old, members=(), discovery=None)).members == old.members
    assert effective(old, replace(old, discovery=None)).discovery == FOUND
