"""Jobs where each sub-document says its context, beside an application that moves elements about."""

import json
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import parse_context_header
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.running_site import client_of, new_environ, site_at
from tests.proxy.server.site import Site, serving
from tests.support import warm

pytestmark = pytest.mark.integration

RULES = """
version: 1
classes:
  note: {mode: random, key: {per: ./patient}}
collections:
  clinic.rounds: {visits.note: note, desk.note: note}
"""
COUNT = 60
PATIENTS = 3


class Ward(NamedTuple):
    site: Site
    uri: str
    ours: Any
    stored: Any

    def run(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What a command says; `encrypt` and such know the store of the keys of contexts."""
        line = [sys.executable, "-m", "sealwire", *words, "--json"]
        environ = self.site.environ | {"SEALWIRE_SERVER_URI": self.uri}
        done = warm.run(line, env=environ, cwd=self.site.folder, capture_output=True, text=True, check=False)
        assert done.returncode == code, (done.stdout, done.stderr)
        return dict(json.loads(done.stdout))

    def migrate(self, direction: str, policy: str, *words: str, code: int = 0) -> dict[str, Any]:
        more = ["--keyring", "keyring.json", "--contexts", "contexts.db"]
        return self.run("migrate", direction, policy, "clinic.rounds", *words, *more, code=code)


@pytest.fixture
def ward(database: DatabaseProcess, tmp_path: Path) -> Iterator[Ward]:
    environ = new_environ()
    site = site_at(database, tmp_path, RULES, environ)
    site.config["keys"]["contexts"] = "contexts.db"
    create_keyring(site.keyring, EnvironmentKek(environ=environ), ["note"], datetime.now(UTC))
    with ExitStack() as stack:
        ours = stack.enter_context(client_of(stack.enter_context(serving(site))))
        direct = stack.enter_context(MongoClient[Document](database.uri()))
        for name in ("clinic", "sealwire"):
            direct.drop_database(name)
        yield Ward(site, database.uri(), ours["clinic"]["rounds"], direct["clinic"]["rounds"])


def visit(patient: int) -> Document:
    """Of all patients the same note: only where it stands says whose it is."""
    return {"patient": patient, "note": "same"}


def rounds() -> list[Document]:
    return [
        {"_id": number, "visits": [visit(each) for each in range(PATIENTS)], "desk": visit(number % PATIENTS)}
        for number in range(COUNT)
    ]


def keys_of(document: Document) -> set[tuple[int, bytes]]:
    values = [*document["visits"], document["desk"]]
    return {(each["patient"], parse_context_header(bytes(each["note"]))[1]) for each in values}


@contextmanager
def moving_about(ward: Ward) -> Iterator[None]:
    """Elements go to other places, and others come to theirs, as long as the block lasts."""
    over = threading.Event()

    def work() -> None:
        number = 0
        while not over.is_set():
            number += 1
            which = {"_id": number * 7 % COUNT}
            patient = number % PATIENTS
            ward.ours.update_one(which, {"$pull": {"visits": {"patient": patient}}})
            ward.ours.update_one(which, {"$push": {"visits": {"$each": [visit(patient)], "$position": 0}}})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def look(ward: Ward, of: Callable[[Document], Any]) -> list[Any]:
    return [of(each) for each in ward.stored.find().sort("_id")]


def test_elements_come_under_the_keys_of_their_patients_and_back(ward: Ward) -> None:
    ward.stored.insert_many(rounds())
    plan = ward.run("migrate", "plan", "policy.yaml", "--keyring", "keyring.json")
    paths = {each["path"]: each for each in plan["collections"][0]["paths"]}
    assert paths["visits.note"]["to_encrypt"] == COUNT * PATIENTS
    with moving_about(ward):
        done = ward.migrate("encrypt", "policy.yaml", "--batch", "10")
        assert (done["state"], done["left"]) == ("done", [])
    by_patient = set().union(*look(ward, keys_of))
    assert len(by_patient) == len({patient for patient, _ in by_patient}) == PATIENTS
    assert {each["note"] for one in ward.ours.find() for each in one["visits"]} == {"same"}
    ward.run("migrate", "verify", "policy.yaml", "--keyring", "keyring.json")
    ward.run("policy", "drift", "policy.yaml", "--keyring", "keyring.json")
    (ward.site.folder / "less.yaml").write_text(RULES.replace("visits.note: note, ", ""))
    words = "less.yaml", "visits.note", "--confirm", "clinic.rounds"
    assert ward.migrate("decrypt", *words)["values"] == COUNT * PATIENTS
    assert {each["note"] for one in ward.stored.find() for each in one["visits"]} == {"same"}


def test_what_says_no_context_is_told_of_before_and_after(ward: Ward) -> None:
    visits = [visit(1), {"note": "x"}, {"patient": 1.5, "note": "y"}]
    ward.stored.insert_one({"_id": 1, "patient": 5, "visits": visits, "desk": {"note": [1, None]}})
    words = "policy.yaml", "--keyring", "keyring.json"
    (path, desk) = ward.run("migrate", "plan", *words)["collections"][0]["paths"]
    assert (path["plaintext"], path["no_context"], path["to_encrypt"]) == (3, 2, 1)
    assert (desk["wrong_type"], desk["no_context"]) == (1, 0)
    rehearsed = ward.run("migrate", "rehearse", "policy.yaml", code=1)
    left = [(each["path"], each["reason"]) for one in rehearsed["jobs"] for each in one["left"]]
    assert sorted(left) == [("desk.note", "wrong-type"), ("visits.note", "no-context")]
    done = ward.migrate("encrypt", "policy.yaml", "--wrong-type", "skip", code=1)
    assert done["values"] == 1
    assert [(each["path"], each["reason"]) for each in done["reported"]].count(
        ("visits.note", "no-context")
    ) == 2
    assert [each["document"] for each in done["reported"]] == ["1"] * 3
    ward.run("migrate", "verify", *words, code=1)
    ward.run("policy", "drift", *words, code=1)
    rehearsed = ward.run("migrate", "rehearse", "policy.yaml", code=1)
    left = [(each["path"], each["reason"]) for one in rehearsed["jobs"] for each in one["left"]]
    assert sorted(left) == [("desk.note", "wrong-type"), ("visits.note", "no-context")]


# The store of context keys moves while a proxy has the old one open: no context gets two keys.


RULES_OF_MOVES = """
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant_id}}
collections:
  moving.people: {ssn: ssn}
