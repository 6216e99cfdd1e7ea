"""A clinic of two patients, written through Sealwire, and the commands that erase one of them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.audit.signing import make_key
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring
from sealwire.keys.private_file import create_private, create_public
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.running_site import client_of, new_environ, site_at
from tests.proxy.server.site import Site, serving
from tests.support import warm

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
        return warm.run(
            [sys.executable, "-m", "sealwire", *words],
            env=self.environ,
            cwd=self.site.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

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
