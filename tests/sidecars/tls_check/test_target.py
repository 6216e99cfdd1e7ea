"""Targets are read as people write them, and nothing secret in them goes any further."""

import re
import subprocess
import traceback
from pathlib import Path

import pytest
from pymongo.errors import ConfigurationError

from sealwire.sidecars.errors import TlsCheckReason, Unusable
from sealwire.sidecars.tls_check.suites import SUITES, SuiteVerdict
from sealwire.sidecars.tls_check.target import Endpoint, Target, TargetKind, parse_address, parse_target
from tests.support.debian import require_program
from tests.support.reasons import raising

SECRET = "Geheimnis-7"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("db.example:27017", "db.example", 27017),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]:65535", "::1", 65535),
        ("bücher.example:443", "bücher.example", 443),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int) -> None:
    assert parse_target(text) == Target(text, TargetKind.TLS, (Endpoint(TargetKind.TLS, host, port),))


def test_an_https_url_is_read() -> None:
    target = parse_target("https://clinic.example/api?token=abc#top")
    assert target.label == "https://clinic.example:443/api"
    assert target.endpoints == (Endpoint(TargetKind.HTTPS, "clinic.example", 443, "/api"),)
    assert parse_target("https://[::1]:8443").endpoints == (Endpoint(TargetKind.HTTPS, "::1", 8443, "/"),)


def test_a_connection_string_names_every_member(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    options = f"tls=true&tlsCAFile={file}&tlsCertificateKeyFile={file}&replicaSet=rs"
    target = parse_target(f"mongodb://user:{SECRET}@db1.example,db2.example:27018/clinic?{options}")
    assert target == Target(
        "mongodb://db1.example:27017,db2.example:27018/",
        TargetKind.MONGODB,
        (
            Endpoint(TargetKind.MONGODB, "db1.example", 27017),
            Endpoint(TargetKind.MONGODB, "db2.example", 27018),
        ),
        discover=True,
        authorities=file,
        identity=file,
    )


@pytest.mark.parametrize(
    ("options", "asks", "verifies", "discovers"),
    [
        ("", False, True, True),
        ("tls=true", True, True, True),
        ("ssl=true", True, True, True),
        ("tls=false", False, True, True),
        ("tls=true&tlsInsecure=true", True, False, True),
        ("tls=true&tlsAllowInvalidCertificates=true", True, False, True),
        ("tls=true&tlsAllowInvalidHostnames=true", True, False, True),
        ("tls=true&tlsAllowInvalidHostnames=false", True, True, True),
        ("tls=true&directConnection=true", True, True, False),
        ("tls=true&loadBalanced=true", True, True, False),
    ],
)
def test_the_options_that_weaken_tls_are_noticed(
    options: str, asks: bool, verifies: bool, discovers: bool
) -> None:
    target = parse_target(f"mongodb://db.example/?{options}")
    assert (target.asks_for_tls, target.verifies, target.discover) == (asks, verifies, discovers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "db.example",
        "db.example:0",
        "db.example:65536",
        "db.example:port",
        ":27017",
        "a,b:1",
        "http://clinic.example/",
        "ftp://clinic.example/",
        "https://",
        "https://clinic.example:port/",
        "https://clinic.example/a b",
        "mongodb://",
        "mongodb://a b/",
        "mongodb://user:12/3@db.example/",
        "mongodb:///tmp/mongodb-27017.sock",
        "mongodb://%2Ftmp%2Fmongodb-27017.sock/",
        "mongodb://db.example/?tls=maybe",
        "mongodb://db.example/?noSuchOption=1",
        "mongodb://db.example/?tls=true&tlsInsecure=true&tlsAllowInvalidHostnames=true",
        "a\nb:1",
        "x" * 64 + ".example:1",
        "x" * 9000,
    ],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with raising(Unusable, TlsCheckReason.TARGET):
        parse_target(text)


def test_a_name_without_its_record_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ConfigurationError(f"no record for {SECRET}")

    monkeypatch.setattr("sealwire.sidecars.tls_check.target.parse_uri", fails)
    with raising(Unusable, TlsCheckReason.TARGET_LOOKUP) as raised:
        parse_target("mongodb+srv://db.example/")
    assert SECRET not in str(raised.value)


def test_a_file_that_is_not_there_is_said_to_be() -> None:
    with raising(Unusable, TlsCheckReason.TARGET_OPTIONS):
        parse_target("mongodb://db.example/?tls=true&tlsCAFile=/no/such/file")


@pytest.mark.parametrize(
    "text",
    [
        f"mongodb://user:{SECRET}@x y@db.example/",
        f"mongodb://user:{SECRET}/x@db.example/",
        f"mongodb://user:12/{SECRET}@db.example/",
        f"mongodb://user:12?{SECRET}@db.example/",
        f"mongodb://user:{SECRET}@db.example:port/",
        f"mongodb://db.example/?authMechanismProperties=x:{SECRET}",
        f"mongodb://db.example/?tls=true&tlsCertificateKeyFilePassword={SECRET}&tlsCAFile=/none",
        f"mongodb://user:{SECRET}@db.example/?noSuchOption={SECRET}",
        f"user:{SECRET}@db.example:27017",
        f"https://user:{SECRET}@clinic.example:port/",
        f"mongo://user:{SECRET}@db.example/",
    ],
)
def test_no_part_of_a_bad_target_is_in_the_error(text: str) -> None:
    with pytest.raises(Unusable) as raised:
        parse_target(text)
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert SECRET not in raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        f"mongodb://user:{SECRET}@db.example/?tls=true",
        f"mongodb://{SECRET}:x@db.example/?tls=true&authSource={SECRET}",
        f"https://user:{SECRET}@clinic.example/path?{SECRET}#{SECRET}",
    ],
)
def test_no_secret_is_kept(text: str) -> None:
    assert SECRET not in repr(parse_target(text))


