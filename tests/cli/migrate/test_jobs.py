"""What leads on from an aborted move, and what then leads back."""

from dataclasses import replace

import pytest

from sealwire.cli.migrate.jobs import ways
from sealwire.cli.migrate.options import progress_bar
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.migration.job import Standing
from tests.keys.samples import NOW
from tests.sidecars.migration.windows.doubles import NHS, job

ABORTED = replace(job(), standing=Standing.ABORTED)


def keyring(*, old_plaintext: bool, new_plaintext: bool, is_moving: bool = True) -> Keyring:
    kinds = {1: (KeyState.ACTIVE, old_plaintext)}
    if is_moving:
        kinds[2] = KeyState.PENDING, new_plaintext
    return Keyring(
        replace(DataKey(NHS, 7, version, state, NOW, bytes([version]) * 64), is_plaintext=is_plaintext)
        for version, (state, is_plaintext) in kinds.items()
    )


@pytest.mark.parametrize(
    ("old_plaintext", "new_plaintext", "on", "back"),
    [(True, False, "encrypt", "decrypt"), (False, True, "decrypt", "encrypt")],
)
def test_a_move_from_or_to_plaintext_is_followed_by_its_opposite(
    old_plaintext: bool, new_plaintext: bool, on: str, back: str
) -> None:
    (found,) = ways(keyring(old_plaintext=old_plaintext, new_plaintext=new_plaintext), ABORTED)
    assert found.on == f"sealwire migrate {on} POLICY {NHS}"
    assert found.back == f"sealwire migrate {back} POLICY {NHS}"
    assert found.text.index(found.on) < found.text.index(found.back)
    assert found.document == {"class": NHS, "on": found.on, "back": found.back}


def test_a_move_between_keys_only_goes_on() -> None:
    (found,) = ways(keyring(old_plaintext=False, new_plaintext=False), ABORTED)
    assert (found.on, found.back) == (f"sealwire migrate reencrypt POLICY {NHS}", None)
    assert "back" not in found.text


@pytest.mark.parametrize("standing", [each for each in Standing if each is not Standing.ABORTED])
def test_a_job_that_was_not_aborted_has_none(standing: Standing) -> None:
    keys = keyring(old_plaintext=False, new_plaintext=False)
    assert ways(keys, replace(job(), standing=standing)) == []


def test_a_class_that_does_not_move_has_none() -> None:
    keys = keyring(old_plaintext=False, new_plaintext=False, is_moving=False)
    assert ways(keys, ABORTED) == []


def test_progress_names_the_class_and_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    begun = replace(job(), expected=200)
    with progress_bar(begun) as tell:
        tell(replace(begun, read=50))
    said = capsys.readouterr().err
    assert all(each in said for each in (f"{NHS} (job-1)", "25%", "150 left"))
