"""Google Cloud KMS: the contract of KEKs, and what answers mean, through the real library and real HTTP."""

import base64
import json
import logging
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth import exceptions

from sealwire.keys.errors import (
    DamagedFile,
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnwrapFailed,
)
from sealwire.keys.kek import gcp
from sealwire.keys.kek import kek as keks
from sealwire.keys.kek.gcp import GcpKek
from sealwire.keys.keyring.file import create_keyring, load_keyring
from sealwire.keys.providers import Providers, parse_provider
from tests.keys.kek_contract import AD, KEY, KekContract, Pair, refused
from tests.keys.samples import NOW
from tests.support.fake_gcp import KMS_HOST, TOKEN_HOST, FakeGcp, account_key, checked, gcp_cloud, status
from tests.support.fake_https import Answer, Asked, FakeHttps

NAME = "projects/clinic/locations/europe-west2/keyRings/ring/cryptoKeys/sealwire"
RECORDED = json.loads(Path(__file__).with_name("google_sdk_requests.json").read_text())
MARK_BYTES = 16
google_errors: Any = exceptions
"""The library's classes have no types for their arguments."""


Cloud = tuple[FakeGcp, FakeHttps]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    cloud = FakeGcp()
    with gcp_cloud(cloud, tmp_path, monkeypatch) as https:
        yield cloud, https


@pytest.fixture
def cloud(running: Cloud) -> FakeGcp:
    return running[0]


@pytest.fixture
def https(running: Cloud) -> FakeHttps:
    return running[1]


@pytest.fixture
def kek(cloud: FakeGcp) -> GcpKek:
    return GcpKek(cloud.new_key())


class TestGcp(KekContract):
    @pytest.fixture
    def pair(self, cloud: FakeGcp) -> Pair:
        return GcpKek(cloud.new_key()), GcpKek(cloud.new_key())

    @pytest.fixture
    def kek(self, pair: Pair) -> Any:
        return pair[0]


class Forger(GcpKek):
    """Writes the mark anew over what was altered."""

    __slots__ = ()

    def forge(self, sealed: bytes, associated_data: bytes) -> bytes:
        return self._mark(sealed, associated_data) + sealed


def kms_requests(https: FakeHttps) -> list[Asked]:
    return [asked for asked in https.asked if asked.host == KMS_HOST]


@pytest.mark.parametrize(
    "location",
    [
        NAME,
        "projects/example.org:clinic/locations/global/keyRings/R_1/cryptoKeys/k-1",
        "projects/123456789/locations/eur4/keyRings/r/cryptoKeys/k",
    ],
)
def test_a_key_is_named_as_its_resource(location: str) -> None:
    assert GcpKek(location).id == f"gcp:{location}"


@pytest.mark.parametrize(
    "location",
    [
        "",
        "sealwire",
        NAME + "/cryptoKeyVersions/1",
        NAME + " ",
        NAME + ":decrypt",
        NAME.replace("clinic", "../clinic"),
        NAME.replace("ring/", "/"),
        NAME.replace("sealwire", "k?x=y"),
        NAME.replace("sealwire", "k" * 64),
        f"projects/{'a.' * 400}a:b" + NAME.removeprefix("projects/clinic"),
    ],
)
def test_what_names_no_key_is_refused(location: str) -> None:
    refused(lambda: GcpKek(location), KeySettingError, KeysReason.KMS_SETTING)


def test_nobody_is_asked_before_the_first_call(cloud: FakeGcp, https: FakeHttps) -> None:
    kek = GcpKek(cloud.new_key())
    assert https.asked == []
    kek.wrap(KEY, AD)
    assert [asked.host for asked in https.asked] == [TOKEN_HOST, KMS_HOST]
    kek.wrap(KEY, AD)
    assert [asked.host for asked in https.asked] == [TOKEN_HOST, KMS_HOST, KMS_HOST]


def test_the_requests_are_those_of_googles_own_client(kek: GcpKek, https: FakeHttps) -> None:
    """The same bytes to the same path, but for a parameter that says how enums are written."""
    kek._encrypt(b"k" * 64, "context")
    with pytest.raises(UnwrapFailed):
        kek._decrypt(base64.b64decode(RECORDED["decrypt"]["body"]["ciphertext"]), "context")
    for operation, asked in zip(("encrypt", "decrypt"), kms_requests(https), strict=True):
        recorded = RECORDED[operation]
        path = recorded["path"].partition("?")[0].replace("NAME", kek.id.removeprefix("gcp:"))
        assert (asked.method, asked.path, json.loads(asked.body)) == ("POST", path, recorded["body"])


