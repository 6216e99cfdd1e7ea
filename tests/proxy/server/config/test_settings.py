"""Which changes of the configuration wait for a restart."""

import re
import shlex
from dataclasses import fields, replace
from hashlib import sha256
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.files.errors import SourceError
from sealwire.files.yaml_source import Node
from sealwire.keys.providers import ProviderKind, ProviderSettings
from sealwire.keys.vault.settings import vault_settings
from sealwire.proxy.server.config.new_file import Feature, Layout, NewFile, files_named, new_file_text
from sealwire.proxy.server.config.policy_file import (
    MAX_FORMER_POLICIES,
    PolicyFile,
    parse_policy,
    put_first,
    read_policy,
)
from sealwire.proxy.server.config.reader import parse_config
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.seeds import address_of, read_seeds
from sealwire.proxy.server.config.settings import (
    SETTINGS,
    AccessControl,
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
from sealwire.proxy.server.findings import findings
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.session.choices import Reveal
from tests.build_context import ROOT
from tests.proxy.server.harness import POLICY, make_config, with_members
from tests.support.rows import rows

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


# `upstream.uri`: what a connection string says of where servers are, and what a proxy does not take.


def seeds(text: str, *, has_tls: bool = True) -> Seeds:
    return read_seeds(Node("f", 1, 1, text), has_tls=has_tls)


@rows(
    "text, found",
    ("mongodb://a", Seeds((Address("a", 27017),))),
    ("mongodb://a:1,b/?replicaSet=rs0", Seeds((Address("a", 1), Address("b", 27017)), set_name="rs0")),
    ("mongodb://[::1]:5,a/", Seeds((Address("::1", 5), Address("a", 27017)))),
    ("mongodb://a,a:27017/?tls=true", Seeds((Address("a", 27017),))),
    ("mongodb+srv://mongo.example.net", Seeds((), "mongo.example.net")),
    ("mongodb+srv://m.example.net/?srvServiceName=db", Seeds((), "m.example.net", "db")),
    ("mongodb+srv://m.example.net/?srvMaxHosts=2", Seeds((), "m.example.net", srv_most=2)),
    ("mongodb+srv://m.example.net/?replicaSet=r", Seeds((), "m.example.net", set_name="r")),
)
def test_what_a_string_says(text: str, found: Seeds) -> None:
    assert seeds(text) == found
    assert "//" not in str(found) or found.srv_name


@rows(
    "text",
    "a:27017",
    "http://a",
    "mongodb://",
    "mongodb://a:0",
    "mongodb://a b",
    "mongodb://%2Ftmp%2Fmongodb.sock",
    "mongodb://ann:secret@a",
    "mongodb://ann%40clinic:secret@a",
    "mongodb://a/?authSource=admin",
    "mongodb://a/?tlsCAFile=/x",
    "mongodb://a/?directConnection=true",
    "mongodb://a/?loadBalanced=true",
    "mongodb://a/?readPreference=secondary",
    "mongodb://a/?srvMaxHosts=2",
    "mongodb://a/?tls=false",
    "mongodb+srv://a.b.c:27018",
    "mongodb+srv://a.b.c,d.e.f",
    "mongodb+srv://localhost",
    "mongodb+srv://a.b.c/?srvServiceName=_x._y",
    "mongodb+srv://a.b.c/?srvMaxHosts=many",
    "mongodb+srv://a.b.c/?srvMaxHosts=2&replicaSet=r",
    "mongodb://" + ",".join(f"h{number}" for number in range(51)),
)
def test_what_a_proxy_does_not_take_is_an_error_that_does_not_quote_it(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        seeds(text)
    assert "secret" not in str(caught.value) + caught.value.hint


def test_tls_is_said_in_one_place() -> None:
    assert seeds("mongodb://a/?tls=false", has_tls=False).addresses
    assert seeds("mongodb+srv://a.b.c/?tls=false", has_tls=False).srv_name
    for text in ("mongodb://a/?tls=true", "mongodb+srv://a.b.c"):
        with pytest.raises(SourceError):
            seeds(text, has_tls=False)


@rows(
    "text, address",
    ("a", Address("a", 27017)),
    ("a.:5", Address("a", 5)),
    ("[::1]", Address("::1", 27017)),
    ("[::1]:65535", Address("::1", 65535)),
    ("127.0.0.1:1", Address("127.0.0.1", 1)),
    *(
        (text, None)
        for text in ("", ":1", "a:", "a:0", "a:65536", "a:\uff11", "a b:1", "a\n:1", "::1", "a/b")
    ),
)
def test_an_address(text: str, address: Address | None) -> None:
    assert address_of(text) == address


@given(st.text())
def test_whatever_a_server_calls_itself_only_a_name_and_a_number_come_of_it(text: str) -> None:
    address = address_of(text)
    assert address is None or (address.host.isprintable() and 0 < address.port <= 65535)


# The policies that counted before, and the hash that tells one from another.


def version(number: int) -> PolicyFile:
    return parse_policy(POLICY + b"# %d\n" % number, "policy.yaml")


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(POLICY)
    policy = read_policy(file)
    assert policy.sha256 == sha256(POLICY).hexdigest()
    assert policy.sha256.startswith(policy.shown)
    assert len(policy.shown) == 12


def test_what_is_wrong_has_its_place(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(POLICY.replace(b"nhs_number: nhs_number", b"nhs_number: nsh"))
    with pytest.raises(SourceError) as caught:
        read_policy(file)
    assert (caught.value.line, caught.value.column) == (6, 17)


def test_the_newest_comes_first() -> None:
    one, two, three = (version(number) for number in range(3))
    assert put_first(three, put_first(two, (one,))) == (three, two, one)


def test_a_content_that_comes_back_counts_once_and_keeps_its_memory() -> None:
    one, two = version(1), version(2)
    back = put_first(version(1), (two, one))
    assert back == (one, two)
    assert back[0] is one
    assert put_first(version(2), (two, one)) == (two, one)


def test_the_oldest_are_given_up() -> None:
    policies: tuple[PolicyFile, ...] = (version(0),)
    for number in range(1, 2 * MAX_FORMER_POLICIES):
        policies = put_first(version(number), policies)
    assert len(policies) == 1 + MAX_FORMER_POLICIES
    assert policies[-1] == version(2 * MAX_FORMER_POLICIES - 1 - MAX_FORMER_POLICIES)


# A new configuration file passes the reader in every combination, and names only documented keys.


PLACE = Path("/etc/sealwire/sealwire.yaml")
CHOICES = [
    frozenset(some) for some in chain.from_iterable(combinations(Feature, n) for n in range(len(Feature) + 1))
]


def keys_of(value: object, above: tuple[str, ...] = ()) -> set[str]:
    if not isinstance(value, dict):
        return {".".join(above)}
    return set().union(*(keys_of(below, (*above, name)) for name, below in value.items()))


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("features", CHOICES, ids=lambda some: "-".join(sorted(each.value for each in some)))
def test_every_combination_is_read_and_documented(layout: Layout, features: frozenset[Feature]) -> None:
    text = new_file_text(NewFile(layout, features), PLACE)
    config = parse_config(text.encode(), PLACE, {})
    documented = set(
        re.findall(r"^\| `([a-z0-9_.]+)` \|", (ROOT / "docs/configuration.md").read_text(), re.M)
    )
    assert keys_of(yaml.safe_load(text)) - {"members"} <= documented
    assert (config.audit is not None) is bool(features & {Feature.AUDIT, Feature.WATCH})
    assert (config.admin_page.watch is not None) is (Feature.WATCH in features)
    assert (config.frontier_uri_file is not None) is (Feature.MIGRATION in features)
    assert len(config.members) == {Layout.REPLICA_SET: 3, Layout.FOLLOWED: 0}.get(layout, 1)
    assert (config.discovery is not None) is (layout is Layout.FOLLOWED)
    assert all(len(line) <= 110 for line in text.splitlines())


@pytest.mark.parametrize("layout", Layout)
def test_what_stands_in_a_comment_is_a_key_too(layout: Layout) -> None:
    text = new_file_text(NewFile(layout), PLACE)
    named = set(re.findall(r"^ *# +([a-z_]+): ", text, re.M))
    assert named <= {key for name in SETTINGS for key in name.split(".")}


def test_with_roles_somebody_can_be_told_from_anybody() -> None:
    roles = frozenset({Feature.ROLES})
    for layout in Layout:
        config = parse_config(new_file_text(NewFile(layout, roles), PLACE).encode(), PLACE, {})
        assert config.access_control is AccessControl.REQUIRED
        if layout is not Layout.DEMO:
            assert config.listen_tls.require_client_certificate
            assert findings(config) == []


def test_only_what_is_named_has_to_be_made() -> None:
    plain = files_named(NewFile(Layout.DEMO), Path("sealwire.yaml"))
    assert not any(line.startswith(("tls", "audit", "alerts")) for line in plain)
    everything = files_named(NewFile(Layout.STANDALONE, frozenset(Feature)), Path("sealwire.yaml"))
    text = new_file_text(NewFile(Layout.STANDALONE, frozenset(Feature)), PLACE)
    assert all(line.partition(":")[0] in text for line in everything)


def test_what_has_to_be_made_lies_beside_the_configuration() -> None:
    place = Path("/etc/our proxy/sealwire.yaml")
    lines = dict(
        line.split(": ", 1) for line in files_named(NewFile(Layout.STANDALONE, frozenset(Feature)), place)
    )
    of_units = Path("/var/lib/sealwire/keyring.json")
    made = {Path(name) for name in lines if "/" in name}
    assert {path.parent for path in made - {of_units}} == {place.parent}
    assert of_units in made


@pytest.mark.parametrize("layout", Layout)
def test_the_keyring_is_made_where_the_configuration_has_it(layout: Layout) -> None:
    place = Path("/etc/our proxy/sealwire.yaml")
    lines = dict(line.split(": ", 1) for line in files_named(NewFile(layout), place))
    config = parse_config(new_file_text(NewFile(layout), place).encode(), place, {})
    words = shlex.split(lines[str(config.keyring)])
    assert words[3:] == ["--keyring", str(config.keyring), "--policy", str(config.policy)]


def test_an_address_that_is_none_is_an_error() -> None:
    with pytest.raises(SourceError):
        new_file_text(NewFile(Layout.STANDALONE, upstreams=("mongo.example",)), PLACE)
