"""The plain verbs: what answers mean, what errors show, and whose wrapping tokens are opened."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from hvac import exceptions as hvac_errors

from sealwire.keys.errors import KekDenied, KekUnavailable, KeySettingError, KeysReason
from sealwire.keys.vault.admin import VaultAdmin, unwrap
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.errors import translate


class FakeClient:
    """Answers every verb with `answer`, or raises it; `asked` has the paths."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.token = ""
        self.tokens: list[str] = []
        self.sys = self

    def read(self, path: str) -> Any:
        self.asked.append(path)
        self.tokens.append(self.token)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    list = delete = read

    def write_data(self, path: str, **_: object) -> Any:
        return self.read(path)

    def unwrap(self) -> Any:
        return self.read("unwrap")


class FakeConnection:
    """Runs operations at once, on `client`."""

    def __init__(self, client: FakeClient) -> None:
        self.client = client

    def call(self, what: str, operation: Callable[[Any], Any], **_: object) -> Any:
        try:
            return operation(self.client)
        except Exception as error:  # noqa: BLE001 - as VaultConnection does
            raise translate(error, what) from None


def connection(answer: object) -> VaultConnection:
    return cast(VaultConnection, FakeConnection(FakeClient(answer)))


def admin(answer: object) -> VaultAdmin:
    return VaultAdmin(connection(answer))


@pytest.mark.parametrize("answer", [None, object(), {}, {"data": None}, {"data": "text"}])
def test_an_answer_without_data_is_nothing(answer: object) -> None:
    assert admin(answer).read("a/b") is None
    assert admin(answer).list("a/b") == ()
    assert admin(answer).write("a/b", {}) == {}


def test_data_is_what_is_read_and_its_keys_are_what_is_listed() -> None:
    assert admin({"data": {"x": 1}}).read("a/b") == {"x": 1}
    assert admin({"data": {"keys": ["x", "y/"]}}).list("a/b") == ("x", "y/")


def test_what_is_not_there_is_deleted_already() -> None:
    admin(hvac_errors.InvalidPath("none")).delete("a/b")


def test_what_the_server_does_not_take_is_shown_short_and_printable() -> None:
    refused = hvac_errors.InvalidRequest("x", errors=["no\x1b[31m good\n" + "x" * 500])
    with pytest.raises(KeySettingError) as caught:
        admin(refused).write("a/b", {"secret": "s3cret"})
    assert caught.value.reason is KeysReason.VAULT_REQUEST
    assert caught.value.hint.isprintable()
    assert len(caught.value.hint) < 250
    assert "s3cret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("answer", [None, {}, {"wrap_info": None}, {"wrap_info": {"token": "t", "ttl": "x"}}])
def test_an_answer_that_is_not_wrapped_is_an_error(answer: object) -> None:
    with pytest.raises(KekUnavailable) as caught:
        admin(answer).wrap("a/b", {}, 60)
    assert caught.value.reason is KeysReason.VAULT_FAILED


def test_a_wrapped_answer_shows_no_token() -> None:
    wrapped = admin({"wrap_info": {"token": "hvs.t", "accessor": "a", "ttl": 60}}).wrap("a/b", {}, 60)
    assert (wrapped.token, wrapped.accessor, wrapped.ttl_s) == ("hvs.t", "a", 60)
    assert "hvs.t" not in repr(wrapped)


def test_a_wrapping_token_is_used_for_one_request_only() -> None:
    client = FakeClient({"data": {"creation_path": "a/b", "secret_id": "s"}})
    found = unwrap(cast(VaultConnection, FakeConnection(client)), "hvs.wrapping", "a/b")
    assert found["secret_id"] == "s"
    assert client.tokens == ["", "hvs.wrapping"]
    assert client.token == ""


def test_the_answer_of_another_path_is_not_opened() -> None:
    client = FakeClient({"data": {"creation_path": "sys/wrapping/wrap"}})
    with pytest.raises(KekDenied) as caught:
        unwrap(cast(VaultConnection, FakeConnection(client)), "hvs.wrapping", "a/b")
    assert caught.value.reason is KeysReason.VAULT_LOGIN
    assert client.asked == ["sys/wrapping/lookup"]


@pytest.mark.parametrize("refusal", [hvac_errors.InvalidRequest("x"), hvac_errors.Forbidden("x")])
def test_a_wrapping_token_that_the_server_does_not_know_does_not_open(refusal: Exception) -> None:
    with pytest.raises(KekDenied) as caught:
        unwrap(connection(refusal), "hvs.wrapping", "a/b")
    assert caught.value.reason is KeysReason.VAULT_LOGIN
