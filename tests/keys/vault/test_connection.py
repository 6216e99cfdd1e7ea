"""A token's life on a clock that is moved by hand, and the deadline of an operation that does not end.

The client is a stand-in; what a real server answers is in tests/integration/test_vault_connection.py.
"""

import copy
import io
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from hvac import exceptions as hvac_errors

from sealwire.keys.errors import KekDenied, KekUnavailable, KeySettingError, KeysReason, UnwrapFailed
from sealwire.keys.vault.connection import (
    BoundedBody,
    TokenLease,
    VaultConnection,
    make_client,
    make_login,
    tls_context,
)
from sealwire.keys.vault.context_documents import THREADS, at_once
from sealwire.keys.vault.settings import AuthMethod, AuthSettings, VaultSettings
from sealwire.testbed.certificates import create_authority
from tests.support.reasons import raising

SETTINGS = VaultSettings("http://127.0.0.1:1", AuthSettings(AuthMethod.TOKEN), deadline_s=5.0)
TTL_S = 90.0
WHAT = "do it"


class Server:
    """Knows which tokens live, renews them, and gives new ones to whoever logs in."""

    def __init__(self) -> None:
        self.now = 0.0
        self.living: set[str] = set()
        self.logins = 0
        self.renewals = 0
        self.ttl_s: float | None = TTL_S
        self.renewed_ttl_s: float | None = TTL_S
        self.renewable = True
        self.client = SimpleNamespace(
            token="",
            auth=SimpleNamespace(token=SimpleNamespace(lookup_self=self.look_up, renew_self=self.renew)),
        )
        self.connection = VaultConnection(SETTINGS, client=self.client, login=self, clock=lambda: self.now)

    def look_up(self) -> None:
        if self.client.token not in self.living:
            raise hvac_errors.Forbidden

    def renew(self) -> dict[str, Any]:
        self.renewals += 1
        if self.renewed_ttl_s is None:
            raise hvac_errors.InvalidRequest
        token, ttl_s = self.client.token, self.renewed_ttl_s
        return {"auth": {"client_token": token, "lease_duration": ttl_s, "renewable": True}}

    def log_in(self, client: Any) -> TokenLease:
        """The connection's login."""
        assert client.token == ""
        self.logins += 1
        token = f"token-{self.logins}"
        self.living.add(token)
        return TokenLease(token, self.ttl_s, self.renewable)

    def is_current(self, token: str) -> bool:
        return token.startswith("token-")

    def work(self, client: Any) -> str:
        self.look_up()
        return str(client.token)

    def call(self, at_s: float = 0.0) -> str:
        self.now = at_s
        return self.connection.call(WHAT, self.work)


@pytest.fixture
def server() -> Server:
    return Server()


def test_one_login_serves_many_calls(server: Server) -> None:
    assert [server.call(second) for second in range(59)] == ["token-1"] * 59
    assert (server.logins, server.renewals) == (1, 0)


def test_a_token_is_renewed_after_two_thirds_of_its_life_again_and_again(server: Server) -> None:
    for at_s in (0, 61, 122, 183):
        assert server.call(at_s) == "token-1"
    assert (server.logins, server.renewals) == (1, 3)


@pytest.mark.parametrize("renewed_ttl_s", [None, 10.0], ids=["not renewed", "near its maximum"])
def test_a_token_at_its_end_gives_way_to_a_new_one(server: Server, renewed_ttl_s: float | None) -> None:
    server.call()
    server.renewed_ttl_s = renewed_ttl_s
    assert server.call(61) == "token-2"


def test_a_token_that_cannot_be_renewed_is_not_asked_to(server: Server) -> None:
    server.renewable = False
    server.call()
    assert server.call(61) == "token-2"
    assert server.renewals == 0


def test_a_token_without_an_end_is_left_alone(server: Server) -> None:
    server.ttl_s = None
    server.call()
    assert server.call(1e9) == "token-1"


def test_a_revoked_token_is_exchanged_within_the_call(server: Server) -> None:
    server.call()
    server.living.clear()
    assert server.call() == "token-2"


