"""The keys of a proxy that finds its servers by itself."""

import ssl
import sys

import pytest

from sealwire.files.errors import SourceError
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.rows import Address as Place
from sealwire.proxy.server.config.sections import compressors
from sealwire.proxy.server.config.settings import (
    Compressed,
    Discovery,
    IdentitySettings,
    ListenTls,
    Member,
    PageSettings,
    Seeds,
    TlsMode,
    UpstreamTls,
)
from sealwire.proxy.session.choices import Holder, ScramHash
from tests.proxy.server.config_texts import EVERYWHERE, FOLDER, SET, SHORT, WHOLE, error_of, parse
from tests.support.rows import rows

FOLLOWED = """\
listen: {address: "0.0.0.0", ports: "27018-27020", advertise: proxy.example, tls: {mode: plaintext}}
upstream: {uri: "mongodb://a,b/?replicaSet=rs0", tls: {mode: plaintext}}
policy: policy.yaml
keyring: keyring.json
kek: {provider: environment}
"""


def test_a_range_and_where_to_look() -> None:
    config = parse(FOLLOWED)
    wanted = Seeds((Place("a", 27017), Place("b", 27017)), set_name="rs0")
    assert config.discovery == Discovery(wanted, EVERYWHERE, "proxy.example", 27018, 27020)
    assert (config.members, list(config.discovery.ports)) == ((), [27018, 27019, 27020])


def test_domains_of_members_are_names_in_lower_case() -> None:
    text = FOLLOWED.replace("upstream: {", 'upstream: {domains: [Example.ORG, "10.0.0.7", "[::1]"], ')
    discovery = parse(text).discovery
    assert discovery is not None
    assert discovery.domains == ("example.org", "10.0.0.7", "::1")


def test_where_ports_are_written_down_starts_at_the_files_folder() -> None:
    text = FOLLOWED.replace("ports:", "ports_file: ports.json, ports:")
    discovery = parse(text).discovery
    assert discovery is not None
    assert discovery.ports_file == FOLDER / "ports.json"


def test_the_host_that_clients_are_told_is_that_of_the_listeners_unless_it_is_said() -> None:
    text = FOLLOWED.replace('"0.0.0.0"', '"[::1]"').replace("advertise: proxy.example, ", "")
    discovery = parse(text).discovery
    assert discovery is not None
    assert (discovery.listen, discovery.advertise) == ("::1", "::1")


def test_a_variable_gives_another_range_and_other_seeds() -> None:
    discovery = parse(
        FOLLOWED, {"SEALWIRE_LISTEN_PORTS": "5-6", "SEALWIRE_UPSTREAM_URI": "mongodb://c"}
    ).discovery
    assert discovery is not None
    assert (list(discovery.ports), discovery.seeds) == ([5, 6], Seeds((Place("c", 27017),)))


@rows(
    "old, new",
    ("27018-27020", "27018"),
    ("27018-27020", "27020-27018"),
    ("27018-27020", "0-3"),
    ("27018-27020", "65530-65536"),
    ("27018-27020", "1-65"),
    ('"0.0.0.0"', '"0.0.0.0:27018"'),
    ("proxy.example", '"proxy.example:27018"'),
    ("advertise: proxy.example, ", ""),
    ('ports: "27018-27020", ', ""),
    ("uri:", "probe: false, uri:"),
    ("uri:", "domains: [example.org:27017], uri:"),
    ("uri:", 'domains: ["."], uri:'),
    ("uri:", 'domains: ["::"], uri:'),
    ("uri:", "domains: example.org, uri:"),
    ("uri:", 'address: "a:1", uri:'),
    ("uri:", "heartbeat_s: 0, uri:"),
    ("policy:", "members: []\npolicy:"),
)
def test_what_does_not_go_together_is_an_error(old: str, new: str) -> None:
    assert old in FOLLOWED
    assert error_of(FOLLOWED.replace(old, new, 1)).problem


def test_a_range_needs_servers_that_are_followed() -> None:
    text = FOLLOWED.replace('uri: "mongodb://a,b/?replicaSet=rs0"', 'address: "a:1"')
    assert error_of(text).problem


