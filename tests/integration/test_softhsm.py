"""The contract of KEKs, and a whole keyring, under keys in a SoftHSM token."""

import gc
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex

import pkcs11
import pytest

from sealwire.keys.errors import KekUnavailable, KeysError, KeySettingError, KeysReason, UnwrapFailed
from sealwire.keys.kek.pkcs11 import PIN_VARIABLE, TokenKek
from sealwire.keys.keyring.file import create_keyring, load_keyring
from sealwire.keys.providers import Providers, parse_provider
from sealwire.testbed.certificates import create_authority
from tests.keys.kek_contract import AD, KEY, KekContract, Pair
from tests.keys.samples import NOW
from tests.support.private import private
from tests.support.runs import ran
from tests.support.softhsm import PIN, SoftHsm, soft_hsm

pytestmark = pytest.mark.integration

ENVIRON = {PIN_VARIABLE: PIN}


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    return soft_hsm(tmp_path_factory.mktemp("hsm"))


def label() -> str:
    return f"k-{token_hex(4)}"


def new_kek(hsm: SoftHsm) -> TokenKek:
    return TokenKek(hsm.make_key(label()), ENVIRON)


class TestToken(KekContract):
    @pytest.fixture
    def pair(self, hsm: SoftHsm) -> Pair:
        return new_kek(hsm), new_kek(hsm)


def refused(kek: TokenKek) -> KeysError:
    with pytest.raises(KeysError) as caught:
        kek.wrap(KEY, AD)
    assert caught.value.__cause__ is None
    assert PIN not in str(caught.value) + caught.value.hint
    return caught.value


class Forger(TokenKek):
    """Writes the mark anew over what was altered."""

    __slots__ = ()

    def forge(self, sealed: bytes, associated_data: bytes) -> bytes:
        return self._mark(sealed, associated_data) + sealed


def test_the_token_itself_refuses_another_context_and_altered_bytes(hsm: SoftHsm) -> None:
    kek = Forger(hsm.make_key(label()), ENVIRON)
    sealed = kek.wrap(KEY, AD)[16:]
    other = new_kek(hsm).wrap(KEY, AD)[16:]
    altered = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    assert kek.unwrap(kek.forge(sealed, AD), AD) == KEY
    for candidate, bound in (
        (sealed, b"other"),
        (altered, AD),
        (sealed[:20], AD),
        (other, AD),
        (b"short", AD),
    ):
        with pytest.raises(UnwrapFailed):
            kek.unwrap(kek.forge(candidate, bound), bound)


def test_a_keyring_lives_under_a_token(hsm: SoftHsm, tmp_path: Path) -> None:
    pin = private(tmp_path / "pin", PIN + "\n")
    setting = f"pkcs11:{hsm.make_key(label())}&pin-source=file:{pin}"
    create_keyring(tmp_path / "k", Providers({}).kek(parse_provider(setting)), ("a", "b"), NOW)
    assert load_keyring(tmp_path / "k", Providers({}).kek(parse_provider(setting))).class_names == ("a", "b")


def test_two_keks_of_one_process_share_the_token(hsm: SoftHsm) -> None:
    first, second = new_kek(hsm), new_kek(hsm)
    assert first.unwrap(first.wrap(KEY, AD), AD) == second.unwrap(second.wrap(KEY, AD), AD) == KEY


# The library's search for a key ends in its finaliser, which then has no session.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_lost_session_is_opened_anew(hsm: SoftHsm) -> None:
    kek = new_kek(hsm)
    wrapped = kek.wrap(KEY, AD)
    assert kek._session is not None
    kek._session.close()
    assert kek.unwrap(wrapped, AD) == KEY


def test_a_key_that_the_token_would_give_out_is_refused(hsm: SoftHsm) -> None:
    for attributes in ({"extractable": True}, {"sensitive": False}):
        error = refused(TokenKek(hsm.make_key(label(), **attributes), ENVIRON))
        assert (type(error), error.reason) == (KeySettingError, KeysReason.KMS_KEY)


def test_a_short_key_and_none_are_refused(hsm: SoftHsm) -> None:
    for place in (hsm.make_key(label(), bits=128), hsm.place("nothing")):
        error = refused(TokenKek(place, ENVIRON))
        assert (type(error), error.reason) == (KeySettingError, KeysReason.KMS_KEY)


