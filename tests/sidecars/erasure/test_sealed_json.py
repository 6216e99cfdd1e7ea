"""Files that only a holder of the key of pseudonyms can write."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.keys.errors import DamagedFile
from sealwire.sidecars.erasure.errors import ErasureDamaged
from sealwire.sidecars.erasure.sealed_json import read_sealed, sealed

KEY = PseudonymKey(bytes(range(32)))
WRITTEN = sealed(KEY, "a-form", {"text": 'x,\n "seal": "', "number": 7})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.json"
    path.touch(0o600)
    return path


def test_what_was_written_is_read(path: Path) -> None:
    path.write_bytes(WRITTEN)
    fields = read_sealed(path, KEY, "a-form")
    assert (fields.text("text"), fields.integer("number", 0, 9)) == ('x,\n "seal": "', 7)
    fields.done()


def test_another_form_is_another_file(path: Path) -> None:
    path.write_bytes(WRITTEN.replace(b"a-form", b"b-form"))
    with pytest.raises(DamagedFile):
        read_sealed(path, KEY, "a-form")
    with pytest.raises(ErasureDamaged):
        read_sealed(path, KEY, "b-form")


@given(st.integers(0, len(WRITTEN) - 1), st.integers(1, 127))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_change_is_noticed_or_changes_nothing(path: Path, place: int, change: int) -> None:
    other = bytearray(WRITTEN)
    other[place] ^= change
    path.write_bytes(bytes(other))
    try:
        fields = read_sealed(path, KEY, "a-form")
        assert (fields.text("text"), fields.integer("number", 0, 9)) == ('x,\n "seal": "', 7)
    except (DamagedFile, ErasureDamaged):
        pass