def with_keys(listen: str = "", upstream: str = "") -> str:
    text = SHORT.replace("listen: {", f"listen: {{{listen}{', ' if listen else ''}")
    return text.replace("upstream: {", f"upstream: {{{upstream}{', ' if upstream else ''}")


def test_nothing_is_compressed_unless_it_is_written_out() -> None:
    config = parse(SHORT)
    assert config.listen_compression == config.upstream_compression == Compressed()
    assert not config.listen_compression.names
    assert not config.load_balanced


def test_each_side_has_its_own() -> None:
    config = parse(with_keys("compression: 'zstd, zlib', zlib_level: 6", "compression: snappy"))
    assert config.listen_compression == Compressed(("zstd", "zlib"), 6)
    assert config.upstream_compression == Compressed(("snappy",))
    assert [each.name for each in compressors(config.listen_compression)] == ["zstd", "zlib"]
    assert parse(with_keys("compression: none")).listen_compression == Compressed()


def test_variables_name_both() -> None:
    environ = {"SEALWIRE_LISTEN_COMPRESSION": "snappy,zlib", "SEALWIRE_LISTEN_ZLIB_LEVEL": "9"}
    config = parse(SHORT, environ)
    assert config.listen_compression == Compressed(("snappy", "zlib"), 9)
    assert parse(SHORT, {"SEALWIRE_LISTEN_LOAD_BALANCED": "true"}).load_balanced


@rows(
    "listen, in_hint",
    ("compression: lz4", "zstd"),
    ("compression: 'zlib,'", "commas"),
    ("compression: 'zlib,zlib'", "once"),
    ("compression: zlib, zlib_level: 0", "1"),
    ("compression: zlib, zlib_level: 10", "9"),
    ("compression: zstd, zlib_level: 6", "zlib"),
    ("zlib_level: 6", "zlib"),
)
def test_what_means_nothing_is_refused(listen: str, in_hint: str) -> None:
    error = error_of(with_keys(listen))
    assert in_hint in f"{error} {error.hint}"


@pytest.mark.parametrize(("name", "module"), [("snappy", "cramjam"), ("zstd", "backports")])
def test_a_library_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    if name == "zstd" and sys.version_info >= (3, 14):
        pytest.skip("Python has it")
    monkeypatch.setitem(sys.modules, module, None)
    assert "requirements/image.txt" in error_of(with_keys(upstream=f"compression: {name}")).hint


def test_no_load_balancer_stands_before_a_set() -> None:
    members = "members: [{listen: 'a:1', upstream: 'b:2'}, {listen: 'a:3', upstream: 'b:4'}]"
    sections = "listen: {tls: {mode: plaintext}, load_balanced: true}\nupstream: {tls: {mode: plaintext}}"
    rest = "policy: p\nkeyring: k\nkek: {provider: environment}"
    assert "mongos" in error_of(f"{sections}\n{rest}\n{members}\n").hint


TLS = "tls: {certificate: admin.crt, client_ca: people.crt}"


def admin(section: str) -> str:
    return f"{SHORT}\nadmin: {section}\n"


def test_a_token_on_this_machine_needs_no_tls() -> None:
    config = parse(admin("{address: '[::1]:9464', page: {token_file: token}}"))
    assert config.admin_tls == ListenTls(TlsMode.PLAINTEXT)
    assert config.admin_page == PageSettings(FOLDER / "token")


def test_a_certificate_and_a_name_are_read() -> None:
    config = parse(admin(f"{{address: '0.0.0.0:9464', {TLS}, page: {{name: Sealwire.Clinic.example}}}}"))
    assert config.admin_tls == ListenTls(TlsMode.TLS, FOLDER / "admin.crt", None, FOLDER / "people.crt")
    assert config.admin_page == PageSettings(None, "sealwire.clinic.example")


