"""`sealwire erase` on the data of a clinic that an application writes through Sealwire."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.binary import Binary
from pymongo import MongoClient

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.audit.signing import make_key
from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.file import create_keyring, load_keyring
from sealwire.keys.keyring.store import FileStore
from sealwire.keys.private_file import create_private, create_public, writer_lock
from sealwire.testbed.database import DatabaseProcess
from tests.build_context import ROOT
from tests.integration.conftest import Document, found_in
from tests.integration.outside.chosen import own_server
from tests.integration.running_site import client_of, new_environ, site_at
from tests.proxy.server.site import Site, serving
from tests.support import warm
from tests.support.doc_commands import run_document
from tests.support.private import private

# A clinic of two patients, written through Sealwire, and the commands that erase one of them.


ANNE, BILL = "943 476 5919", "401 023 2137"
RULES = """
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  notes: {mode: random, key: {per: patient}}
  phone: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs, phones: phone, kin.nhs: nhs, kin.phone: phone}
  "clinic*.appointments": {who.nhs: nhs, reason: phone}
  clinic.letters: {text: notes}
subjects:
  class: nhs
  links:
    clinic.visits.patient_id: clinic.patients._id
    clinic.results.visit: clinic.visits.number
    clinic.letters.patient: clinic.patients._id