def test_two_keys_of_one_label_are_refused(hsm: SoftHsm) -> None:
    name = label()
    hsm.make_key(name)
    error = refused(TokenKek(hsm.make_key(name), ENVIRON))
    assert (type(error), error.reason) == (KeySettingError, KeysReason.KMS_KEY)


def test_a_search_that_finds_two_keys_is_over(hsm: SoftHsm) -> None:
    name = label()
    hsm.make_key(name)
    kek = TokenKek(hsm.make_key(name), ENVIRON)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(refused, kek).result().reason is KeysReason.KMS_KEY
    # one that was left open is closed here, in another thread, and pytest reports what that raises
    gc.collect()


def test_a_token_that_is_not_plugged_in_is_unavailable(hsm: SoftHsm) -> None:
    error = refused(TokenKek(hsm.place("k", token="elsewhere"), ENVIRON))
    assert (type(error), error.reason) == (KekUnavailable, KeysReason.KEK_UNREACHABLE)


def test_a_wrong_pin_is_denied_and_a_missing_one_is_a_setting(tmp_path: Path, hsm: SoftHsm) -> None:
    """In processes of their own: here the token is logged in to, which counts for every session."""
    place = hsm.make_key(label())
    assert run_alone(place, {PIN_VARIABLE: "00000000"}) == "KekDenied kms-login"
    assert run_alone(place, {}) == "KeySettingError kms-login"
    assert run_alone(place, {PIN_VARIABLE: PIN}) == "wrapped"


def test_a_wrong_pin_is_tried_once(monkeypatch: pytest.MonkeyPatch, hsm: SoftHsm) -> None:
    kek = TokenKek(hsm.make_key(label()), {PIN_VARIABLE: "00000000"})
    tried: list[str] = []

    class Token:
        def open(self, user_pin: str) -> None:
            tried.append(user_pin)
            raise pkcs11.exceptions.PinIncorrect

    class Library:
        def get_token(self, **_: str) -> Token:
            return Token()

    monkeypatch.setattr(pkcs11, "lib", lambda _module: Library())
    for _ in "12":
        assert refused(kek).reason is KeysReason.KMS_LOGIN
    assert tried == ["00000000"]


def test_a_call_leaves_no_error_to_the_next_read_of_a_tls_connection(tmp_path: Path, hsm: SoftHsm) -> None:
    """In a process of its own: the library leaves errors in OpenSSL's queue once, when it is loaded."""
    certificate = create_authority(tmp_path).issue("database").combined
    said = run(TLS_AROUND_A_CALL, hsm.make_key(label()), str(certificate))
    assert said == "SSLWantReadError SSLWantReadError"


TLS_AROUND_A_CALL = """
import ssl
import sys
from contextlib import suppress
from sealwire.keys.kek.pkcs11 import TokenKek

server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain(sys.argv[2])
client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
sides = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
for _ in range(2):
    for side in sides:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()

def read():
    try:
        return sides[0].read(1)
    except ssl.SSLError as error:
        return type(error).__name__

before = read()
TokenKek(sys.argv[1]).wrap(b"key", b"")
print(before, read())
"""


def run_alone(place: str, environ: dict[str, str]) -> str:
    program = (
        "import sys\n"
        "from sealwire.keys.errors import KeysError\n"
        "from sealwire.keys.kek.pkcs11 import TokenKek\n"
        "try:\n"
        "    TokenKek(sys.argv[1]).wrap(b'key', b'')\n"
        "    print('wrapped')\n"
        "except KeysError as error:\n"
        "    print(type(error).__name__, error.reason.value)\n"
    )
    return run(program, place, environ=environ)


def run(program: str, *arguments: str, environ: Mapping[str, str] = ENVIRON) -> str:
    """The output of a Python program in a process of its own. Its only PIN is the one in `environ`."""
    environ = {name: value for name, value in os.environ.items() if name != PIN_VARIABLE} | dict(environ)
    command = [sys.executable, "-c", program, *arguments]
    return ran(command, env=environ, check=True).stdout.strip()
