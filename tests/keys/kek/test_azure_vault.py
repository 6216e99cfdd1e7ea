"""What Azure answers, turned into this room's errors; the answers come over HTTP, through Azure's own SDK."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealwire.keys.errors import (
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnwrapFailed,
)
from sealwire.keys.kek import azure_vault, key_service
from sealwire.keys.kek.azure import AzureKek
from sealwire.keys.kek.azure_vault import AzureVault
from tests.keys.kek.refusals import refused
from tests.keys.kek_contract import AD, KEY
from tests.support.fake_azure import (
    AZURE_HOSTS,
    HSM_HOST,
    LOGIN_HOST,
    NEW_HOST,
    VAULT_HOST,
    FakeAzure,
    base64url,
    error,
)
from tests.support.fake_https import Answer, Asked, FakeHttps

OPERATIONS = ("sign", "unwrapkey", "encrypt", "decrypt")


def once(operation: str, answer: Answer) -> Callable[[Asked], Answer | None]:
    """`answer` in place of that to a request with a body, once somebody has logged in."""
    return lambda asked: answer if f"/{operation}?" in asked.path and asked.body else None


def act_with(azure: FakeAzure, https: FakeHttps, operation: str, *answers: Answer) -> Callable[[], object]:
    """Do what needs `operation`, with these answers to it."""
    hsm = operation in ("encrypt", "decrypt")
    kek = AzureKek(azure.new_hsm_key() if hsm else azure.new_vault_key())
    wrapped = kek.wrap(KEY, AD)
    kek.unwrap(wrapped, AD)
    https.instead += [once(operation, answer) for answer in answers]
    if operation in ("sign", "encrypt"):
        return lambda: kek.wrap(KEY, AD)
    return lambda: kek.unwrap(wrapped, AD)


ANSWERS: dict[str, tuple[Answer, type[KeysError], KeysReason]] = {
    "disabled": (error(403, "Forbidden", "KeyDisabled"), KekDenied, KeysReason.KMS_KEY),
    "not yet valid": (error(403, "Forbidden", "KeyNotYetValid"), KekDenied, KeysReason.KMS_KEY),
    "expired": (error(403, "Forbidden", "KeyExpired"), KekDenied, KeysReason.KMS_KEY),
    "policy": (error(403, "Forbidden", "ForbiddenByPolicy"), KekDenied, KeysReason.KMS_DENIED),
    "role": (error(403, "Forbidden", "ForbiddenByRbac"), KekDenied, KeysReason.KMS_DENIED),
    "firewall": (error(403, "Forbidden", "ForbiddenByFirewall"), KekDenied, KeysReason.KMS_DENIED),
    "no explanation": (Answer(403, b"<html>SECRET"), KekDenied, KeysReason.KMS_DENIED),
    "deleted": (error(404, "KeyNotFound"), KeySettingError, KeysReason.KMS_KEY),
    "in deletion": (error(409, "Conflict", "ObjectIsBeingDeleted"), KekDenied, KeysReason.KMS_KEY),
    "throttled": (error(429, "Throttled"), KekUnavailable, KeysReason.KMS_FAILED),
    "in trouble": (error(500, "InternalError"), KekUnavailable, KeysReason.KMS_FAILED),
    "overloaded": (error(503, "ServiceUnavailable"), KekUnavailable, KeysReason.KMS_FAILED),
    "something new": (error(418, "Teapot"), KekUnavailable, KeysReason.KMS_FAILED),
    "a strange code": (error(500, "SECRET\nforged line"), KekUnavailable, KeysReason.KMS_FAILED),
    "a number": (Answer(500, b'{"error": 7}'), KekUnavailable, KeysReason.KMS_FAILED),
    "a list": (Answer(500, b"[7]"), KekUnavailable, KeysReason.KMS_FAILED),
    "elsewhere": (
        Answer(307, b"", {"Location": f"https://{VAULT_HOST}/elsewhere"}),
        KekUnavailable,
        KeysReason.KMS_FAILED,
    ),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("case", ANSWERS)
def test_what_an_answer_means(azure: FakeAzure, azure_https: FakeHttps, operation: str, case: str) -> None:
    answer, kind, reason = ANSWERS[case]
    found = refused(act_with(azure, azure_https, operation, answer, answer))
    assert (type(found), found.reason) == (kind, reason)
    assert found.hint
    assert not any("elsewhere" in asked.path for asked in azure_https.asked)


def test_what_is_shown_is_the_innermost_code_and_the_permission(
    azure: FakeAzure, azure_https: FakeHttps
) -> None:
    denied = refused(act_with(azure, azure_https, "unwrapkey", error(403, "Forbidden", "ForbiddenByRbac")))
    assert "ForbiddenByRbac" in str(denied)
    assert "unwrapKey" in denied.hint
    bare = refused(act_with(azure, azure_https, "unwrapkey", Answer(403)))
    assert "HTTP_403" in str(bare)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_bad_parameter_is_a_key_or_a_ciphertext(
    azure: FakeAzure, azure_https: FakeHttps, operation: str
) -> None:
    found = refused(act_with(azure, azure_https, operation, error(400, "BadParameter")))
    opening = operation in ("decrypt", "unwrapkey")
    assert type(found) is (UnwrapFailed if opening else KeySettingError)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_may_pass_is_tried_twice(azure: FakeAzure, azure_https: FakeHttps, operation: str) -> None:
    busy = error(503, "ServiceUnavailable")
    act_with(azure, azure_https, operation, busy)()
    azure_https.asked.clear()
    refused(act_with(azure, azure_https, operation, busy, busy, busy))
    assert len(azure_https.instead) == 1


def test_a_service_that_wants_a_rest_gets_it(
    azure: FakeAzure, azure_https: FakeHttps, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(key_service, "sleep", slept.append)
    mine, really_sleep = threading.get_ident(), time.sleep

    def note_sleep(seconds: float) -> None:
        if threading.get_ident() != mine:
            really_sleep(seconds)  # of servers that other tests of this process left running
        elif seconds:
            slept.append(seconds)

    monkeypatch.setattr("time.sleep", note_sleep)
    wants = [error(429, "Throttled", None, {"Retry-After": text}) for text in ("60", "1")]
    found = refused(act_with(azure, azure_https, "unwrapkey", wants[0]))
    assert isinstance(found, KekUnavailable)
    assert found.retry_after_s == 60
    assert slept == []
    act_with(azure, azure_https, "unwrapkey", wants[1])()
    assert slept == [1.0]


def result(**fields: object) -> Answer:
    return Answer(200, json.dumps(fields).encode(), {"Content-Type": "application/json"})


B32, B64 = base64url(bytes(32)), base64url(bytes(64))
LIES: dict[str, tuple[str, Answer]] = {
    "short signature": ("sign", result(kid="k", value=B32)),
    "no signature": ("sign", result(kid="k")),
    "signature of another kind": ("sign", result(kid="k", value=7)),
    "long content key": ("unwrapkey", result(kid="k", value=B64)),
    "empty content key": ("unwrapkey", result(kid="k", value="")),
    "no object": ("unwrapkey", Answer(200, b"[]", {"Content-Type": "application/json"})),
    "no json": ("unwrapkey", Answer(200, b"SECRET", {"Content-Type": "application/json"})),
    "no text": ("unwrapkey", Answer(200, b"\xff\xfe", {"Content-Type": "application/json"})),
    "no nonce": ("encrypt", result(kid="k", value=B32, tag=base64url(bytes(16)))),
    "no tag": ("encrypt", result(kid="k", value=B32, iv=base64url(bytes(12)))),
    "long ciphertext": (
        "encrypt",
        result(kid="k", value=B64, iv=base64url(bytes(12)), tag=base64url(bytes(16))),
    ),
    "short plaintext": ("decrypt", result(kid="k", value=base64url(bytes(31)))),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_cannot_be_is_not_taken(azure: FakeAzure, azure_https: FakeHttps, lie: str) -> None:
    operation, answer = LIES[lie]
    found = refused(act_with(azure, azure_https, operation, answer, answer))
    assert (type(found), found.reason) == (KekUnavailable, KeysReason.KMS_FAILED)
    assert azure_https.instead == []


@pytest.mark.parametrize("operation", ["unwrapkey", "decrypt"])
def test_another_content_key_opens_nothing(azure: FakeAzure, azure_https: FakeHttps, operation: str) -> None:
    found = refused(act_with(azure, azure_https, operation, result(kid="k", value=B32)))
    assert isinstance(found, UnwrapFailed)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], bytes]:
    def apply(bundle: dict[str, Any]) -> bytes:
        change(bundle)
        return json.dumps(bundle).encode()

    return apply


BUNDLES: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "another vault": changed(lambda b: b["key"].update(kid=f"https://{HSM_HOST}/keys/k/" + "0" * 32)),
    "no version": changed(lambda b: b["key"].update(kid=b["key"]["kid"][:-32])),
    "a short version": changed(lambda b: b["key"].update(kid=b["key"]["kid"][:-1])),
    "no identifier": changed(lambda b: b["key"].pop("kid")),
    "no modulus": changed(lambda b: b["key"].pop("n")),
    "a huge modulus": changed(lambda b: b["key"].update(n=base64url(b"\x81" * 1025))),
    "an even exponent": changed(lambda b: b["key"].update(e=base64url(b"\x02"))),
    "no key": changed(lambda b: b.pop("key")),
    "nothing": lambda _: b"{}",
}


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_key_that_cannot_be_is_not_taken(azure: FakeAzure, azure_https: FakeHttps, bundle: str) -> None:
    kek = AzureKek(azure.new_vault_key())
    kek.wrap(KEY, AD)

    def lying(asked: Asked) -> Answer | None:
        if asked.method != "GET" or asked.host != VAULT_HOST:
            return None
        content = BUNDLES[bundle](json.loads(azure.answer(asked).body))
        return Answer(200, content, {"Content-Type": "application/json"})

    azure_https.instead += [lying, lying]
    found = refused(lambda: kek.wrap(KEY, AD))
    assert (type(found), found.reason) == (KekUnavailable, KeysReason.KMS_FAILED)


def test_a_key_that_does_not_say_that_it_is_enabled_is_not_used(
    azure: FakeAzure, azure_https: FakeHttps
) -> None:
    kek = AzureKek(azure.new_vault_key())
    kek.wrap(KEY, AD)

    def silent(asked: Asked) -> Answer | None:
        content = json.loads(azure.answer(asked).body)
        content["attributes"].pop("enabled")
        return Answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    azure_https.instead.append(silent)
    assert refused(lambda: kek.wrap(KEY, AD)).reason is KeysReason.KMS_KEY


def test_another_version_than_the_one_that_was_asked_for_is_not_taken(
    azure: FakeAzure, azure_https: FakeHttps
) -> None:
    azure.new_vault_key()
    vault = AzureVault(f"https://{VAULT_HOST}")
    signer = vault.newest("k0-signing")
    assert vault.version("k0-signing", signer.version) == signer

    def newest(asked: Asked) -> Answer:
        return azure.answer(Asked(asked.host, "GET", "/keys/k0-signing/?" + query(asked), asked.headers, b""))

    azure_https.instead += [newest, newest]
    found = refused(lambda: vault.version("k0-signing", bytes(16)))
    assert found.reason is KeysReason.KMS_FAILED


def query(asked: Asked) -> str:
    return asked.path.partition("?")[2]


def test_a_vault_that_takes_no_token_has_no_login(azure: FakeAzure, azure_https: FakeHttps) -> None:
    kek = AzureKek(azure.new_vault_key())
    wrapped = kek.wrap(KEY, AD)
    kek.unwrap(wrapped, AD)
    azure_https.instead += [once("unwrapkey", error(401, "Unauthorized"))]
    found = refused(lambda: kek.unwrap(wrapped, AD))
    assert (type(found), found.reason) == (KekDenied, KeysReason.KMS_LOGIN)


def test_an_application_that_entra_refuses_has_no_login(
    azure: FakeAzure, azure_https: FakeHttps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "SECRET, and wrong")
    found = refused(lambda: AzureKek(azure.new_vault_key()).wrap(KEY, AD))
    assert (type(found), found.reason) == (KekDenied, KeysReason.KMS_LOGIN)


def test_an_issuer_that_cannot_be_reached_is_not_one_that_refuses(
    azure: FakeAzure, azure_https: FakeHttps, monkeypatch: pytest.MonkeyPatch
) -> None:
    kek = AzureKek(azure.new_vault_key())
    resolve = socket.getaddrinfo

    def resolve_but_the_issuer(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("nowhere.example" if host == LOGIN_HOST else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_but_the_issuer)
    found = refused(lambda: kek.wrap(KEY, AD))
    assert (type(found), found.reason) == (KekUnavailable, KeysReason.KEK_UNREACHABLE)


def test_a_machine_without_any_login_says_so(
    azure: FakeAzure, azure_https: FakeHttps, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    found = refused(lambda: AzureKek(azure.new_vault_key()).wrap(KEY, AD))
    assert (type(found), found.reason) == (KekDenied, KeysReason.KMS_LOGIN)


def test_variables_that_name_no_credential_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "SECRET")
    found = refused(lambda: AzureKek(f"https://{VAULT_HOST}/keys/k"))
    assert (type(found), found.reason) == (KeySettingError, KeysReason.KMS_SETTING)


def test_a_challenge_for_another_service_gets_no_token(azure: FakeAzure, azure_https: FakeHttps) -> None:
    header = f'Bearer authorization="https://{LOGIN_HOST}/x", resource="https://example.org"'
    answer = Answer(401, b"{}", {"WWW-Authenticate": header})
    azure_https.instead += [lambda _: answer] * 4
    kek = AzureKek(f"https://{NEW_HOST}/keys/k")
    found = refused(lambda: kek.wrap(KEY, AD))
    assert isinstance(found, KekUnavailable | KekDenied)
    assert LOGIN_HOST not in {asked.host for asked in azure_https.asked}


def test_a_service_that_is_slow_or_cannot_be_found_is_unavailable(
    azure: FakeAzure, azure_https: FakeHttps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(azure_vault._TIMES, "read_timeout", 0.5)
    late = Answer(200, b"{}", wait_s=0.8)
    found = refused(act_with(azure, azure_https, "unwrapkey", late, late))
    assert (type(found), found.reason) == (KekUnavailable, KeysReason.KEK_UNREACHABLE)
    assert "nowhere.vault.azure.net" not in AZURE_HOSTS
    found = refused(lambda: AzureKek("https://nowhere.vault.azure.net/keys/k").wrap(KEY, AD))
    assert (type(found), found.reason) == (KekUnavailable, KeysReason.KEK_UNREACHABLE)


def test_a_server_that_cannot_prove_who_it_is_gets_nothing(
    azure: FakeAzure, azure_https: FakeHttps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert isinstance(refused(lambda: AzureKek(azure.new_vault_key()).wrap(KEY, AD)), KekUnavailable)
    assert azure_https.asked == []


def test_an_entry_in_netrc_does_not_take_the_place_of_the_token(
    azure: FakeAzure, azure_https: FakeHttps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    hosts = (VAULT_HOST, LOGIN_HOST)
    netrc.write_text("".join(f"machine {host} login somebody password SECRET\n" for host in hosts))
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    kek = AzureKek(azure.new_vault_key())
    assert kek.unwrap(kek.wrap(KEY, AD), AD) == KEY
    sent = [asked.headers.get("Authorization", "Bearer") for asked in azure_https.asked]
    assert all(header.startswith("Bearer") for header in sent)


def test_no_library_logs_a_key_or_what_a_service_says(
    azure: FakeAzure,
    azure_https: FakeHttps,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    for identifier in (azure.new_vault_key(), azure.new_hsm_key()):
        kek = AzureKek(identifier)
        kek.unwrap(kek.wrap(KEY, AD), AD)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "SECRET, and wrong")
    refused(lambda: AzureKek(azure.new_vault_key()).wrap(KEY, AD))
    # other tests of this process may have a database's driver at work in the background
    assert [record for record in caplog.records if not record.name.startswith("pymongo.")] == []