def test_a_denied_operation_does_not_cost_a_login(server: Server) -> None:
    def denied(_client: Any) -> None:
        raise hvac_errors.Forbidden("hvs.secret")

    with raising(KekDenied, KeysReason.VAULT_DENIED) as caught:
        server.connection.call(WHAT, denied)
    assert "hvs.secret" not in str(caught.value) + caught.value.hint
    assert server.logins == 1


def test_a_dropped_connection_is_tried_once_more_unless_that_could_do_it_twice(server: Server) -> None:
    calls = 0

    def dropped(_client: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise requests.exceptions.ConnectionError
        return calls

    assert server.connection.call(WHAT, dropped) == 2
    calls = 0
    with pytest.raises(KekUnavailable) as caught:
        server.connection.call(WHAT, dropped, repeatable=False)
    assert (caught.value.reason, calls) == (KeysReason.KEK_UNREACHABLE, 1)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (hvac_errors.VaultDown("x"), KekUnavailable, KeysReason.VAULT_SEALED),
        (hvac_errors.InternalServerError("x"), KekUnavailable, KeysReason.VAULT_FAILED),
        (hvac_errors.BadGateway("x"), KekUnavailable, KeysReason.VAULT_FAILED),
        (hvac_errors.RateLimitExceeded("x"), KekUnavailable, KeysReason.VAULT_FAILED),
        (hvac_errors.InvalidRequest("x"), KekUnavailable, KeysReason.VAULT_FAILED),
        (hvac_errors.InvalidPath("x"), KeySettingError, KeysReason.VAULT_PATH),
        (requests.exceptions.ReadTimeout("x"), KekUnavailable, KeysReason.VAULT_SLOW),
        (requests.exceptions.ConnectTimeout("x"), KekUnavailable, KeysReason.VAULT_SLOW),
        (requests.exceptions.SSLError("x"), KekUnavailable, KeysReason.VAULT_TLS),
        (requests.exceptions.TooManyRedirects("x"), KekUnavailable, KeysReason.VAULT_FAILED),
        (requests.exceptions.JSONDecodeError("x", "", 0), KekUnavailable, KeysReason.VAULT_FAILED),
        (UnwrapFailed(), UnwrapFailed, KeysReason.UNWRAP),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_failure_has_a_class_and_a_reason(
    server: Server, error: Exception, kind: type[Exception], reason: KeysReason
) -> None:
    def fail(_client: Any) -> None:
        raise error

    with pytest.raises(kind) as caught:
        server.connection.call(WHAT, fail)
    assert getattr(caught.value, "reason", None) is reason
    assert caught.value.__cause__ is None


def test_a_bug_of_ours_stays_what_it_is(server: Server) -> None:
    def bug(_client: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        server.connection.call(WHAT, bug)
    assert server.call() == "token-1"


def test_an_operation_that_does_not_end_is_left_at_the_deadline() -> None:
    end = threading.Event()
    server = Server()
    settings = VaultSettings(SETTINGS.address, SETTINGS.auth, deadline_s=0.1)
    connection = VaultConnection(settings, client=server.client, login=server)
    for _ in range(2):  # the second waits for the first, which is still under way
        with raising(KekUnavailable, KeysReason.VAULT_SLOW):
            connection.call(WHAT, lambda _client: end.wait(30))
    assert sum(thread.name == "vault" for thread in threading.enumerate()) == 1
    end.set()


def test_a_token_that_is_exchanged_at_its_place_counts_at_once(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text("first\n")
    login = make_login(AuthSettings(AuthMethod.TOKEN_FILE, file=file), {})
    server = Server()
    server.living |= {"first", "second"}
    server.client.auth.token.lookup_self = lambda: {"data": {"ttl": 0}}
    connection = VaultConnection(SETTINGS, client=server.client, login=login)
    assert connection.call(WHAT, lambda client: str(client.token)) == "first"
    file.write_text("second")
    assert connection.call(WHAT, lambda client: str(client.token)) == "second"


@pytest.mark.parametrize("content", ["", "two\nlines", "a b", "a\x00b", "é", "x" * 20_000])
def test_what_is_no_token_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(content)
    login = make_login(AuthSettings(AuthMethod.TOKEN_FILE, file=file), {})
    with pytest.raises(Exception, match="token") as caught:
        login.is_current("x")
    assert getattr(caught.value, "reason", None) in (KeysReason.VAULT_SETTING, KeysReason.FILE_TOO_LARGE)
    assert not content.strip() or content not in str(caught.value)


def test_a_token_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o644)
    login = make_login(AuthSettings(AuthMethod.TOKEN_FILE, file=file), {})
    with pytest.raises(Exception, match="open to other users") as caught:
        login.is_current("x")
    assert getattr(caught.value, "reason", None) is KeysReason.FILE_PERMISSIONS


def test_no_token_at_all_is_a_setting_that_is_missing() -> None:
    login = make_login(AuthSettings(AuthMethod.TOKEN), {})
    with raising(KeySettingError, KeysReason.VAULT_SETTING):
        login.is_current("x")


def test_neither_leases_nor_connections_show_or_give_away_a_token(server: Server) -> None:
    server.call()
    assert "token-1" not in repr(server.connection) + repr(TokenLease("token-1", None, renewable=False))
    for holder in (server.connection, TokenLease("token-1", None, renewable=False)):
        with pytest.raises(TypeError):
            copy.copy(holder)


TOKEN = AuthSettings(AuthMethod.TOKEN)


class Raw:
    """The part of urllib3's response that matters here."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)
        self.asked = 0
        self.closed = False

    def read(self, amount: int, *, decode_content: bool) -> bytes:
        assert not decode_content
        self.asked = max(self.asked, amount)
        return self.content.read(amount)

    def close(self) -> None:
        self.closed = True


def test_an_answer_within_its_bound_is_read_whole() -> None:
    body = BoundedBody(Raw(b"x" * 100), 100)
    assert b"".join(iter(lambda: body.read(30), b"")) == b"x" * 100


def test_an_answer_beyond_its_bound_is_cut_off() -> None:
    raw = Raw(b"x" * 1000)
    body = BoundedBody(raw, 100)
    with pytest.raises(requests.exceptions.ContentDecodingError):
        body.read(1000)
    assert raw.closed
    assert raw.asked <= 101


def test_a_client_takes_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "from the environment")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".vault-token").write_text("from the home directory")
    client = make_client(VaultSettings("https://vault.example:8200", TOKEN, namespace="ns"))
    assert (client.token, client.allow_redirects, client.session.trust_env) == ("", False, False)
    assert client.adapter.namespace == "ns"


def test_files_for_tls_that_do_not_fit_are_a_setting(tmp_path: Path) -> None:
    authority = create_authority(tmp_path)
    one, other = authority.issue("one", client=True), authority.issue("other", client=True)
    fitting = VaultSettings("https://v", TOKEN, None, authority.certificate_file, one.certificate, one.key)
    assert tls_context(fitting).check_hostname
    for settings in (
        VaultSettings("https://v", TOKEN, None, authority.certificate_file, one.certificate, other.key),
        VaultSettings("https://v", TOKEN, None, tmp_path / "none"),
        VaultSettings("https://v", TOKEN, None, one.key),
    ):
        with raising(KeySettingError, KeysReason.VAULT_SETTING):
            tls_context(settings)


# Several things at once: answers in order, and the first error ends it.


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_answers_come_in_the_order_of_the_items(count: int) -> None:
    assert at_once(lambda number: number * 2, range(count)) == [number * 2 for number in range(count)]


def test_so_many_run_at_once() -> None:
    together = threading.Barrier(THREADS, timeout=10)
    assert at_once(lambda number: together.wait() >= 0 and number, range(THREADS)) == list(range(THREADS))


def test_after_an_error_nothing_is_begun() -> None:
    begun: list[int] = []

    def fail(number: int) -> int:
        begun.append(number)
        raise KeyError(number)

    with pytest.raises(KeyError):
        at_once(fail, range(1000))
    assert len(begun) <= THREADS
