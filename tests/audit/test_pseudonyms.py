"""Pseudonyms: what makes them equal, what keeps them apart, and the file of their key."""

import hmac
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.audit.errors import AuditKeyProblem, AuditReason
from sealwire.audit.pseudonyms import KEY_BYTES, Identifier, PseudonymKey, load_pseudonym_key
from sealwire.keys.errors import UnsafeFile
from tests.support.reasons import raising

KEY = PseudonymKey(bytes(range(32)))
STRING = 2
NHS = Identifier(STRING, b"\x0b\0\0\0" + b"9434765919\0")


def test_it_is_a_keyed_hash_of_type_and_value() -> None:
    message = b"sealwire subject 1\0\x02\x0b\0\0\x009434765919\0"
    assert KEY.pseudonym(NHS) == hmac.digest(bytes(range(32)), message, "sha256")[:16].hex()


def test_persons_types_and_keys_are_told_apart() -> None:
    other = PseudonymKey(bytes(32))
    made = {
        KEY.pseudonym(NHS),
        KEY.pseudonym(Identifier(STRING, NHS.value[:-2] + b"8\0")),
        KEY.pseudonym(Identifier(5, NHS.value)),
        other.pseudonym(NHS),
        KEY.seal("subject", bytes((NHS.kind,)) + NHS.value)[:16].hex(),
    }
    assert len(made) == 5
    assert all(len(each) == 32 for each in made)


def test_what_leads_to_a_person_is_told_apart_by_where_it_leads() -> None:
    message = b"sealwire linked 1\0clinic.patients._id\0\x02" + NHS.value
    made = KEY.name_of("clinic.patients._id", STRING, NHS.value)
    assert made == hmac.digest(bytes(range(32)), message, "sha256")[:16].hex()
    assert KEY.name_of("", STRING, NHS.value) == KEY.pseudonym(NHS)
    assert len({made, KEY.pseudonym(NHS), KEY.name_of("clinic.visits._id", STRING, NHS.value)}) == 3


def test_neither_key_nor_value_is_shown_or_serialised() -> None:
    assert repr(NHS) == "Identifier()"
    assert repr(KEY) == "PseudonymKey()"
    with pytest.raises(TypeError):
        pickle.dumps(KEY)


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "subjects.key"
    path.touch(0o600)
    path.write_bytes(KEY.written())
    assert load_pseudonym_key(path).pseudonym(NHS) == KEY.pseudonym(NHS)
    path.chmod(0o644)
    with pytest.raises(UnsafeFile):
        load_pseudonym_key(path)


@pytest.mark.parametrize(
    "written",
    [b"", b"x", b"SUBJECTS+KEY+", b"SUBJECTS+KEY+AAAA", KEY.written()[13:], b"\xff", b"SUBJECTS+KEY+?"],
)
def test_what_is_no_key_is_refused_and_not_shown(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "subjects.key"
    path.touch(0o600)
    path.write_bytes(written)
    with raising(AuditKeyProblem, AuditReason.KEY) as caught:
        load_pseudonym_key(path)
    assert KEY.written()[13:40].decode() not in str(caught.value)


def test_a_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match=str(KEY_BYTES)):
        PseudonymKey(bytes(31))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_a_seal_is_the_hmac_of_rfc_2104(key: bytes, content: bytes) -> None:
    message = b"sealwire sealed file 1\0holds\0" + content
    assert PseudonymKey(key).seal("holds", content) == hmac.digest(key, message, "sha256")
