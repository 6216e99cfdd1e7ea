"""`sealwire erase run`: what its user got wrong, before anything is changed."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from sealwire.cli.erase.run import backups_with
from sealwire.sidecars.backup.keeping.catalog import read_catalog
from sealwire.sidecars.backup.keeping.retention import RetentionPolicy
from tests.cli.erase.conftest import OPTIONS
from tests.cli.runs import Run
from tests.keys.samples import NOW
from tests.sidecars.backup.samples import local, seal

NHS = "943 476 5919"
RUN = ("run", *OPTIONS, "--receipt", "receipt", "--yes")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        (("--delete", "--overwrite"), 2),
        (("--delete", "--keep-daily", "-1"), 2),
        (("--delete",), 69),
        (("--delete", "--audit-key", "missing"), 78),
        (("--delete", "--audit-key", "subjects.key"), 65),
        (("--delete", "--receipt", "policy.yaml"), 73),
        (("--delete", "--contexts", "missing.db"), 78),
    ],
)
def test_mistakes(run: Run, words: tuple[str, ...], code: int) -> None:
    outcome = run(*RUN, *words, stdin=f"{NHS}\n")
    assert outcome.code == code
    assert "error" in outcome.err.lower()
    assert NHS not in outcome.out + outcome.err
    assert not Path("receipt").exists()


def test_without_a_terminal_it_does_not_go_on_by_itself(run: Run) -> None:
    assert run("run", *OPTIONS, "--receipt", "receipt", "--delete", stdin=f"{NHS}\n").code == 2


def test_an_empty_identifier_is_nobodys(run: Run) -> None:
    assert run(*RUN, "--delete", stdin="\n").code == 2
    assert run("find", *OPTIONS, stdin="").code == 2


def test_find_needs_a_server(run: Run) -> None:
    outcome = run("find", *OPTIONS, stdin=f"{NHS}\n")
    assert (outcome.code, NHS in outcome.err) == (69, False)


def test_a_policy_that_does_not_say_whose_data_it_is(run: Run) -> None:
    run("find", *OPTIONS, stdin="")
    Path("policy.yaml").write_text(Path("policy.yaml").read_text().replace("subjects: {class: nhs}", ""))
    assert run(*RUN, "--delete", stdin=f"{NHS}\n").code == 2


def test_a_key_of_pseudonyms_that_others_read(run: Run) -> None:
    os.chmod("subjects.key", 0o644)  # noqa: PTH101 - as an operator does
    assert run(*RUN, "--delete", stdin=f"{NHS}\n").code == 77


LATER = NOW + timedelta(days=9)


def test_those_that_hold_the_collections_or_may(tmp_path: Path) -> None:
    for name, day in (("one", 0), ("two", 1), ("three", 2), ("four", 20)):
        seal(local(tmp_path), name, created=NOW + timedelta(days=day))
    (tmp_path / "two.tar.gz.enc.json").unlink()
    # without its manifest a backup is as old as its file
    made = (NOW + timedelta(days=1)).timestamp()
    os.utime(tmp_path / "two.tar.gz.enc", (made, made))
    namespace = next(iter(make_namespaces(tmp_path)))
    found = {row["name"]: row for row in backups_with(str(tmp_path), {namespace}, None, LATER)}
    assert found["one"] == {"name": "one", "created": "2026-01-31T12:30:15Z", "holds": "ciphertext"}
    assert "three" in found
    assert "four" not in found
    others = backups_with(str(tmp_path), {"other.collection"}, RetentionPolicy(daily=7), LATER)
    assert [(row["name"], row["holds"]) for row in others] == [("two", "unknown")]
    dated = backups_with(str(tmp_path), {namespace}, RetentionPolicy(daily=7), LATER)
    assert {row["name"]: row["until"] for row in dated}["one"] == "2026-02-07T12:30:15Z"


def make_namespaces(folder: Path) -> tuple[str, ...]:
    """What the sample backups hold."""
    manifest = read_catalog(local(folder)).entries[0].manifest
    assert manifest is not None
    return manifest.namespaces
