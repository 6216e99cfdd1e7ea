"""What AWS KMS answers, turned into this room's errors; the answers come from botocore's own stubber."""

from typing import Any

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    SSLError,
    UnauthorizedSSOTokenError,
)
from botocore.stub import ANY, Stubber

from sealwire.keys.errors import (
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnwrapFailed,
)
from sealwire.keys.kek.aws import AwsKek
from tests.keys.kek_contract import AD, KEY
from tests.support.reasons import raising

KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
ARN = f"arn:aws:kms:eu-west-2:111122223333:key/{KEY_ID}"
BLOB = b"what KMS made of it"


@pytest.fixture
def client() -> Any:
    return boto3.client(
        "kms", region_name="eu-west-2", aws_access_key_id="test", aws_secret_access_key="test"
    )


def wrapped_by(client: Any) -> bytes:
    with Stubber(client) as stub:
        stub.add_response("encrypt", {"CiphertextBlob": BLOB, "KeyId": ARN}, None)
        return AwsKek(KEY_ID, client).wrap(KEY, AD)


@pytest.mark.parametrize(
    ("location", "kek_id"),
    [
        (KEY_ID, f"aws:{KEY_ID}"),
        (ARN, f"aws:{KEY_ID}"),
        ("mrk-1234abcd12ab34cd56ef1234567890ab", "aws:mrk-1234abcd12ab34cd56ef1234567890ab"),
        ("alias/sealwire/clinic", "aws:alias/sealwire/clinic"),
        ("arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/a", "aws:alias/a"),
    ],
)
def test_the_id_names_the_key_and_not_the_way_to_it(client: Any, location: str, kek_id: str) -> None:
    assert AwsKek(location, client).id == kek_id


@pytest.mark.parametrize(
    "location", ["", "clinic", "alias/", "arn:aws:s3:::bucket", KEY_ID + " ", "alias/a?b"]
)
def test_what_names_no_key_of_kms_is_refused(client: Any, location: str) -> None:
    with raising(KeySettingError, KeysReason.KMS_SETTING):
        AwsKek(location, client)


def test_the_region_of_an_arn_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def make(service: str, region_name: str | None, **_: Any) -> Any:
        asked.append(region_name)
        assert service == "kms"

    monkeypatch.setattr(boto3, "client", make)
    AwsKek(ARN)
    AwsKek("alias/a")
    assert asked == ["eu-west-2", None]


def test_without_a_region_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with raising(KeySettingError, KeysReason.KMS_SETTING):
        AwsKek("alias/a")


def test_key_and_context_go_to_kms_and_come_back(client: Any) -> None:
    with Stubber(client) as stub:
        sent = {"KeyId": ARN, "Plaintext": KEY, "EncryptionContext": ANY}
        stub.add_response("encrypt", {"CiphertextBlob": BLOB}, sent)
        sent = {"KeyId": ARN, "CiphertextBlob": BLOB, "EncryptionContext": ANY}
        stub.add_response("decrypt", {"Plaintext": KEY}, sent)
        kek = AwsKek(ARN, client)
        assert kek.unwrap(kek.wrap(KEY, AD), AD) == KEY


DENIED = {
    "DisabledException": KeysReason.KMS_KEY,
    "KMSInvalidStateException": KeysReason.KMS_KEY,
    "AccessDeniedException": KeysReason.KMS_DENIED,
    "ExpiredTokenException": KeysReason.KMS_LOGIN,
    "UnrecognizedClientException": KeysReason.KMS_LOGIN,
}
UNAVAILABLE = (
    "ThrottlingException",
    "KMSInternalException",
    "DependencyTimeoutException",
    "KeyUnavailableException",
    "SomethingNew",
    "",
)


def refused(client: Any, operation: str, code: str) -> KeysError:
    wrapped = wrapped_by(client)
    kek = AwsKek(KEY_ID, client)
    with Stubber(client) as stub:
        stub.add_client_error(operation, code, "SECRET words of the service")
        with pytest.raises(KeysError) as caught:
            kek.wrap(KEY, AD) if operation == "encrypt" else kek.unwrap(wrapped, AD)
    assert caught.value.__cause__ is None
    assert "SECRET" not in str(caught.value) + caught.value.hint
    return caught.value


@pytest.mark.parametrize("operation", ["encrypt", "decrypt"])
@pytest.mark.parametrize("code", DENIED)
def test_a_key_that_may_not_be_used_is_denied(client: Any, operation: str, code: str) -> None:
    error = refused(client, operation, code)
    assert (type(error), error.reason) == (KekDenied, DENIED[code])
    assert error.hint


@pytest.mark.parametrize("operation", ["encrypt", "decrypt"])
@pytest.mark.parametrize("code", UNAVAILABLE)
def test_what_may_pass_is_unavailable(client: Any, operation: str, code: str) -> None:
    error = refused(client, operation, code)
    assert (type(error), error.reason) == (KekUnavailable, KeysReason.KMS_FAILED)


@pytest.mark.parametrize("code", ["NotFoundException", "InvalidKeyUsageException"])
def test_a_key_that_is_not_there_is_a_setting(client: Any, code: str) -> None:
    error = refused(client, "encrypt", code)
    assert (type(error), error.reason) == (KeySettingError, KeysReason.KMS_KEY)


@pytest.mark.parametrize("code", ["InvalidCiphertextException", "IncorrectKeyException"])
def test_what_the_key_did_not_make_does_not_open(client: Any, code: str) -> None:
    assert isinstance(refused(client, "decrypt", code), UnwrapFailed)


@pytest.mark.parametrize(
    ("raised", "kind", "reason"),
    [
        (EndpointConnectionError(endpoint_url="https://kms"), KekUnavailable, KeysReason.KEK_UNREACHABLE),
        (ConnectTimeoutError(endpoint_url="https://kms"), KekUnavailable, KeysReason.KEK_UNREACHABLE),
        (SSLError(endpoint_url="https://kms", error="x"), KekUnavailable, KeysReason.KMS_FAILED),
        (NoCredentialsError(), KekDenied, KeysReason.KMS_LOGIN),
        (UnauthorizedSSOTokenError(), KekDenied, KeysReason.KMS_LOGIN),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_boto3_itself_raises(raised: Exception, kind: type[KeysError], reason: KeysReason) -> None:
    class Failing:
        def encrypt(self, **_: Any) -> Any:
            raise raised

    with pytest.raises(KeysError) as caught:
        AwsKek(KEY_ID, Failing()).wrap(KEY, AD)
    assert (type(caught.value), caught.value.reason) == (kind, reason)


def test_an_error_without_a_code_may_pass() -> None:
    class Failing:
        def encrypt(self, **_: Any) -> Any:
            raise ClientError({}, "Encrypt")

    with pytest.raises(KekUnavailable):
        AwsKek(KEY_ID, Failing()).wrap(KEY, AD)


@pytest.mark.parametrize(
    "answer", [{}, {"CiphertextBlob": "text"}, {"CiphertextBlob": b""}, {"CiphertextBlob": bytes(9000)}]
)
def test_an_answer_of_another_form_is_unavailable(answer: dict[str, object]) -> None:
    class Lying:
        def encrypt(self, **_: Any) -> Any:
            return answer

    with raising(KekUnavailable, KeysReason.KMS_FAILED):
        AwsKek(KEY_ID, Lying()).wrap(KEY, AD)


@pytest.mark.parametrize("code", ["a\nforged line", "x" * 65, "943 476 5919"])
def test_a_code_of_no_known_form_is_not_shown(client: Any, code: str) -> None:
    assert code not in str(refused(client, "encrypt", code))