@rows(
    "section, in_hint",
    ("{address: '0.0.0.0:9464', page: {token_file: token}}", "admin.tls"),
    ("{address: 'admin.example:9464', page: {token_file: token}}", "admin.tls"),
    ("{page: {name: sealwire.example}}", "remove"),
    ("{page: {watch: alerts.yaml}}", "remove"),
    ("{page: {token: secret}}", "token_file"),
    ("{page: {token_file: token, name: 'sealwire.example:9464'}}", "without a port"),
    ("{page: {token_file: token, name: 'a b'}}", "without a port"),
    ("{page: {token_file: token, name: '-a'}}", "without a port"),
    ("{tls: {key: admin.key}}", "certificate"),
    ("{tls: {mode: plaintext, certificate: a}}", "known keys"),
)
def test_what_lets_anybody_in_or_nobody_is_refused(section: str, in_hint: str) -> None:
    assert in_hint in error_of(admin(section)).hint


LISTEN = "{certificate: proxy.crt, client_ca: clients.crt}"


def text(identities: str, listen: str = LISTEN, upstream: str = "{ca: ca.crt}") -> str:
    return (
        SHORT.replace("tls: {mode: plaintext}}\nupstream", f"tls: {listen}}}\nupstream")
        .replace('"mongo:27017", tls: {mode: plaintext}', f'"mongo:27017", tls: {upstream}')
        .replace("}\npolicy", f", identities: {identities}}}\npolicy")
    )


def test_users_and_certificates_are_read_and_paths_start_at_the_files_folder() -> None:
    config = parse(
        text(
            "[{subject: 'CN=ward-3,O=Clinic', user: app, password_file: app.password}, "
            "{subject: 'CN=ward-4', user: other, database: users, mechanism: SCRAM-SHA-1, "
            "password_variable: OTHER_PASSWORD}, {subject: 'CN=ward-5', certificate: app.crt, key: app.key}]"
        )
    )
    assert config.identities == (
        IdentitySettings("CN=ward-3,O=Clinic", "app", "admin", password_file=FOLDER / "app.password"),
        IdentitySettings("CN=ward-4", "other", "users", ScramHash.SHA_1, None, "OTHER_PASSWORD"),
        IdentitySettings("CN=ward-5", certificate=FOLDER / "app.crt", key=FOLDER / "app.key"),
    )


def test_a_password_in_a_variable_is_no_misspelt_setting() -> None:
    source = text("[{subject: 'CN=a', user: b, password_variable: SEALWIRE_APP_PASSWORD}]")
    environ = {"SEALWIRE_APP_PASSWORD": "x", "SEALWIRE_AP_PASSWORD": "x"}
    assert parse(source, environ).ignored_variables == ("SEALWIRE_AP_PASSWORD",)


@rows(
    "written, subject",
    ("emailAddress=a@b,CN=c", "1.2.840.113549.1.9.1=a@b,CN=c"),
    ("1.2.840.113549.1.9.1=a@b,CN=c", "1.2.840.113549.1.9.1=a@b,CN=c"),
    ("CN=a\\\\,b", "CN=a\\,b"),
)
def test_a_subject_has_one_spelling_within(written: str, subject: str) -> None:
    source = text(f'[{{subject: "{written}", user: a, password_file: b}}]')
    assert parse(source).identities[0].subject == subject


def test_the_same_subject_may_have_an_identity_for_each_authority() -> None:
    where = "user: b, password_file: c"
    first, second = "issuer: 'emailAddress=a@b,CN=x'", "issuer: 'CN=y'"
    source = text(f"[{{subject: 'CN=a', {first}, {where}}}, {{subject: 'CN=a', {second}, {where}}}]")
    assert [each.holder for each in parse(source).identities] == [
        Holder("CN=a", "1.2.840.113549.1.9.1=a@b,CN=x"),
        Holder("CN=a", "CN=y"),
    ]