"""


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    environ = new_environ()
    site = site_at(database, tmp_path, RULES_OF_MOVES, environ)
    site.config["keys"]["contexts"] = "contexts.db"
    create_keyring(site.keyring, EnvironmentKek(environ=environ), ["ssn"], datetime.now(UTC))
    return site


def again(action: Callable[[], Any]) -> None:
    """It fails, and may be tried again."""
    with pytest.raises(OperationFailure) as refused:
        action()
    assert refused.value.code == 262


def move(site: Site) -> dict[str, Any]:
    line = [sys.executable, "-m", "sealwire", "keys", "move-contexts", "--json"]
    line += ["--contexts", "contexts.db", "--to", "new.db"]
    done = warm.run(
        line, env=site.environ, cwd=site.folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_proxy_with_the_old_store_serves_what_it_has_and_says_nothing_of_the_rest(
    site: Site, database: DatabaseProcess
) -> None:
    with serving(site) as before, client_of(before) as client, database.connect() as direct:
        old = client["moving"]["people"]
        old.drop()
        old.insert_many({"_id": each, "tenant_id": f"t{each % 2}", "ssn": "1"} for each in range(4))
        assert move(site)["keys"] == 3
        assert old.count_documents({"tenant_id": "t0", "ssn": "1"}) == 2
        old.insert_one({"_id": 4, "tenant_id": "t1", "ssn": "1"})
        again(lambda: old.insert_one({"_id": 5, "tenant_id": "t2", "ssn": "1"}))
        assert site.serve().returncode == 78
        site.config["keys"]["contexts"] = "new.db"
        with serving(site) as after, client_of(after) as other:
            new = other["moving"]["people"]
            new.insert_one({"_id": 6, "tenant_id": "t2", "ssn": "1"})
            # not "none": the other one has it
            again(lambda: old.count_documents({"tenant_id": "t2", "ssn": "1"}))
            again(lambda: old.find_one({"_id": 6}))
            assert old.find_one({"_id": 4}) == {"_id": 4, "tenant_id": "t1", "ssn": "1"}
            found = {each["_id"]: each["ssn"] for each in new.find()}
            assert found == dict.fromkeys((0, 1, 2, 3, 4, 6), "1")
            assert new.count_documents({"tenant_id": "t1", "ssn": "1"}) == 3
        stored = defaultdict[str, set[bytes]](set)
        for each in direct["moving"]["people"].find():
            stored[each["tenant_id"]].add(parse_context_header(bytes(each["ssn"]))[1])
        assert {tenant: len(keys) for tenant, keys in stored.items()} == {"t0": 1, "t1": 1, "t2": 1}
