"""The state file: all or nothing, for its owner alone, and not another program's."""

import sqlite3
from pathlib import Path

import pytest

from sealwire.keys.errors import KeysError
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.errors import DetectionReason, Unavailable, Unsound


def write_and_fail(state: StateFile) -> None:
    with state.transaction():
        state.keep("name", "value")
        raise ValueError("x")


def test_a_transaction_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "s")
    with pytest.raises(ValueError, match="x"):
        write_and_fail(state)
    assert state.fact("name") is None
    with state.transaction():
        state.keep("name", "value")
        state.keep("name", "other")
    state.close()
    again = StateFile(tmp_path / "s")
    assert again.fact("name") == "other"
    again.close()
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch(0o600)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    with pytest.raises(Unsound) as caught:
        StateFile(path)
    assert caught.value.reason is DetectionReason.STATE_FOREIGN
    path.write_bytes(b"no database " * 100)
    with pytest.raises(Unsound) as caught:
        StateFile(path)
    assert caught.value.reason is DetectionReason.STATE_DAMAGED


def test_one_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    StateFile(tmp_path / "s").close()
    (tmp_path / "s").chmod(0o644)
    with pytest.raises(KeysError):
        StateFile(tmp_path / "s")


def test_one_that_is_held_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.sidecars.detection.state_file._BUSY_S", 0.01)
    one, other = StateFile(tmp_path / "s"), StateFile(tmp_path / "s")
    with one.transaction(), pytest.raises(Unavailable) as caught, other.transaction():
        pass
    assert caught.value.reason is DetectionReason.STATE_BUSY
    one.close()
    other.close()