def test_the_context_is_a_digest(kek: GcpKek, https: FakeHttps) -> None:
    kek.wrap(KEY, AD)
    sent = json.loads(kms_requests(https)[0].body)["additionalAuthenticatedData"]
    assert base64.b64decode(sent) == sha256(AD).hexdigest().encode()


def test_the_service_itself_refuses_another_context_and_altered_bytes(cloud: FakeGcp) -> None:
    kek = Forger(cloud.new_key())
    sealed = kek.wrap(KEY, AD)[MARK_BYTES:]
    other = GcpKek(cloud.new_key()).wrap(KEY, AD)[MARK_BYTES:]
    altered = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    assert kek.unwrap(kek.forge(sealed, AD), AD) == KEY
    for candidate, bound in ((sealed, b"other"), (altered, AD), (sealed[:9], AD), (other, AD)):
        with pytest.raises(UnwrapFailed):
            kek.unwrap(kek.forge(candidate, bound), bound)


def test_older_versions_open_what_they_wrapped(cloud: FakeGcp, kek: GcpKek) -> None:
    wrapped = kek.wrap(KEY, AD)
    held = cloud.keys[kek.id.removeprefix("gcp:")]
    held.versions.append(bytes(range(32)))
    assert kek.unwrap(wrapped, AD) == KEY
    assert kek.unwrap(kek.wrap(KEY, AD), AD) == KEY
    held.disabled.add(1)
    refused(lambda: kek.unwrap(wrapped, AD), KekDenied, KeysReason.KMS_KEY)


STATUSES = {
    "NOT_FOUND": (KeySettingError, KeysReason.KMS_KEY),
    "FAILED_PRECONDITION": (KekDenied, KeysReason.KMS_KEY),
    "PERMISSION_DENIED": (KekDenied, KeysReason.KMS_DENIED),
    "RESOURCE_EXHAUSTED": (KekUnavailable, KeysReason.KMS_FAILED),
    "INTERNAL": (KekUnavailable, KeysReason.KMS_FAILED),
    "UNAVAILABLE": (KekUnavailable, KeysReason.KMS_FAILED),
    "DEADLINE_EXCEEDED": (KekUnavailable, KeysReason.KMS_FAILED),
    "SOMETHING_NEW": (KekUnavailable, KeysReason.KMS_FAILED),
}


@pytest.mark.parametrize("operation", ["encrypt", "decrypt"])
@pytest.mark.parametrize("code", STATUSES)
def test_what_a_status_means(kek: GcpKek, https: FakeHttps, operation: str, code: str) -> None:
    wrapped = kek.wrap(KEY, AD)
    https.instead += [lambda _: status(code)] * 2
    error = refused(lambda: kek.wrap(KEY, AD) if operation == "encrypt" else kek.unwrap(wrapped, AD))
    assert (type(error), error.reason) == STATUSES[code]
    assert code in str(error)
    assert operation in str(error)
    assert error.hint


def test_what_is_invalid_is_a_key_or_a_ciphertext(kek: GcpKek, https: FakeHttps) -> None:
    wrapped = kek.wrap(KEY, AD)
    https.instead += [lambda _: status("INVALID_ARGUMENT")] * 2
    refused(lambda: kek.wrap(KEY, AD), KeySettingError, KeysReason.KMS_KEY)
    assert isinstance(refused(lambda: kek.unwrap(wrapped, AD)), UnwrapFailed)


def test_a_key_that_is_not_there_is_a_setting(https: FakeHttps) -> None:
    assert refused(lambda: GcpKek(NAME).wrap(KEY, AD)).reason is KeysReason.KMS_KEY


def test_what_may_pass_is_tried_twice(kek: GcpKek, https: FakeHttps) -> None:
    https.instead.append(lambda _: status("UNAVAILABLE"))
    assert kek.unwrap(kek.wrap(KEY, AD), AD) == KEY
    before = len(kms_requests(https))
    https.instead += [lambda _: status("UNAVAILABLE")] * 3
    refused(lambda: kek.wrap(KEY, AD))
    assert len(kms_requests(https)) == before + 2


