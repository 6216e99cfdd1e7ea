"""`serve --check` prints what a start would warn of, for people and for programs."""

import json
import resource
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import KeyringWriter
from sealwire.keys.keyring.turning import activate, rotate
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config, IdentitySettings, TlsMode, UpstreamTls
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, ServerError, StartReason
from sealwire.proxy.server.tls import NO_TLS, TlsSide
from sealwire.proxy.server.workers.announce import certificate_findings
from sealwire.proxy.server.workers.memory import (
    LARGE_BYTES,
    TRIM_INTERVAL_S,
    Trimmer,
    allow_connections,
    fix_thresholds,
    give_back,
)
from sealwire.proxy.server.workers.start import load_identities
from sealwire.proxy.session.choices import Holder, ScramHash
from sealwire.proxy.session.login.identities import CertificateIdentity, ScramIdentity
from sealwire.testbed.certificates import Authority, create_authority
from tests.proxy.server.config_texts import EVERYWHERE
from tests.proxy.server.harness import make_config
from tests.proxy.server.site import Site, hello_thread, make_site, serving
from tests.support.reasons import raising
from tests.support.rows import rows

UNASKED = "stored plaintext was not looked for"
"""The server of these tests knows no such question."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with hello_thread() as port:
        yield make_site(tmp_path, port)


def warned(site: Site) -> dict[str, dict[str, object]]:
    done = site.serve("--check", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["ok"] is True
    return {warning["event"]: warning for warning in document["warnings"]}


def test_check_warns_of_what_a_start_warns_of(site: Site) -> None:
    site.config["listen"]["advertise"] = "other.test:27018"
    site.config["listen"]["address"] = f"{EVERYWHERE}:0"
    site.config["reveal"] = "everywhere"
    roles = b"roles: {r: {users: ['*@*'], require_certificate: true, classes: {'*': {read: clear}}}}\n"
    policy = site.folder / "policy.yaml"
    policy.write_bytes(policy.read_bytes() + roles)
    site.environ["SEALWIRE_WORKER"] = "4"
    checked = warned(site)
    assert {
        "certificate lacks the advertised host",
        "clients without certificates",
        "environment variable names no key",
        "no TLS on this side",
        "plaintext in every reply",
        "roles that nobody can have",
        UNASKED,
    } == set(checked)
    assert checked["environment variable names no key"]["hint"] == "did you mean SEALWIRE_WORKERS?"
    with serving(site) as proxy:
        logged = {event for event, line in proxy.events.items() if line["level"] == "warning"}
    assert logged == set(checked)


def test_a_certificate_near_its_end_is_a_warning(site: Site) -> None:
    soon = datetime.now(UTC) + timedelta(days=2)
    issued = site.authority.issue("proxy", ("proxy.test",), valid_until=soon)
    assert str(issued.certificate) == site.config["listen"]["tls"]["certificate"]
    assert set(warned(site)) == {"no TLS on this side", "the certificate expires soon", UNASKED}


def test_an_expired_certificate_is_refused(site: Site) -> None:
    now = datetime.now(UTC)
    site.authority.issue(
        "proxy", ("proxy.test",), valid_from=now - timedelta(days=9), valid_until=now - timedelta(days=1)
    )
    for arguments in (("--check", "--json"), ()):
        done = site.serve(*arguments)
        assert done.returncode == 78
        assert "has expired" in done.stderr + done.stdout


def test_a_class_that_has_moved_is_refused_without_a_lease(site: Site) -> None:
    kek = EnvironmentKek(environ=site.environ)
    rotate(site.keyring, kek, {"nhs_number": True}, datetime.now(UTC))
    activate(KeyringWriter(site.keyring, kek, datetime.now(UTC)), "nhs_number")
    assert "nhs_number" in str(warned(site)["class is refused"]["problem"])
    with serving(site) as proxy:
        refused = proxy.events["class is refused"]
        assert (refused["class_name"], refused["reason"]) == ("nhs_number", "no-setting")
    follow(site)
    assert "class is refused" not in warned(site)


def test_a_class_in_clear_needs_a_lease_before_it_is_taken_in(site: Site) -> None:
    kek = EnvironmentKek(environ=site.environ)
    rotate(site.keyring, kek, {"nhs_number": True}, datetime.now(UTC), to_plaintext=True)
    activate(KeyringWriter(site.keyring, kek, datetime.now(UTC)), "nhs_number")
    assert "frontier.uri_file" in str(warned(site)["class is stored in clear"]["hint"])
    follow(site)
    assert "frontier.uri_file" not in str(warned(site)["class is stored in clear"]["hint"])


def follow(site: Site) -> None:
    uri = site.folder / "frontier.uri"
    uri.touch(0o600)
    uri.write_text("mongodb://127.0.0.1:1")
    site.config["frontier"] = {"uri_file": uri.name}


def test_a_page_without_alerts_is_named(site: Site) -> None:
    event = "page has no alerts"
    assert event not in warned(site)
    token = site.folder / "token"
    token.touch(0o600)
    token.write_text("0123456789abcdef" * 2)
    site.config["admin"] = {"address": "127.0.0.1:0", "page": {"token_file": token.name}}
    assert "is not set" in str(warned(site)[event]["problem"])
    site.config["admin"]["page"]["watch"] = "alerts.yaml"
    assert "alerts.yaml" in str(warned(site)[event]["problem"])


def test_json_is_about_check(site: Site) -> None:
    assert site.serve("--json").returncode == 2


def test_what_is_wrong_is_an_error_for_programs_too(site: Site) -> None:
    site.keyring.unlink()
    done = site.serve("--check", "--json")
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode == 78
    (error,) = document["errors"]
    assert done.stderr.splitlines()[-2:] == [
        f"sealwire: error: {error['problem']}",
        f"sealwire: hint: {error['hint']}",
    ]


# What is said of certificates: whom they do not name, and when they end.


END = datetime(2040, 1, 1, tzinfo=UTC)
CONFIG = make_config(1)


@rows(
    "host, is_named",
    ("proxy.example", True),
    ("PROXY.example", True),
    ("a.clinic.example", True),
    ("a.b.clinic.example", False),
    ("other.example", False),
    ("127.0.0.1", True),
    ("127.0.0.2", False),
    ("x" * 300, False),
    ("a..b", False),
)
def test_the_certificate_names_every_advertised_host(host: str, is_named: bool) -> None:
    side = TlsSide(None, END, ("proxy.example", "*.clinic.example", "127.0.0.1"))
    member = replace(CONFIG.members[0], advertise=Address(host, 27018))
    known = replace(member, advertise=Address("proxy.example", 27018))
    config = replace(CONFIG, members=(known, member, member))
    found = certificate_findings(side, NO_TLS, config)
    assert [finding.fields.get("hosts") for finding in found] == ([] if is_named else [host])


def test_without_tls_nothing_is_said() -> None:
    assert certificate_findings(NO_TLS, NO_TLS, CONFIG) == []


def test_both_certificates_have_an_end() -> None:
    host = CONFIG.members[0].advertise.host
    old = TlsSide(None, END, (host,), "the certificate expires soon")
    found = certificate_findings(old, old, CONFIG)
    assert [finding.fields["side"] for finding in found] == ["listen", "upstream"]


def test_both_files_of_authorities_have_an_end() -> None:
    old = TlsSide(None, authority_warning="an authority has expired")
    found = certificate_findings(old, old, CONFIG)
    assert [finding.fields["side"] for finding in found] == ["listen", "upstream"]
    assert all(finding.hint for finding in found)


# When memory is given back to the system, and that this machine's C library takes the request.


class Trims:
    """Counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def test_nothing_is_trimmed_while_nobody_comes_or_goes() -> None:
    trims = Trims()
    trimmer = Trimmer(trims)
    for now_s in range(100):
        trimmer.tick(float(now_s), 0)
    assert trims.times == 0


