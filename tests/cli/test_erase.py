"""`sealwire erase` in a folder with a policy and keys, and no server."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.audit.signing import make_key, sign_document
from sealwire.keys.keyring.file import create_keyring
from sealwire.keys.private_file import create_private, create_public
from sealwire.sidecars.backup.keeping.catalog import RetentionPolicy, read_catalog
from sealwire.sidecars.erasure.commands import backups_with
from sealwire.sidecars.erasure.holds import create_holds
from tests.cli.runs import Run
from tests.cli.test_hold import POLICY
from tests.keys.samples import KEK_A, NOW, environment_kek
from tests.sidecars.backup.samples import local, seal

SIGNER = make_key("clinic", bytes(range(32)))
OPTIONS = ("policy.yaml", "--uri", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=1")


@pytest.fixture
def begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    key = PseudonymKey(bytes(range(32)))
    Path("policy.yaml").write_text(POLICY)
    create_private(Path("subjects.key"), key.written())
    create_holds(Path("holds.json"), key)
    create_private(Path("audit.key"), SIGNER.written())
    create_public(Path("audit.key.pub"), f"{SIGNER.verification}\n".encode())
    create_keyring(Path("keyring.json"), environment_kek(tmp_path, KEK_A), ["nhs"], datetime.now(UTC))
    for name, value in {
        "SEALWIRE_KEYRING": "keyring.json",
        "SEALWIRE_KEK_PROVIDER": "env:K",
        "K": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "SEALWIRE_AUDIT_SUBJECTS_KEY": "subjects.key",
        "SEALWIRE_AUDIT_KEY": "audit.key",
        "SEALWIRE_HOLDS": "holds.json",
    }.items():
        monkeypatch.setenv(name, value)
    return ("erase",)


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
    outcome = run(*RUN, *words, stdin=f"{NHS}\n", code=code)
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


CONTENT = {
    "subject": "a" * 32,
    "ways": ["delete"],
    "collections": [{"namespace": "clinic.patients\x1b[2J", "found": 3, "erased": 3}],
}


def test_it_is_shown_to_people_and_programs(run: Run) -> None:
    run("--help")
    Path("receipt").write_bytes(sign_document("erasure-receipt", CONTENT, SIGNER))
    outcome = run("verify-receipt", "receipt", "--key", "audit.key.pub", code=0)
    assert "receipt: genuine" in outcome.out
    assert "found=3" in outcome.out
    assert "\x1b" not in outcome.out
    said = json.loads(run("verify-receipt", "receipt", "--key", "audit.key.pub", "--json").out)
    assert said == {"form": "erasure-receipt", **CONTENT}


def test_what_is_none(run: Run) -> None:
    whole = sign_document("erasure-receipt", CONTENT, SIGNER)
    for raw in (b"", whole.replace(b'"found":3', b'"found":2'), sign_document("another", CONTENT, SIGNER)):
        run("--help")
        Path("receipt").write_bytes(raw)
        assert run("verify-receipt", "receipt", "--key", "audit.key.pub").code == 78
    assert run("verify-receipt", "receipt", "--key", "audit.key").code == 65