@rows(
    "identities",
    "[{subject: 'CN=a'}]",
    "[{subject: 'CN=a', user: b}]",
    "[{subject: 'CN=a', user: b, password_file: c, password_variable: D}]",
    "[{subject: 'CN=a', user: b, password_file: c, certificate: d}]",
    "[{subject: 'CN=a', user: b, password_file: c, key: d}]",
    "[{subject: 'CN=a', user: b, password_file: c, mechanism: PLAIN}]",
    "[{subject: 'CN=a', certificate: d, password_file: c}]",
    "[{subject: 'CN=a', certificate: d, database: c}]",
    "[{subject: 'ward-3', user: b, password_file: c}]",
    "[{subject: 'CN=ward-3,2.5.4.45=#0001', user: b, password_file: c}]",
    "[{subject: '', user: b, password_file: c}]",
    "[{user: b, password_file: c}]",
    "[{subject: 'CN=a', issuer: '', user: b, password_file: c}]",
    "[{subject: 'CN=a', issuer: 'Clinic CA', user: b, password_file: c}]",
    "[{subject: 'CN=a', issuer: 'CN=x', user: b, password_file: c}, "
    "{subject: 'CN=a', issuer: 'CN=x', user: d, password_file: c}]",
    "[{subject: 'CN=a', user: b, password_file: c}, {subject: 'CN=a', user: d, password_file: c}]",
)
def test_what_says_nothing_or_two_things_is_refused(identities: str) -> None:
    with pytest.raises(SourceError):
        parse(text(identities))


def test_certificates_have_to_be_verified_and_can_be_shown_with_tls_only() -> None:
    user = "[{subject: 'CN=a', user: b, password_file: c}]"
    with pytest.raises(SourceError):
        parse(text(user, listen="{certificate: proxy.crt}"))
    plain = "{mode: plaintext}"
    assert parse(text(user, upstream=plain)).identities
    with pytest.raises(SourceError):
        parse(text("[{subject: 'CN=a', certificate: b}]", upstream=plain))


def test_a_replica_set_has_a_listener_for_each_member_and_shares_the_rest() -> None:
    config = parse(SET)
    assert config.members == (
        Member(Address("127.0.0.1", 27018), Address("127.0.0.1", 27018), Address("a", 27017)),
        Member(Address(EVERYWHERE, 27019), Address("proxy", 27019), Address("b", 27017)),
    )
    assert config.upstream_tls == UpstreamTls(TlsMode.TLS)


@rows(
    "old, new",
    ('"b:27017"', '"a:27017"'),
    ('"proxy:27019"', '"127.0.0.1:27018"'),
    (', advertise: "proxy:27019"', ""),
    ("listen: {tls", 'listen: {address: "x:1", tls'),
    ("upstream: {tls", 'upstream: {address: "x:1", tls'),
)
def test_members_that_cannot_be_told_apart_or_reached_are_refused(old: str, new: str) -> None:
    assert old in SET
    assert error_of(SET.replace(old, new)).line in (1, 2, 5)


def test_an_empty_list_of_members_is_refused() -> None:
    lines = [line for line in SET.splitlines() if not line.startswith("  -")]
    assert error_of("\n".join(lines).replace("members:", "members: []")).line == 3


def test_addresses_are_written_as_mongodb_writes_them() -> None:
    assert (str(Address("::1", 1)), str(Address("a", 2))) == ("[::1]:1", "a:2")


@rows("address", "127.0.0.1", "::1:27018", "127.0.0.1:", ":27018", "127.0.0.1:65536", "127.0.0.1:\u0661")
def test_an_address_has_a_host_and_a_port(address: str) -> None:
    assert SHORT.count("127.0.0.1:27018") == 1
    assert error_of(SHORT.replace("127.0.0.1:27018", address)).line == 1


def test_one_server_has_one_listener_and_servers_that_are_found_have_none_yet() -> None:
    assert parse(SHORT.replace("127.0.0.1:27018", "[::1]:27018")).members == (
        Member(Address("::1", 27018), Address("::1", 27018), Address("mongo", 27017)),
    )
    found = SHORT.replace('address: "mongo:27017"', 'uri: "mongodb://mongo"')
    assert parse(found.replace('"127.0.0.1:27018"', "127.0.0.1, ports: 27018-27020")).members == ()


def test_tls_cannot_be_left_out_on_the_way_to_the_server() -> None:
    error = error_of(SHORT.replace('27017", tls: {mode: plaintext}', '27017"'))
    assert (error.line, error.column) == (2, 11)


