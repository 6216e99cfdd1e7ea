"""Envelopes are opened as far as rights go."""

from contextlib import closing
from pathlib import Path

import pytest
from bson import Binary

from sealwire.crypto.errors import DecryptionFailed
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.errors import UnknownKey
from sealwire.keys.keyring.data_key import KeyIds
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.policies.roles.role import CLEAR, DENIED, ClassAccess, Disclosure, Level, Mask, Rights
from sealwire.proxy.session.replies import ReadDenied
from sealwire.proxy.session.revealing.reveal import reveal
from sealwire.proxy.session.revealing.shown import Shown
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire.op_msg import parse_op_msg
from tests.proxy.session.rewriting.test_contexts import World, batch, inserted
from tests.proxy.session.world import KEYRING, body_of, data_key, reply, sealed

NHS = "9434765919"


def seen(stored: Binary, disclosure: Disclosure, keyring: Keyring = KEYRING) -> object:
    rights = Rights(("r",), {"nhs": ClassAccess(disclosure)}, ClassAccess(CLEAR))
    shown = Shown(rights, keyring.classes_of, keyring.open_envelope)
    message = reply({"v": [stored, "beside"], "ok": 1.0})
    return body_of(reveal(message, parse_op_msg(message), shown.open_envelope)[0])["v"]


def test_each_level() -> None:
    stored = sealed("nhs", NHS)
    assert seen(stored, CLEAR) == [NHS, "beside"]
    assert seen(stored, Disclosure(Level.MASKED, Mask.LAST4)) == ["****5919", "beside"]
    assert seen(stored, Disclosure(Level.CIPHERTEXT)) == [stored, "beside"]
    with pytest.raises(ReadDenied):
        seen(stored, DENIED)


def test_a_class_id_of_another_class_gets_nobody_a_value() -> None:
    stored = sealed("nhs", NHS)
    relabelled = Binary(stored[:7] + b"\x02" + stored[8:], 0x80)
    with pytest.raises(DecryptionFailed):
        seen(relabelled, DENIED)


def test_a_class_that_the_keyring_does_not_know_is_asked_for() -> None:
    with pytest.raises(UnknownKey):
        seen(Binary(sealed("nhs", NHS)[:7] + b"\x63" + sealed("nhs", NHS)[8:], 0x80), CLEAR)


def test_a_class_without_a_name_is_not_shown_even_where_a_key_opens_it() -> None:
    shown = Shown(Rights(("r",), others=ClassAccess(CLEAR)), lambda _id: (), KEYRING.open_envelope)
    message = reply({"v": sealed("nhs", NHS), "ok": 1.0})
    with pytest.raises(ReadDenied):
        reveal(message, parse_op_msg(message), shown.open_envelope)


def test_of_classes_that_share_a_key_the_least_counts() -> None:
    borrower = data_key("visits")
    lent = type(borrower)(
        *("visits", borrower.class_id, 1, borrower.state, borrower.created, data_key("nhs").material),
        lender=KeyIds(data_key("nhs").class_id, 1),
    )
    keyring = Keyring([data_key("nhs"), lent])
    assert keyring.classes_of(data_key("nhs").class_id) == ("nhs", "visits")
    rights = Rights(("r",), {"nhs": ClassAccess(CLEAR)}, ClassAccess(DENIED))
    shown = Shown(rights, keyring.classes_of, keyring.open_envelope)
    message = reply({"v": sealed("nhs", NHS), "ok": 1.0})
    with pytest.raises(ReadDenied):
        reveal(message, parse_op_msg(message), shown.open_envelope)


def test_a_class_with_keys_for_contexts_is_known_by_the_same_id(tmp_path: Path) -> None:
    policy = load_policy(
        b"""
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant}}
  notes: {mode: random, key: {per: tenant}}
collections:
  clinic.people: {ssn: ssn, notes: notes}
roles:
  clerk:
    certificates: ["CN=clerk"]
    classes: {ssn: {read: {mask: last4}}, notes: {read: ciphertext}}
""",
        "p",
    )
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        world = World(store)
        (stored,) = inserted(world, {"tenant": 1, "ssn": NHS, "notes": "y"})
        world.shared.use_settings(SessionSettings(policy, login_required=False))
        world.session.settings_changed()
        world.session.certified("CN=clerk")
        (seen,) = world.receive(batch(stored))["cursor"]["firstBatch"]
    assert seen == {"tenant": 1, "ssn": "****5919", "notes": stored["notes"]}