def test_what_servers_call_their_members_is_read_strictly() -> None:
    assert parse_address("db2.example:27018", TargetKind.MONGODB).label == "db2.example:27018"
    for text in ("db2.example", "mongodb://db2.example:1", "a:1,b:2", "a:1/x"):
        with pytest.raises(Unusable):
            parse_address(text, TargetKind.MONGODB)


# The table of suites is right about names, and its verdicts are those of the guidance.


BY_NAME = {suite.name: suite for suite in SUITES.values()}


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("TLS_AES_128_GCM_SHA256", SuiteVerdict.RECOMMENDED),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", SuiteVerdict.RECOMMENDED),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", SuiteVerdict.RECOMMENDED),
        ("TLS_ECDHE_RSA_WITH_ARIA_128_GCM_SHA256", SuiteVerdict.SUFFICIENT),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", SuiteVerdict.LEGACY),
        ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", SuiteVerdict.LEGACY),
        ("TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", SuiteVerdict.LEGACY),
        ("TLS_RSA_WITH_AES_256_GCM_SHA384", SuiteVerdict.NO_FORWARD_SECRECY),
        ("TLS_ECDH_RSA_WITH_AES_128_GCM_SHA256", SuiteVerdict.NO_FORWARD_SECRECY),
        ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", SuiteVerdict.INSECURE),
        ("TLS_ECDHE_RSA_WITH_RC4_128_SHA", SuiteVerdict.INSECURE),
        ("TLS_ECDHE_RSA_WITH_NULL_SHA", SuiteVerdict.INSECURE),
        ("TLS_DH_anon_WITH_AES_256_GCM_SHA384", SuiteVerdict.INSECURE),
        ("TLS_RSA_EXPORT_WITH_DES40_CBC_SHA", SuiteVerdict.INSECURE),
        ("TLS_RSA_WITH_DES_CBC_SHA", SuiteVerdict.INSECURE),
    ],
)
def test_a_suite_has_the_verdict_of_the_guidance(name: str, verdict: SuiteVerdict) -> None:
    assert BY_NAME[name].verdict is verdict


def test_recommended_is_exactly_what_the_guidance_names() -> None:
    named = re.compile(r"TLS_(ECDHE_(RSA|ECDSA)_WITH_)?(AES_(128|256)_GCM|CHACHA20_POLY1305)_SHA(256|384)")
    recommended = {suite.name for suite in SUITES.values() if suite.verdict is SuiteVerdict.RECOMMENDED}
    assert recommended == {name for name in BY_NAME if named.fullmatch(name)}
    assert len(recommended) == 9


def test_no_name_stands_twice() -> None:
    assert len(BY_NAME) == len(SUITES)


def test_every_suite_that_openssl_can_serve_is_in_the_table_under_its_name() -> None:
    openssl = require_program("openssl", "openssl", "version")
    arguments = ("ciphers", "-V", "-stdname", "ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    listing = subprocess.run([openssl, *arguments], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"0x(..),0x(..) - (TLS_\S+)", listing)
    offered = {int(high + low, 16): name for high, low, name in rows if not re.search("PSK|SRP", name)}
    assert len(offered) > 50
    assert {code: SUITES[code].name for code in offered} == offered