def test_client_certificates_cannot_be_required_without_their_authority() -> None:
    error = error_of(WHOLE.replace("    client_ca: tls/clients.crt\n", ""))
    assert error.line == 7


@rows(
    "side, tls",
    ("listen", "{mode: plaintext, certificate: a.crt}"),
    ("listen", "{key: a.key}"),
    ("upstream", "{mode: plaintext, server_name: db}"),
    ("upstream", "{key: a.key}"),
    ("upstream", "{minimum: '1.1'}"),
)
def test_what_makes_no_sense_together_is_refused(side: str, tls: str) -> None:
    line = {"listen": 1, "upstream": 2}[side]
    lines = SHORT.splitlines()
    assert lines[line - 1].count("{mode: plaintext}") == 1
    lines[line - 1] = lines[line - 1].replace("{mode: plaintext}", tls)
    assert error_of("\n".join(lines)).line == line


def test_each_file_is_found_beside_the_configuration_and_the_oldest_version_is_said() -> None:
    lines = SHORT.splitlines()
    ours = "{certificate: a.crt, key: a.key, client_ca: c.crt, minimum: '1.3'}"
    lines[0] = lines[0].replace("{mode: plaintext}", ours)
    lines[1] = lines[1].replace("{mode: plaintext}", "{ca: ca.crt, server_name: db}")
    config = parse("\n".join(lines))
    assert config.listen_tls == ListenTls(
        TlsMode.TLS, FOLDER / "a.crt", FOLDER / "a.key", FOLDER / "c.crt", minimum=ssl.TLSVersion.TLSv1_3
    )
    assert config.upstream_tls == UpstreamTls(TlsMode.TLS, FOLDER / "ca.crt", server_name="db")
    assert config.upstream_tls.minimum is ssl.TLSVersion.TLSv1_2


# Everything that is wrong with a configuration is told in one run, and one mistake is one complaint.


MISTAKEN = """\
listen:
  address: nowhere # wrong
  advertise: "::1" # wrong
  colour: red # wrong
  tls:
    certificate: [] # wrong
    kee: 5 # wrong wrong
    minimum: 2 # wrong
    require_client_certificate: true # wrong
    colour: 1 # wrong
upstream:
  address: "mongo:27017"
  probe: maybe # wrong
  access_control: non # wrong
  tls: {mode: plaintext, ca: ca.crt, key: k, colour: 1} # wrong wrong wrong
  compression: gzip # wrong
policy: "" # wrong
keyring: [keyring.json] # wrong
kek: {provider: enviroment} # wrong
keys:
  refresh_s: 0 # wrong
  max_age_s: x # wrong
  contexts: "vault:" # wrong
  cache: {path: c} # wrong
  other: 1 # wrong
frontier: {uri_fil: x} # wrong
admin:
  address: 9464 # wrong
  tls: {key: admin.key} # wrong
  page: {name: a b} # none: whether a certificate counts is not known
log: {level: loud, format: yaml, slow_ms: -1} # wrong wrong wrong
limits: {connections: many, drain_s: "1", connexions: 5, wait: 1} # wrong wrong wrong wrong
audit:
  pat: a.jsonl # wrong
  commands: some # wrong
  file_bytes: 1 # wrong
  checkpoint_s: 5 # wrong
  when_full: x # wrong
  copies: 1 # wrong
workers: 0 # wrong
reveal: nothing # wrong
traces: {endpoint: ftp://x} # wrong
extra: 1 # wrong
more: 1 # wrong
"""


def test_every_mistake_is_told_in_the_order_of_the_file() -> None:
    error = error_of(MISTAKEN)
    told = (error, *error.others)
    wrong = [n for n, line in enumerate(MISTAKEN.splitlines(), 1) for _ in range(line.count("wrong"))]
    assert [each.line for each in told] == wrong
    assert all(each.hint for each in told)