def test_a_service_gets_its_rest(kek: GcpKek, https: FakeHttps, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(keks, "sleep", slept.append)
    kek.wrap(KEY, AD)
    before = len(kms_requests(https))
    https.instead.append(lambda _: status("RESOURCE_EXHAUSTED", {"Retry-After": "60"}))
    error = refused(lambda: kek.wrap(KEY, AD))
    assert isinstance(error, KekUnavailable)
    assert error.retry_after_s == 60
    assert len(kms_requests(https)) == before + 1
    https.instead.append(lambda _: status("RESOURCE_EXHAUSTED", {"Retry-After": "1"}))
    assert kek.wrap(KEY, AD)
    assert slept == [1.0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(403, b"<html>SECRET</html>"), KeysReason.KMS_FAILED),
        (Answer(502, b"<html>SECRET</html>"), KeysReason.KMS_FAILED),
        (Answer(400, b'{"error": "SECRET"}'), KeysReason.KMS_FAILED),
        (Answer(400, b'{"error": {"status": "SECRET\\nforged line"}}'), KeysReason.KMS_FAILED),
        (Answer(307, b"{}", {"Location": f"https://{KMS_HOST}/v1/elsewhere:encrypt"}), KeysReason.KMS_FAILED),
    ],
)
def test_what_no_kms_says_may_pass(kek: GcpKek, https: FakeHttps, answer: Answer, reason: KeysReason) -> None:
    https.instead += [lambda asked: answer if asked.host == KMS_HOST else None] * 2
    refused(lambda: kek.wrap(KEY, AD), KekUnavailable, reason)
    assert not any("elsewhere" in asked.path for asked in https.asked)