"""
SETTINGS = {
    "SEALWIRE_KEYRING": "keyring.json",
    "SEALWIRE_KEYS_CONTEXTS": "contexts.db",
    "SEALWIRE_AUDIT_SUBJECTS_KEY": "subjects.key",
    "SEALWIRE_AUDIT_KEY": "audit.key",
    "SEALWIRE_HOLDS": "holds.json",
}


@dataclass
class Clinic:
    """The site, its client, and the server past it."""

    site: Site
    client: MongoClient[Document]
    direct: MongoClient[Document]
    uri: str
    environ: dict[str, str]
    """What commands are given."""

    def fill(self) -> None:
        """Two patients with the same sort of documents."""
        for number, nhs in ((1, ANNE), (2, BILL)):
            clinic = self.client["clinic"]
            clinic["patients"].insert_one(
                {"_id": number, "nhs_number": nhs, "phones": ["1", "2"], "ward": "B"}
            )
            clinic["appointments"].insert_many([{"who": {"nhs": nhs}, "reason": "x"} for _ in range(3)])
            clinic["visits"].insert_many(
                [{"patient_id": number, "number": 10 * number + i} for i in range(2)]
            )
            clinic["results"].insert_many([{"visit": 10 * number + i, "of": number} for i in range(2)])
            clinic["letters"].insert_one({"patient": number, "text": f"dear {number}"})
            self.client["clinic_east"]["appointments"].insert_one({"who": [{"nhs": nhs}], "reason": "y"})

    def stored(self) -> dict[str, list[Document]]:
        """All that the server has, by collection."""
        return {
            f"{database}.{name}": list(self.direct[database][name].find().sort("_id"))
            for database in ("clinic", "clinic_east")
            for name in self.direct[database].list_collection_names()
        }

    def run(
        self, *words: str, stdin: str = f"{ANNE}\n", **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """A command as an operator gives it."""
        return warm.sealwire(*words, env=self.environ, cwd=self.site.folder, input=stdin, timeout=120)

    def erase(self, *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        return self.run("erase", "run", "policy.yaml", "--yes", "--receipt", "receipt", *words, **more)

    def receipt(self) -> dict[str, Any]:
        shown = self.run("erase", "verify-receipt", "receipt", "--key", "audit.key.pub", "--json")
        assert shown.returncode == 0, shown.stderr
        found: dict[str, Any] = json.loads(shown.stdout)
        return found


@contextmanager
def clinic_at(database: DatabaseProcess, folder: Path) -> Iterator[Clinic]:
    """The clinic in a folder with all keys and files. Cost: 3 s."""
    environ = new_environ()
    site = site_at(database, folder, RULES, environ)
    site.config["keys"]["contexts"] = "contexts.db"
    kek = EnvironmentKek(environ=environ)
    create_keyring(site.keyring, kek, ["nhs", "notes", "phone"], datetime.now(UTC))
    create_private(folder / "subjects.key", PseudonymKey(bytes(range(32))).written())
    key = make_key("clinic", bytes(range(32)))
    create_private(folder / "audit.key", key.written())
    create_public(folder / "audit.key.pub", f"{key.verification}\n".encode())
    with serving(site) as proxy, client_of(proxy) as client, MongoClient[Document](database.uri()) as direct:
        for name in ("clinic", "clinic_east"):
            direct.drop_database(name)
        uri = database.uri()
        commands = environ | SETTINGS | {"SEALWIRE_SERVER_URI": uri}
        clinic = Clinic(site, client, direct, uri, commands)
        clinic.fill()
        assert clinic.run("hold", "create").returncode == 0
        yield clinic


def only(stored: dict[str, list[Document]], number: int) -> dict[str, list[Document]]:
    """Of each collection the first or the second half, which is the first or the second patient's."""
    return {
        name: found[: len(found) // 2] if number == 1 else found[len(found) // 2 :]
        for name, found in stored.items()
    }


COUNTS = {
    "clinic.appointments": 3,
    "clinic.letters": 1,
    "clinic.patients": 1,
    "clinic.results": 2,
    "clinic.visits": 2,
    "clinic_east.appointments": 1,
}

pytestmark = [pytest.mark.integration, own_server("it starts proxies of its own")]


@pytest.fixture
def clinic(database: DatabaseProcess, tmp_path: Path) -> Iterator[Clinic]:
    with clinic_at(database, tmp_path) as clinic:
        yield clinic


def test_find_counts_and_shows_nobody(clinic: Clinic) -> None:
    found = clinic.run("erase", "find", "policy.yaml", "--json")
    assert found.returncode == 0, found.stderr
    rows = json.loads(found.stdout)["collections"]
    assert {row["namespace"]: row["documents"] for row in rows} == COUNTS
    assert not any(row["shared"] for row in rows)
    table = clinic.run("erase", "find", "policy.yaml", "--ids")
    assert "clinic.patients: 1" in table.stdout
    for outcome in (found, table):
        assert ANNE not in outcome.stdout + outcome.stderr


def test_a_person_is_deleted_and_nobody_else(clinic: Clinic) -> None:
    before = only(clinic.stored(), 2)
    outcome = clinic.erase("--delete", "--shred", "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert clinic.stored() == before
    receipt = clinic.receipt()
    assert {row["namespace"]: row["erased"] for row in receipt["collections"]} == COUNTS
    assert receipt["ways"] == ["delete", "shred"]
    assert receipt["looked_again"] == "identifier and links"
    assert [key["class_name"] for key in receipt["keys"]] == ["notes"]
    assert receipt["subject"] == json.loads(outcome.stdout)["subject"]
    assert ANNE not in (clinic.site.folder / "receipt").read_text()
    assert not (clinic.site.folder / "receipt.journal").exists()
    again = clinic.run("erase", "find", "policy.yaml")
    assert (again.returncode, ANNE in again.stderr) == (66, False)


def test_a_person_is_overwritten(clinic: Clinic) -> None:
    before = clinic.stored()
    clinic.direct["clinic"]["patients"].create_index("nhs_number", unique=True)
    outcome = clinic.erase("--overwrite")
    assert outcome.returncode == 0, outcome.stderr
    after = clinic.stored()
    assert only(after, 2) == only(before, 2)
    first = clinic.client["clinic"]["patients"].find_one({"_id": 1})
    assert first == {"_id": 1, "nhs_number": None, "phones": None, "ward": "B"}
    assert clinic.client["clinic"]["letters"].find_one({"patient": 1}, {"_id": 0}) == {
        "patient": 1,
        "text": None,
    }
    second = clinic.erase("--overwrite", "--receipt", "second", stdin=f"{BILL}\n")
    assert second.returncode == 0, second.stderr
    found = found_in(clinic.client["clinic"]["patients"], {"_id": 2})
    assert found["nhs_number"].startswith("erased-")


def test_a_hold_stops_it_and_nothing_is_half_done(clinic: Clinic) -> None:
    before = clinic.stored()
    assert clinic.run("hold", "place", "policy.yaml", "--case", "QB-1").returncode == 0
    outcome = clinic.erase("--delete")
    assert outcome.returncode == 77
    assert clinic.stored() == before
    assert clinic.run("hold", "release", "1").returncode == 0
    assert clinic.erase("--delete").returncode == 0


def test_nobody_is_found(clinic: Clinic) -> None:
    before = clinic.stored()
    outcome = clinic.erase("--delete", stdin="999 999 9999\n")
    assert outcome.returncode == 66
    assert "999" not in outcome.stdout + outcome.stderr
    assert clinic.stored() == before
    assert not (clinic.site.folder / "receipt").exists()


def test_a_dry_run_says_what_would_be_done(clinic: Clinic) -> None:
    before = clinic.stored()
    outcome = clinic.erase("--delete", "--shred", "--dry-run", "--json")
    assert outcome.returncode == 0, outcome.stderr
    said = json.loads(outcome.stdout)
    assert {row["namespace"]: row["erased"] for row in said["collections"]} == COUNTS
    assert (said["keys"], said["dry_run"]) == (1, True)
    assert clinic.stored() == before
    assert not list(clinic.site.folder.glob("receipt*"))


def test_shared_documents_are_named_and_asked_for_each(clinic: Clinic) -> None:
    kin = {"nhs": ANNE, "phone": "5"}
    patients = clinic.client["clinic"]["patients"]
    patients.update_one({"_id": 2}, {"$set": {"kin": kin}})
    before = clinic.stored()
    outcome = clinic.erase("--delete", "--dry-run", "--json")
    assert outcome.returncode == 0, outcome.stderr
    said = json.loads(outcome.stdout)
    name = "clinic.patients:2"
    (shared,) = said["shared_documents"]
    assert shared == {"document": name, "paths": ["kin.nhs", "kin.phone"], "undecided": 0, "followed": False}
    (row,) = (each for each in said["collections"] if each["namespace"] == "clinic.patients")
    assert (row["found"], row["erased"], row["shared"]) == (2, 1, 1)
    assert name in clinic.erase("--delete", "--dry-run").stdout
    assert clinic.erase("--delete").returncode == 78
    assert clinic.erase("--delete", "--shared-document", "clinic.patients:1").returncode == 2
    assert clinic.stored() == before
    outcome = clinic.erase("--delete", "--shared-document", name)
    assert outcome.returncode == 0, outcome.stderr
    bill = patients.find_one({"_id": 2})
    assert bill == {"_id": 2, "nhs_number": BILL, "phones": ["1", "2"], "ward": "B"}
    left = clinic.stored()
    assert {name: left[name] for name in COUNTS if name != "clinic.patients"} == {
        name: found for name, found in only(before, 2).items() if name != "clinic.patients"
    }
    (row,) = (each for each in clinic.receipt()["collections"] if each["namespace"] == "clinic.patients")
    assert (row["erased"], row["shared"]) == (1, 1)
    assert clinic.receipt()["undecided"] == 0


def test_other_spellings_of_the_number_are_found_and_held(clinic: Clinic) -> None:
    compact = ANNE.replace(" ", "")
    found = clinic.run("erase", "find", "policy.yaml", "--json", stdin=f"{compact}\n")
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    assert {row["namespace"]: row["documents"] for row in said["collections"]} == COUNTS
    assert not any(row["shared"] for row in said["collections"])
    assert any("spellings" in each for each in said["not_searched"])
    assert clinic.run("hold", "place", "policy.yaml", "--case", "QB-1").returncode == 0
    assert clinic.erase("--delete", stdin=f"{compact}\n").returncode == 77
    assert clinic.run("hold", "release", "1").returncode == 0
    patient = found_in(clinic.direct["clinic"]["patients"], {"_id": 1})
    assert clinic.erase("--delete", stdin=f"{compact}\n").returncode == 0
    clinic.direct["clinic"]["patients"].insert_one(patient)
    words = ("erase", "check", "policy.yaml", "receipt", "--key", "audit.key.pub")
    assert clinic.run(*words, stdin="").returncode == 1


def test_gridfs_is_looked_through_or_named(clinic: Clinic) -> None:
    clinic.client["clinic"]["fs.files"].insert_one({"_id": 7, "metadata": {"patient_id": 1}})
    clinic.client["clinic"]["fs.chunks"].insert_one({"files_id": 7, "n": 0})
    named = json.loads(clinic.run("erase", "find", "policy.yaml", "--json").stdout)["not_searched"]
    unnamed = {"clinic.fs.files: GridFS metadata", "clinic.fs.chunks: GridFS contents"}
    assert unnamed | {"clinic.fs.files: GridFS names of files"} < set(named)
    policy = clinic.site.folder / "policy.yaml"
    links = (
        "  links:\n    clinic.fs.files:metadata.patient_id: clinic.patients._id\n"
        "    clinic.fs.chunks:files_id: clinic.fs.files:_id\n"
    )
    policy.write_text(policy.read_text().replace("  links:\n", links))
    outcome = clinic.erase("--delete")
    assert outcome.returncode == 0, outcome.stderr
    receipt = clinic.receipt()
    gone = {row["namespace"]: row["erased"] for row in receipt["collections"]}
    assert gone == COUNTS | {"clinic.fs.files": 1, "clinic.fs.chunks": 1}
    assert not unnamed.intersection(receipt["not_searched"])
    assert "clinic.fs.files: GridFS names of files" in receipt["not_searched"]
    assert not clinic.direct["clinic"]["fs.chunks"].count_documents({})


def test_of_two_at_once_the_second_one_is_told_so(clinic: Clinic) -> None:
    before = clinic.stored()
    with writer_lock(clinic.site.folder / "holds.json"):
        assert clinic.erase("--delete").returncode == 69
        assert clinic.run("hold", "place", "policy.yaml", "--case", "QB-1").returncode == 69
    assert clinic.stored() == before


def test_both_persons_at_once_are_erased_one_after_the_other(clinic: Clinic) -> None:
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(
            pool.map(
                lambda nhs: clinic.erase("--delete", "--receipt", nhs[:3], stdin=f"{nhs}\n").returncode,
                (ANNE, BILL),
            )
        )
    assert 0 in outcomes
    assert set(outcomes) <= {0, 69}
    left = sum(map(len, clinic.stored().values()))
    assert left == sum(COUNTS.values()) * outcomes.count(69)


@pytest.mark.parametrize("way", ["--delete", "--overwrite"])
def test_killed_at_any_moment_it_goes_on(clinic: Clinic, way: str) -> None:
    before = only(clinic.stored(), 2)
    words = ["-m", "sealwire", "erase", "run", "policy.yaml", "--yes", "--receipt", "receipt", way, "--shred"]
    for wait_s in (0.05, 0.1, 0.2, 0.3, 0.4):
        process = warm.WarmProcess(
            [sys.executable, *words],
            env=clinic.environ,
            cwd=clinic.site.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(f"{ANNE}\n")
        process.stdin.close()
        time.sleep(wait_s)
        process.kill()
        process.wait()
        if (clinic.site.folder / "receipt").exists():
            break
    else:
        outcome = clinic.erase(way, "--shred")
        assert outcome.returncode == 0, outcome.stderr
    receipt = clinic.receipt()
    assert {row["namespace"]: row["found"] for row in receipt["collections"]} == COUNTS
    assert clinic.run("erase", "find", "policy.yaml").returncode == 66
    assert only(clinic.stored(), 2) == before if way == "--overwrite" else clinic.stored() == before


def test_it_is_on_record_without_the_person(clinic: Clinic) -> None:
    clinic.environ["SEALWIRE_AUDIT_PATH"] = "audit.jsonl"
    assert clinic.erase("--delete").returncode == 0
    text = (clinic.site.folder / "audit.jsonl").read_text()
    lines = {line["event"]: line for line in map(json.loads, text.splitlines())}
    receipt = clinic.receipt()
    assert lines["erased"]["subject"] == lines["erasure-begun"]["subject"] == receipt["subject"]
    assert lines["erased"]["documents"] == sum(COUNTS.values())
    assert ANNE not in text


def test_no_record_no_erasure(clinic: Clinic) -> None:
    before = clinic.stored()
    (clinic.site.folder / "audit.jsonl").mkdir()
    clinic.environ["SEALWIRE_AUDIT_PATH"] = "audit.jsonl"
    assert clinic.erase("--delete").returncode == 78
    assert clinic.stored() == before


def test_while_the_class_moves_both_forms_are_found(clinic: Clinic) -> None:
    assert clinic.run("keys", "rotate", "nhs", "--policy", "policy.yaml").returncode == 0
    key = EnvironmentKek(environ=clinic.site.environ)
    keyring = load_keyring(FileStore(clinic.site.keyring), key)
    pending = keyring.pending_cipher_for("nhs")
    assert pending is not None
    value = bson.encode({"": ANNE})[6:-1]
    moved = Binary(pending.encrypt_deterministically(2, value), 0x80)
    clinic.direct["clinic"]["patients"].update_one({"_id": 1}, {"$set": {"nhs_number": moved}})
    found = json.loads(clinic.run("erase", "find", "policy.yaml", "--json").stdout)["collections"]
    assert {row["namespace"]: row["documents"] for row in found} == COUNTS
    assert clinic.erase("--delete").returncode == 0
    assert clinic.run("erase", "find", "policy.yaml").returncode == 66


def test_the_receipt_names_backups_that_hold_the_data_still(clinic: Clinic) -> None:
    store = clinic.site.folder / "backups"
    store.mkdir()
    clinic.environ["SEALWIRE_BACKUP_KEY"] = generate_encoded_kek()
    backup = ("backup", "create", "--store", str(store), "--recipient", "env:SEALWIRE_BACKUP_KEY")
    made = clinic.run(*backup)
    assert made.returncode == 0, made.stderr
    outcome = clinic.erase("--delete", "--backups", str(store), "--keep-daily", "30")
    assert outcome.returncode == 0, outcome.stderr
    (named,) = clinic.receipt()["backups"]
    assert (named["holds"], named["name"] in outcome.stdout) == ("ciphertext", True)
    kept = datetime.fromisoformat(named["until"]) - datetime.fromisoformat(named["created"])
    assert kept == timedelta(days=30)


def test_a_store_of_backups_that_does_not_answer_is_told_of_before(clinic: Clinic) -> None:
    before = clinic.stored()
    outcome = clinic.erase("--delete", "--backups", "s3://")
    assert outcome.returncode == 78
    assert clinic.stored() == before


def test_what_rejects_plaintext_takes_what_is_left(clinic: Clinic) -> None:
    enforced = clinic.run("policy", "enforce", "policy.yaml", "--yes")
    assert enforced.returncode == 0, enforced.stderr
    outcome = clinic.erase("--overwrite")
    assert outcome.returncode == 0, outcome.stderr
    assert clinic.client["clinic"]["patients"].find_one({"_id": 1}, {"nhs_number": 1}) == {
        "_id": 1,
        "nhs_number": None,
    }


def test_who_comes_back_with_a_restore_is_found_by_the_receipt(clinic: Clinic) -> None:
    patient = found_in(clinic.direct["clinic"]["patients"], {"_id": 1})
    assert clinic.erase("--delete").returncode == 0
    words = ("erase", "check", "policy.yaml", "receipt", "--key", "audit.key.pub")
    assert clinic.run(*words, stdin="").returncode == 0
    clinic.direct["clinic"]["patients"].insert_one(patient)
    outcome = clinic.run(*words, "--json", stdin="")
    assert outcome.returncode == 1
    (row,) = json.loads(outcome.stdout)["receipts"]
    assert row["documents"] == {"clinic.patients": 1}
    assert "1" in clinic.run(*words, stdin="").stdout
    damaged = patient | {"_id": 9, "nhs_number": Binary(bytes(patient["nhs_number"])[:-1] + b"x", 0x80)}
    clinic.direct["clinic"]["patients"].insert_one(damaged)
    told = json.loads(clinic.run(*words, "--json", stdin="").stdout)
    assert (told["unread"], told["receipts"]) == (1, [row])


# The commands of docs/operations/erasure.md, on a clinic with two patients.


PAGE = ROOT / "docs" / "operations" / "erasure.md"


def test_the_page_works(database: DatabaseProcess, tmp_path: Path) -> None:
    with clinic_at(database, tmp_path) as clinic:
        follow(clinic)


def follow(clinic: Clinic) -> None:
    folder = clinic.site.folder
    for name in ("audit.key", "audit.key.pub", "subjects.key", "holds.json"):
        (folder / name).unlink()
    (folder / "nhs.txt").write_text(f"{ANNE}\n")
    private(folder / "server.uri", clinic.uri)
    environ = clinic.site.environ | SETTINGS | {"SEALWIRE_SERVER_URI_FILE": "server.uri"}
    del environ["PATH"]
    before = only(clinic.stored(), 2)
    run_document(PAGE, folder, "setup", environ)
    said = run_document(PAGE, folder, "find", environ)
    assert "clinic.patients" in said
    said += run_document(PAGE, folder, "hold", environ)
    said += run_document(PAGE, folder, "run", environ)
    assert clinic.stored() == before
    said += run_document(PAGE, folder, "verify", environ)
    assert "erased-117.json: genuine" in said
    said += run_document(PAGE, folder, "check", environ)
    assert ANNE not in said
    receipt = json.loads((folder / "erased-117.json").read_text())["document"]
    assert {row["namespace"]: row["erased"] for row in receipt["collections"]} == COUNTS
