"""Shares and the root token go where they belong, or are known to be nowhere."""

from pathlib import Path

import pytest

from sealwire.keys.errors import AlreadyExists
from sealwire.sidecars.vault_setup.errors import HandOverFailed, SetupReason
from sealwire.sidecars.vault_setup.hand_over import Places
from sealwire.sidecars.vault_setup.initialise import HandOver

MADE = HandOver((b"one", b"two"), b"token", "", ("one", "two"))


def test_shares_and_token_are_files_of_this_user_only(tmp_path: Path) -> None:
    places = Places(tmp_path / "shares", tmp_path / "token")
    places.prepare()
    assert places.fill(lambda: MADE, print) is MADE
    files = sorted((tmp_path / "shares").iterdir())
    assert [(file.name, file.read_bytes()) for file in files] == [
        ("share-1", b"one\n"),
        ("share-2", b"two\n"),
    ]
    assert (tmp_path / "token").read_bytes() == b"token\n"
    assert {file.stat().st_mode & 0o777 for file in (*files, tmp_path / "token")} == {0o600}


def test_without_files_everything_is_shown_once() -> None:
    shown: list[str] = []
    Places(None, None).fill(lambda: MADE, shown.append)
    assert shown == ["share-1:\none\n", "share-2:\ntwo\n", "root-token:\ntoken\n"]


def test_what_the_server_encrypted_is_shown_in_hexadecimal() -> None:
    shown: list[str] = []
    Places(None, None).fill(lambda: HandOver((b"\x01\xff",), b"\x02", ".pgp", ()), shown.append)
    assert shown == ["share-1.pgp:\n01ff\n", "root-token.pgp:\n02\n"]


def test_a_place_that_is_taken_is_found_before_there_is_anything_to_lose(tmp_path: Path) -> None:
    with pytest.raises(HandOverFailed) as caught:
        Places(tmp_path, None).prepare()
    assert caught.value.reason is SetupReason.OUTPUT
    (tmp_path / "token").touch()
    with pytest.raises(AlreadyExists):
        Places(tmp_path / "shares", tmp_path / "token").prepare()
    assert not (tmp_path / "shares").exists()


def test_a_server_that_makes_no_keys_leaves_no_directory(tmp_path: Path) -> None:
    def refuse() -> HandOver:
        raise HandOverFailed(SetupReason.AGE_FAILED, "no", "none")

    places = Places(tmp_path / "shares", None)
    places.prepare()
    with pytest.raises(HandOverFailed) as caught:
        places.fill(refuse, print)
    assert caught.value.reason is SetupReason.AGE_FAILED
    assert not (tmp_path / "shares").exists()