@rows(
    "right, mistake",
    ("listen:", "lisen:"),
    ("upstream:", "upstraem:"),
    ("kek: {provider", "keke: {provider"),
    ("admin:", "admni:"),
    ("  address: 0.0.0.0:27018", "  adress: 0.0.0.0:27018"),
    ("  address: 0.0.0.0:27018", "  address: 0.0.0.0"),
    ("  advertise: proxy.example:27018", "  advertise: proxy.example"),
    ("  tls:\n    certificate: tls/proxy", "  tsl:\n    certificate: tls/proxy"),
    ("    certificate: tls/proxy", "    certificat: tls/proxy"),
    ('minimum: "1.3"', "minimum: 1.3"),
    ("probe: false", "probe: no-"),
    ("provider: file", "provider: fil"),
    ("path: kek.json", "path: []"),
    ("key: tls/admin.key", "kee: tls/admin.key"),
    ("token_file", "token_fil"),
    ("level: debug", "level: loud"),
)
def test_one_mistake_is_one_complaint(right: str, mistake: str) -> None:
    assert WHOLE.count(right) == 1
    error = error_of(WHOLE.replace(right, mistake))
    assert error.others == ()
    assert error.hint


@rows(
    "kek, problems",
    ("{provider: environment, path: k, name: n, colour: 1}", 3),
    ("{provider: vault, mount: [], colour: 1}", 2),
    ("{provider: file, path: [], variable: X}", 2),
    ("{path: k}", 1),
    ("5", 1),
)
def test_the_provider_is_judged_with_what_it_takes(kek: str, problems: int) -> None:
    error = error_of(SHORT.replace("{provider: environment}", kek))
    assert len((error, *error.others)) == problems


def test_what_is_said_of_vault_is_judged_as_a_whole() -> None:
    source = SHORT.replace("{provider: environment}", "{provider: vault, name: n}")
    error = error_of(f"{source}vault: {{timeout_s: x, secret_id_wrapped: 1, colour: 1, address: []}}\n")
    assert len((error, *error.others)) == 4


@pytest.mark.parametrize("side", ["listen", "upstream"])
@pytest.mark.parametrize("instead", ["5", "[]", "none"])
def test_a_side_that_is_no_mapping_is_one_complaint(side: str, instead: str) -> None:
    lines = [f"{side}: {instead}" if line.startswith(side) else line for line in SHORT.splitlines()]
    error = error_of("\n".join(lines))
    assert (error.others, error.problem) == ((), "expected a mapping")


def test_without_any_section_each_is_missed() -> None:
    error = error_of("workers: 1\n")
    assert [each.problem.split("'")[1] for each in (error, *error.others)] == [
        *("listen", "upstream", "policy", "keyring", "kek")
    ]


@rows(
    "members, problems",
    ("[{listen: 'a:1', upstream: 'b:1'}, {listen: 'c', upstream: 'd:1'}, {upstream: 'e:1'}]", 2),
    ("[{listen: 'a:1', upstream: 'b:1'}, {listen: 'a:1', upstream: 'c:1'}, 5]", 2),
    ("[]", 1),
)
def test_members_are_judged_one_by_one(members: str, problems: int) -> None:
    sides = "listen: {tls: {mode: plaintext}}\nupstream: {tls: {mode: plaintext}}\n"
    rest = SHORT.partition("policy:")
    error = error_of(f"{sides}members: {members}\npolicy:{rest[2]}")
    assert len((error, *error.others)) == problems


@rows(
    "listen, upstream, problems",
    ("ports: 1-2", "uri: 'mongodb://a/'", 0),
    ("ports: 1", "uri: 'mongodb://a/'", 1),
    ("prots: 1-2", "uri: 'mongodb://a/'", 1),
    ("", "uri: 'mongodb://a/'", 1),
    ("ports: 1-2", "uri: 'mongodb://a/', probe: 5", 1),
    ("ports: 1-2", "uri: 'mongodb://a/', heartbeat: 5", 1),
)
def test_servers_that_are_followed(listen: str, upstream: str, problems: int) -> None:
    rest = SHORT.partition("policy:")
    source = (
        f"listen: {{address: a, tls: {{mode: plaintext}}, {listen}}}\n"
        f"upstream: {{tls: {{mode: plaintext}}, {upstream}}}\npolicy:{rest[2]}"
    )
    if not problems:
        assert parse(source).discovery is not None
        return
    error = error_of(source)
    assert len((error, *error.others)) == problems
