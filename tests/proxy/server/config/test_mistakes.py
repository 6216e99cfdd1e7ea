"""Everything that is wrong with a configuration is told in one run, and one mistake is one complaint."""

import pytest

from tests.proxy.server.config_texts import SHORT, WHOLE, error_of, parse

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


@pytest.mark.parametrize(
    ("right", "mistake"),
    [
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
    ],
)
def test_one_mistake_is_one_complaint(right: str, mistake: str) -> None:
    assert WHOLE.count(right) == 1
    error = error_of(WHOLE.replace(right, mistake))
    assert error.others == ()
    assert error.hint


@pytest.mark.parametrize(
    ("kek", "problems"),
    [
        ("{provider: environment, path: k, name: n, colour: 1}", 3),
        ("{provider: vault, mount: [], colour: 1}", 2),
        ("{provider: file, path: [], variable: X}", 2),
        ("{path: k}", 1),
        ("5", 1),
    ],
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


@pytest.mark.parametrize(
    ("members", "problems"),
    [
        ("[{listen: 'a:1', upstream: 'b:1'}, {listen: 'c', upstream: 'd:1'}, {upstream: 'e:1'}]", 2),
        ("[{listen: 'a:1', upstream: 'b:1'}, {listen: 'a:1', upstream: 'c:1'}, 5]", 2),
        ("[]", 1),
    ],
)
def test_members_are_judged_one_by_one(members: str, problems: int) -> None:
    sides = "listen: {tls: {mode: plaintext}}\nupstream: {tls: {mode: plaintext}}\n"
    rest = SHORT.partition("policy:")
    error = error_of(f"{sides}members: {members}\npolicy:{rest[2]}")
    assert len((error, *error.others)) == problems


@pytest.mark.parametrize(
    ("listen", "upstream", "problems"),
    [
        ("ports: 1-2", "uri: 'mongodb://a/'", 0),
        ("ports: 1", "uri: 'mongodb://a/'", 1),
        ("prots: 1-2", "uri: 'mongodb://a/'", 1),
        ("", "uri: 'mongodb://a/'", 1),
        ("ports: 1-2", "uri: 'mongodb://a/', probe: 5", 1),
        ("ports: 1-2", "uri: 'mongodb://a/', heartbeat: 5", 1),
    ],
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