def test_changes_are_followed_by_one_trim_and_the_next_one_waits() -> None:
    trims = Trims()
    trimmer = Trimmer(trims)
    trimmer.tick(100.0, 3)
    assert trims.times == 1
    trimmer.tick(100.0 + TRIM_INTERVAL_S - 1, 9)
    assert trims.times == 1
    trimmer.tick(100.0 + TRIM_INTERVAL_S, 9)
    assert trims.times == 2
    trimmer.tick(100.0 + 9 * TRIM_INTERVAL_S, 9)
    assert trims.times == 2


def test_the_calls_reach_the_library_and_memory_still_works() -> None:
    fix_thresholds()
    blocks = [bytes(LARGE_BYTES) for _ in range(3)]
    del blocks
    give_back()
    assert bytes(LARGE_BYTES).count(0) == LARGE_BYTES


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The limit that the process has, and after it those that are set."""
    known = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: known[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limit: known.append(limit))
    return known


@pytest.mark.parametrize(
    ("connections", "soft"),
    [
        (437, None),  # 2 * 480 + 64 files, since a tenth may come beyond: what there is
        (438, 1026),
        (1833, 4096),
        (1834, 4096),  # the hard limit is the end
    ],
)
def test_two_files_a_connection_and_a_few_besides(
    limits: list[tuple[int, int]], connections: int, soft: int | None
) -> None:
    allow_connections(connections)
    assert limits[1:] == ([] if soft is None else [(soft, 4096)])


def test_a_system_that_allows_too_few_is_named_in_the_log(
    limits: list[tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    allow_connections(1833)
    assert caplog.records == []
    allow_connections(1834)
    (said,) = caplog.records
    fields = vars(said)["fields"]
    assert (fields["allowed"], fields["needed"]) == (4096, 4098)
    assert "limits.connections" in fields["hint"]


def test_without_a_hard_limit_all_are_allowed(
    limits: list[tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    limits[0] = (1024, resource.RLIM_INFINITY)
    allow_connections(10_000)
    assert limits[1:] == [(22_064, resource.RLIM_INFINITY)]
    assert caplog.records == []


# Passwords and certificates of identities are loaded all or not at all, and no text shows a password.


SALT = b"salt" * 4


HOLDER = Holder("CN=a")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("authority"))


def config(*identities: IdentitySettings, authority: Authority | None = None) -> Config:
    tls = None if authority is None else UpstreamTls(TlsMode.TLS, authority.certificate_file)
    return replace(make_config(1, upstream_tls=tls), identities=identities)


def password_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    file = folder / "password"
    file.write_bytes(content)
    file.chmod(mode)
    return file


def user(**where: object) -> IdentitySettings:
    return replace(IdentitySettings("CN=a", user="app", database="admin"), **where)  # type: ignore[arg-type]


def test_a_password_comes_from_a_file_or_the_environment_and_is_the_same(tmp_path: Path) -> None:
    file = password_file(tmp_path, b"p\xc3\xa4ss word\r\n")
    found = []
    for where in (user(password_file=file), user(password_variable="P")):
        identity = load_identities(config(where), {"P": "päss word"}).identities[HOLDER]
        assert isinstance(identity, ScramIdentity)
        assert (identity.user, identity.database) == ("app", "admin")
        assert "ss word" not in repr(identity)
        found.append(identity.secret.salted(SALT, 4096))
    assert found[0] == found[1]


def test_sha_1_takes_mongodbs_digest_and_sha_256_the_prepared_text() -> None:
    for mechanism, same in ((ScramHash.SHA_256, True), (ScramHash.SHA_1, False)):
        found = []
        for text in ("I\u00adX", "IX"):  # a soft hyphen is mapped to nothing (RFC 4013)
            settings = user(password_variable="P", mechanism=mechanism)
            identity = load_identities(config(settings), {"P": text}).identities[HOLDER]
            assert isinstance(identity, ScramIdentity)
            found.append(identity.secret.salted(SALT, 4096))
        assert (found[0] == found[1]) is same


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", "\u0007".encode()])
def test_what_is_no_password_is_refused(tmp_path: Path, content: bytes) -> None:
    with raising(FileProblem, StartReason.PASSWORD_UNUSABLE):
        load_identities(config(user(password_file=password_file(tmp_path, content))))


def test_a_variable_that_is_not_set_is_refused() -> None:
    with raising(FileProblem, StartReason.PASSWORD_UNUSABLE):
        load_identities(config(user(password_variable="P")), {})


def test_a_file_that_others_may_read_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError):
        load_identities(config(user(password_file=password_file(tmp_path, b"x", 0o644))))
    with pytest.raises(ServerError):
        load_identities(config(user(password_file=tmp_path / "none")))


def test_a_certificate_is_shown_on_a_way_of_its_own(authority: Authority) -> None:
    issued = authority.issue("app", client=True)
    settings = IdentitySettings("CN=a", certificate=issued.certificate, key=issued.key)
    loaded = load_identities(config(settings, authority=authority))
    assert loaded.identities == {HOLDER: CertificateIdentity("CN=app")}
    way = loaded.ways[HOLDER]
    assert way.presented == CertificateIdentity("CN=app")
    assert isinstance(way.context, ssl.SSLContext)
    assert loaded.findings == ()


def test_a_certificate_that_ends_soon_is_told(authority: Authority) -> None:
    issued = authority.issue("late", client=True, valid_until=datetime.now(UTC) + timedelta(days=5))
    settings = IdentitySettings("CN=a", certificate=issued.certificate, key=issued.key)
    (finding,) = load_identities(config(settings, authority=authority)).findings
    assert dict(finding.fields)["certificate"] == str(issued.certificate)


def test_a_key_that_others_may_read_or_of_another_certificate_is_refused(authority: Authority) -> None:
    one, two = (authority.issue(name, client=True) for name in ("one", "two"))
    settings = IdentitySettings("CN=a", certificate=one.certificate, key=two.key)
    with raising(FileProblem, StartReason.KEY_MISMATCH):
        load_identities(config(settings, authority=authority))
    one.key.chmod(0o644)
    with pytest.raises(PermissionProblem):
        load_identities(
            config(IdentitySettings("CN=a", certificate=one.certificate, key=one.key), authority=authority)
        )


def test_the_same_subject_of_two_authorities_is_two_persons() -> None:
    clinic = user(password_variable="P", issuer="CN=Clinic CA", user="ward")
    supplier = user(password_variable="P", issuer="CN=Supplier CA", user="stock")
    found = load_identities(config(clinic, supplier), {"P": "p"}).identities
    assert {holder.issuer: getattr(identity, "user", "") for holder, identity in found.items()} == {
        "CN=Clinic CA": "ward",
        "CN=Supplier CA": "stock",
    }