def altered(**changes: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda answer: {**answer, **changes}


LIES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "plaintext not heard": ("encrypt", altered(verifiedPlaintextCrc32c=False)),
    "context not heard": ("encrypt", altered(verifiedAdditionalAuthenticatedDataCrc32c=None)),
    "as a text": ("encrypt", altered(verifiedPlaintextCrc32c="true")),
    "another key": ("encrypt", altered(name=NAME + "x/cryptoKeyVersions/1")),
    "no name": ("encrypt", altered(name=None)),
    "altered ciphertext": ("encrypt", altered(ciphertext="AAAA")),
    "no ciphertext": ("encrypt", altered(ciphertext=None)),
    "empty ciphertext": ("encrypt", altered(**checked("ciphertext", b""))),
    "long ciphertext": ("encrypt", altered(**checked("ciphertext", bytes(8193)))),
    "no base64": ("encrypt", altered(ciphertext="?")),
    "no object": ("encrypt", lambda _: []),
    "no json": ("encrypt", lambda _: b"\xff"),
    "a long answer": ("encrypt", altered(name="x" * 40_000)),
    "altered plaintext": ("decrypt", altered(plaintext="AAAA")),
    "no checksum": ("decrypt", altered(plaintextCrc32c=None)),
    "no plaintext": ("decrypt", altered(**checked("plaintext", b""))),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_impossible_answer_is_not_taken(cloud: FakeGcp, kek: GcpKek, https: FakeHttps, lie: str) -> None:
    operation, change = LIES[lie]

    def lying(asked: Asked) -> Answer | None:
        if not asked.path.endswith(operation):
            return None
        content = change(json.loads(cloud.answer(asked).body))
        return Answer(200, content if isinstance(content, bytes) else json.dumps(content).encode())

    wrapped = kek.wrap(KEY, AD)
    https.instead += [lying, lying]
    error = refused(lambda: kek.wrap(KEY, AD) if operation == "encrypt" else kek.unwrap(wrapped, AD))
    assert (type(error), error.reason) == (KekUnavailable, KeysReason.KMS_FAILED)
    assert https.instead == []


def test_the_longest_answer_is_taken(cloud: FakeGcp, kek: GcpKek, https: FakeHttps) -> None:
    def longest(asked: Asked) -> Answer | None:
        if asked.host == TOKEN_HOST:
            return None
        content = json.loads(cloud.answer(asked).body) | checked("ciphertext", bytes(8192))
        return Answer(200, json.dumps(content).encode())

    https.instead.append(longest)
    assert kek.wrap(KEY, AD)[MARK_BYTES:] == bytes(8192)


def test_a_token_that_was_revoked_is_asked_for_anew(cloud: FakeGcp, kek: GcpKek, https: FakeHttps) -> None:
    wrapped = kek.wrap(KEY, AD)
    cloud.tokens.clear()
    assert kek.unwrap(wrapped, AD) == KEY
    https.instead += [lambda asked: status("UNAUTHENTICATED") if asked.host == KMS_HOST else None] * 2
    refused(lambda: kek.unwrap(wrapped, AD), KekDenied, KeysReason.KMS_LOGIN)


def test_an_account_that_the_issuer_refuses_has_no_login(cloud: FakeGcp, tmp_path: Path) -> None:
    FakeGcp(account=account_key("stranger")).credentials_file(tmp_path / "account.json")
    refused(lambda: GcpKek(cloud.new_key()).wrap(KEY, AD), KekDenied, KeysReason.KMS_LOGIN)


@pytest.mark.parametrize("content", ["", "{}", '{"type": "SECRET"}', "SECRET"])
def test_a_file_of_credentials_that_is_none_is_no_login(cloud: FakeGcp, tmp_path: Path, content: str) -> None:
    (tmp_path / "account.json").write_text(content)
    refused(lambda: GcpKek(cloud.new_key()).wrap(KEY, AD), KekDenied, KeysReason.KMS_LOGIN)


def test_an_issuer_that_is_away_is_unavailable(cloud: FakeGcp, https: FakeHttps) -> None:
    https.instead += [lambda _: Answer(503)] * 20
    refused(lambda: GcpKek(cloud.new_key()).wrap(KEY, AD), KekUnavailable, KeysReason.KEK_UNREACHABLE)


@pytest.mark.parametrize(
    ("raised", "kind", "reason"),
    [
        (google_errors.TransportError("SECRET"), KekUnavailable, KeysReason.KEK_UNREACHABLE),
        (google_errors.RefreshError("SECRET", retryable=True), KekUnavailable, KeysReason.KEK_UNREACHABLE),
        (google_errors.RefreshError("SECRET"), KekDenied, KeysReason.KMS_LOGIN),
        (google_errors.DefaultCredentialsError("SECRET"), KekDenied, KeysReason.KMS_LOGIN),
    ],
    ids=["transport", "refresh, may pass", "refresh", "none"],
)
def test_what_the_library_raises(
    raised: Exception, kind: type[KeysError], reason: KeysReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(_request: object) -> Any:
        raise raised

    monkeypatch.setattr(keks, "sleep", lambda _seconds: None)
    refused(lambda: GcpKek(NAME, find).wrap(KEY, AD), kind, reason)


def test_a_service_that_is_slow_is_unavailable(
    kek: GcpKek, https: FakeHttps, monkeypatch: pytest.MonkeyPatch
) -> None:
    kek.wrap(KEY, AD)
    monkeypatch.setattr(gcp, "_TIMEOUT", (0.1, 0.1))
    https.instead += [lambda _: Answer(200, b"{}", wait_s=0.3)] * 2
    refused(lambda: kek.wrap(KEY, AD), KekUnavailable, KeysReason.KEK_UNREACHABLE)


def test_a_service_that_cannot_be_found_is_unavailable(kek: GcpKek, monkeypatch: pytest.MonkeyPatch) -> None:
    kek.wrap(KEY, AD)
    monkeypatch.setattr(gcp, "_ADDRESS", "https://nowhere.googleapis.com/v1/")
    refused(lambda: kek.wrap(KEY, AD), KekUnavailable, KeysReason.KEK_UNREACHABLE)


def test_a_server_that_cannot_prove_who_it_is_gets_nothing(
    kek: GcpKek, https: FakeHttps, monkeypatch: pytest.MonkeyPatch
) -> None:
    kek.wrap(KEY, AD)
    before = len(https.asked)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    refused(lambda: kek.wrap(KEY, AD), KekUnavailable, KeysReason.KMS_FAILED)
    assert len(https.asked) == before


def test_an_entry_in_netrc_does_not_take_the_place_of_the_token(
    kek: GcpKek, https: FakeHttps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {KMS_HOST} login somebody password SECRET\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth(f"https://{KMS_HOST}/") is not None
    kek.wrap(KEY, AD)
    assert kms_requests(https)[0].headers["Authorization"].startswith("Bearer ")


def test_no_library_logs_a_key(kek: GcpKek, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    kek.unwrap(kek.wrap(KEY, AD), AD)
    # other tests of this process may have a database's driver at work in the background
    assert [record for record in caplog.records if not record.name.startswith("pymongo.")] == []


def test_a_keyring_lives_there_through_an_outage(cloud: FakeGcp, https: FakeHttps, tmp_path: Path) -> None:
    name = cloud.new_key()
    kek = Providers({}).kek(parse_provider(f"gcp:{name}"))
    create_keyring(tmp_path / "k", kek, ("a", "b"), NOW)
    assert load_keyring(tmp_path / "k", kek).class_names == ("a", "b")
    https.instead += [lambda _: status("UNAVAILABLE")] * 2
    with pytest.raises(KekUnavailable):
        load_keyring(tmp_path / "k", kek)
    assert load_keyring(tmp_path / "k", kek).class_names == ("a", "b")
    cloud.keys[name].versions[:] = [bytes(32)]
    with pytest.raises((DamagedFile, KekDenied)):
        load_keyring(tmp_path / "k", kek)
