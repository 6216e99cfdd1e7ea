"""The plain verbs: what answers mean, what errors show, and whose wrapping tokens are opened."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from hvac import exceptions as hvac_errors

from sealwire.keys.errors import KekDenied, KekUnavailable, KeySettingError, KeysReason
from sealwire.keys.vault.admin import NoLogin, SealStatus, VaultAdmin, VaultSeal, unwrap
from sealwire.keys.vault.connection import VaultConnection, translate
from tests.support.reasons import raising


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
    with raising(KeySettingError, KeysReason.VAULT_REQUEST) as caught:
        admin(refused).write("a/b", {"secret": "s3cret"})
    assert caught.value.hint.isprintable()
    assert len(caught.value.hint) < 250
    assert "s3cret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("answer", [None, {}, {"wrap_info": None}, {"wrap_info": {"token": "t", "ttl": "x"}}])
def test_an_answer_that_is_not_wrapped_is_an_error(answer: object) -> None:
    with raising(KekUnavailable, KeysReason.VAULT_FAILED):
        admin(answer).wrap("a/b", {}, 60)


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
    with raising(KekDenied, KeysReason.VAULT_LOGIN):
        unwrap(cast(VaultConnection, FakeConnection(client)), "hvs.wrapping", "a/b")
    assert client.asked == ["sys/wrapping/lookup"]


@pytest.mark.parametrize("refusal", [hvac_errors.InvalidRequest("x"), hvac_errors.Forbidden("x")])
def test_a_wrapping_token_that_the_server_does_not_know_does_not_open(refusal: Exception) -> None:
    with raising(KekDenied, KeysReason.VAULT_LOGIN):
        unwrap(connection(refusal), "hvs.wrapping", "a/b")


# A server's seal: what its answers mean, and how long an unsealed server is waited for.

STATUS = {"initialized": True, "sealed": True, "n": 3, "t": 2, "progress": 1, "type": "shamir"}


class Answer:
    """An answer that is no JSON of success."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


class FakeServer:
    """A connection, its client and its adapter in one. `answers` by path; of a list one each time."""

    def __init__(self, **answers: object) -> None:
        self.answers: dict[str, Any] = {"seal-status": STATUS, **answers}
        self.bodies: list[dict[str, Any]] = []
        self.adapter = self

    def get(self, url: str, **_: object) -> Any:
        return self._next(url)

    def put(self, url: str, *, json: dict[str, Any]) -> Any:
        self.bodies.append(json)
        return self._next(url)

    def _next(self, url: str) -> Any:
        answer = self.answers[url.removeprefix("/v1/sys/")]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def call(self, what: str, operation: Callable[[Any], Any], **_: object) -> Any:
        try:
            return operation(self)
        except Exception as error:  # noqa: BLE001 - as VaultConnection does
            raise translate(error, what) from None


def seal_of(server: FakeServer, pauses: list[float] | None = None) -> VaultSeal:
    return VaultSeal(cast(VaultConnection, server), (pauses if pauses is not None else []).append)


def test_the_status_says_how_many_shares_were_given() -> None:
    assert seal_of(FakeServer()).status() == SealStatus(True, True, 3, 2, 1, unseals_itself=False)


@pytest.mark.parametrize("answer", [None, {}, Answer(200), {**STATUS, "n": "many"}])
def test_a_status_that_is_none_is_an_error(answer: object) -> None:
    with raising(KekUnavailable, KeysReason.VAULT_FAILED):
        seal_of(FakeServer(**{"seal-status": answer})).status()


def test_first_keys_are_asked_for_with_the_holders_keys_and_not_shown() -> None:
    server = FakeServer(init={"keys_base64": ["a", "b"], "root_token": "s.root"})
    made = seal_of(server).initialise(2, 2, ("k1", "k2"), "k1")
    assert server.bodies == [
        {"secret_shares": 2, "secret_threshold": 2, "pgp_keys": ["k1", "k2"], "root_token_pgp_key": "k1"}
    ]
    assert (made.shares, made.root_token) == (("a", "b"), "s.root")
    assert "s.root" not in repr(made)


def test_a_server_that_unseals_itself_gets_recovery_shares() -> None:
    status = {**STATUS, "type": "static"}
    server = FakeServer(
        **{"seal-status": status, "init": {"recovery_keys_base64": ["a"], "root_token": "s.root"}}
    )
    assert seal_of(server).initialise(1, 1, ("k1",)).shares == ("a",)
    assert server.bodies == [{"recovery_shares": 1, "recovery_threshold": 1, "recovery_pgp_keys": ["k1"]}]


def test_numbers_or_keys_that_the_server_does_not_take() -> None:
    with raising(KeySettingError, KeysReason.VAULT_REQUEST):
        seal_of(FakeServer(init=hvac_errors.InvalidRequest("x"))).initialise(2, 2, ("no key",))


@pytest.mark.parametrize("error", [hvac_errors.InvalidRequest("x"), hvac_errors.InternalServerError("x")])
def test_a_share_that_the_server_refuses(error: Exception) -> None:
    with raising(KekDenied, KeysReason.VAULT_DENIED):
        seal_of(FakeServer(unseal=error)).unseal("share")


def test_an_unsealed_server_is_waited_for_until_it_is_active() -> None:
    pauses: list[float] = []
    server = FakeServer(health=[Answer(503), Answer(429), {"sealed": False}], leader={"is_self": False})
    seal_of(server, pauses).wait_until_active()
    assert len(pauses) == 2


def test_a_standby_is_active_enough_once_it_knows_another_leader() -> None:
    pauses: list[float] = []
    other = {"is_self": False, "leader_address": "https://other:8200"}
    server = FakeServer(health=Answer(429), leader=[{"is_self": True, "leader_address": "x"}, other])
    seal_of(server, pauses).wait_until_active()
    assert len(pauses) == 1


def test_a_server_that_does_not_become_active_is_not_waited_for_without_end() -> None:
    pauses: list[float] = []
    with raising(KekUnavailable, KeysReason.VAULT_SEALED):
        seal_of(FakeServer(health=Answer(503)), pauses).wait_until_active()
    assert sum(pauses) == pytest.approx(60)


def test_no_login_asks_nobody() -> None:
    login = NoLogin()
    lease = login.log_in(cast(Any, None))
    assert (lease.token, lease.renewable) == ("", False)
    assert login.is_current("anything")
