"""What sessions share: what is remembered goes with what it rests on."""

from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.session.grids import Grids
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from tests.policies.support import target
from tests.proxy.session.world import (
    KEYRING,
    OWN_ADDRESS,
    POLICY,
    POLICY_TEXT,
    command,
    data_key,
    envelope,
    value_bytes,
)

SETTINGS = SessionSettings(POLICY, login_required=False)
FIND = command({"find": "beds", "$db": "stats"})
TARGET = target("find", "beds", "stats")


def sessions(shared: Shared) -> tuple[Session, Session]:
    return Session(shared, Topology(OWN_ADDRESS)), Session(shared, Topology(OWN_ADDRESS))


def test_what_one_session_has_planned_another_need_not() -> None:
    shared = Shared(SETTINGS, KEYRING)
    one, _ = sessions(shared)
    assert shared.passing.get(TARGET) is None
    one.client_data(FIND)
    assert shared.passing.get(TARGET) is not None


def test_another_policy_forgets_what_was_planned() -> None:
    shared = Shared(SETTINGS, KEYRING)
    sessions(shared)[0].client_data(FIND)
    shared.use_settings(SessionSettings(load_policy(POLICY_TEXT, "policy.yaml"), login_required=False))
    assert shared.passing.get(TARGET) is None


def test_another_keyring_forgets_the_ciphertexts_and_keeps_what_was_planned() -> None:
    shared = Shared(SETTINGS, KEYRING)
    sessions(shared)[0].client_data(FIND)
    kind, value = value_bytes(5)
    first = shared.grids.encrypted(KEYRING.cipher_for("visits"), kind, value)
    assert shared.grids.encrypted(KEYRING.cipher_for("visits"), kind, value) is first
    shared.use_keyring(Keyring([data_key("visits")]))
    assert shared.grids.encrypted(KEYRING.cipher_for("visits"), kind, value) is not first
    assert shared.passing.get(TARGET) is not None


def test_a_grid_holds_binaries_and_tells_ciphers_and_types_apart() -> None:
    grids = Grids()
    cipher = KEYRING.cipher_for("visits")
    kind, value = value_bytes(5)
    sealed = envelope("visits", 5)
    assert grids.encrypted(cipher, kind, value) == len(sealed).to_bytes(4, "little") + b"\x80" + sealed
    other = Keyring([data_key("visits", 2)]).cipher_for("visits")
    found = {grids.encrypted(each, number, value) for each in (cipher, other) for number in (kind, 0x01)}
    assert len(found) == 4


def test_what_is_shared_shows_no_key() -> None:
    assert repr(Shared(SETTINGS, KEYRING)) == f"Shared({KEYRING!r})"
