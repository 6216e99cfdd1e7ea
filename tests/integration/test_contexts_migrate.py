"""Jobs where each sub-document says its context, beside an application that moves elements about."""

import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bson.binary import Binary
from click.testing import CliRunner, Result
from pymongo import MongoClient

from sealwire.cli.groups import keys as keys_command
from sealwire.cli.groups import migrate as command
from sealwire.crypto.envelope import SUBTYPE, parse_context_header
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import load_keyring
from sealwire.sidecars.errors import MigrationReason, SidecarError
from sealwire.sidecars.migration import engine
from sealwire.sidecars.migration.windows import turn as turn_module
from sealwire.sidecars.migration.windows.turn import Turn
from sealwire.testbed.database import DatabaseProcess, vouch_for_leases
from tests.integration.conftest import Document
from tests.integration.rotating_clinic import Application, Question, is_duplicate
from tests.integration.running_site import client_of, contexts_site, first_move
from tests.proxy.server.site import Site, serving
from tests.support import warm
from tests.support.reasons import failing

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
    ours: Any
    stored: Any

    def run(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What a command says; `encrypt` and such know the store of the keys of contexts."""
        done = warm.sealwire(*words, "--json", env=self.site.environ, cwd=self.site.folder)
        assert done.returncode == code, (done.stdout, done.stderr)
        return dict(json.loads(done.stdout))

    def migrate(self, direction: str, policy: str, *words: str, code: int = 0) -> dict[str, Any]:
        words += ("--contexts", "contexts.db")
        return self.run("migrate", direction, policy, "clinic.rounds", *words, code=code)


@pytest.fixture
def ward(database: DatabaseProcess, tmp_path: Path) -> Iterator[Ward]:
    site = contexts_site(database, tmp_path, RULES, ["note"])
    with ExitStack() as stack:
        ours = stack.enter_context(client_of(stack.enter_context(serving(site))))
        direct = stack.enter_context(MongoClient[Document](database.uri()))
        for name in ("clinic", "sealwire"):
            direct.drop_database(name)
        yield Ward(site, ours["clinic"]["rounds"], direct["clinic"]["rounds"])


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
    plan = ward.run("migrate", "plan", "policy.yaml")
    paths = {each["path"]: each for each in plan["collections"][0]["paths"]}
    assert paths["visits.note"]["to_encrypt"] == COUNT * PATIENTS
    with moving_about(ward):
        done = ward.migrate("encrypt", "policy.yaml", "--batch", "10")
        assert (done["state"], done["left"]) == ("done", [])
    by_patient = set().union(*look(ward, keys_of))
    assert len(by_patient) == len({patient for patient, _ in by_patient}) == PATIENTS
    assert {each["note"] for one in ward.ours.find() for each in one["visits"]} == {"same"}
    ward.run("migrate", "verify", "policy.yaml")
    ward.run("policy", "drift", "policy.yaml")
    (ward.site.folder / "less.yaml").write_text(RULES.replace("visits.note: note, ", ""))
    words = "less.yaml", "visits.note", "--confirm", "clinic.rounds"
    assert ward.migrate("decrypt", *words)["values"] == COUNT * PATIENTS
    assert {each["note"] for one in ward.stored.find() for each in one["visits"]} == {"same"}


def test_what_says_no_context_is_told_of_before_and_after(ward: Ward) -> None:
    visits = [visit(1), {"note": "x"}, {"patient": 1.5, "note": "y"}]
    ward.stored.insert_one({"_id": 1, "patient": 5, "visits": visits, "desk": {"note": [1, None]}})
    words = ("policy.yaml",)
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
    return contexts_site(database, tmp_path, RULES_OF_MOVES, ["ssn"])


def again(action: Callable[[], Any]) -> None:
    """It fails, and may be tried again."""
    with failing(262):
        action()


def move(site: Site) -> dict[str, Any]:
    words = ("move-contexts", "--json", "--contexts", "contexts.db", "--to", "new.db")
    done = warm.sealwire("keys", *words, env=site.environ, cwd=site.folder, timeout=60)
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


# Deterministic classes with keys for contexts are put back in clear, while an application goes on.
#
# It is the application whose contexts are taken in, by two proxies.


# Deterministic classes with keys for contexts are taken in, while an application goes on by two proxies.
#
# All tenants have the same values: only the context tells them apart, and a unique index is about both.


RULES_OF_CLASSES = """
version: 1
classes:
  code: {mode: deterministic, type: string, key: {per: tenant}}
  mark: {mode: deterministic, type: string, key: {per: ./tenant}}
collections:
  clinic.people: {code: code}
  clinic.wards: {visits.mark: mark}
"""
CLASSES = ("code", "mark")
TENANTS = 3
CODES = 60
LONGEST_S = 600.0

Clients = tuple[MongoClient[Document], MongoClient[Document], MongoClient[Document]]


@contextmanager
def clients_of(taken_in_site: Site, database: DatabaseProcess) -> Iterator[Clients]:
    """By two proxies, and the server itself, which is emptied first."""
    with ExitStack() as stack:
        direct = stack.enter_context(MongoClient[Document](database.uri()))
        for name in ("clinic", "sealwire"):
            direct.drop_database(name)
        vouch_for_leases(direct, taken_in_site.keyring)
        first, second = (
            stack.enter_context(client_of(stack.enter_context(serving(taken_in_site, LONGEST_S))))
            for _ in range(2)
        )
        yield first, second, direct


@pytest.fixture
def taken_in_site(database: DatabaseProcess, tmp_path: Path) -> Site:
    return contexts_site(database, tmp_path, RULES_OF_CLASSES, CLASSES, CLASSES, frontier_uri=database.uri())


@pytest.fixture
def taken_in_clients(taken_in_site: Site, database: DatabaseProcess) -> Iterator[Clients]:
    with clients_of(taken_in_site, database) as found:
        yield found


def migrate(taken_in_site: Site, verb: str, *words: str, code: int = 0) -> Result:
    line = [verb, str(taken_in_site.folder / "policy.yaml"), *words]
    done = CliRunner().invoke(command, line, env=taken_in_site.environ)
    assert done.exit_code == code, done.output
    return done


def taken_in(taken_in_site: Site, class_name: str, *words: str, code: int = 0) -> dict[str, Any]:
    contexts = ("--contexts", str(taken_in_site.folder / "contexts.db"))
    words = words if "--proxies" in words else (*words, *first_move(taken_in_site))
    done = migrate(taken_in_site, "encrypt", class_name, *contexts, "--json", *words, code=code)
    return dict(json.loads(done.stdout))


def code_of(number: int) -> str:
    return f"code-{number * 37 % CODES}"


def fill(client: MongoClient[Document]) -> None:
    people, wards = client["clinic"]["people"], client["clinic"]["wards"]
    people.create_index([("tenant", 1), ("code", 1)], unique=True)
    people.insert_many(
        {"_id": f"{tenant}-{number}", "tenant": tenant, "code": code_of(number), "fixed": True}
        for tenant in range(TENANTS)
        for number in range(CODES)
    )
    wards.insert_many(
        {"_id": number, "visits": [{"tenant": tenant, "mark": code_of(number)} for tenant in range(TENANTS)]}
        for number in range(CODES)
    )


class TenantsApplication(Application):
    """One with several tenants."""

    def _questions(self) -> list[Question]:
        return [self._one, self._several, self._grouped, self._own, self._other_tenant, self._moved]

    def _one(self, database: Any, chance: random.Random, _tag: str) -> bool:
        tenant, number = chance.randrange(TENANTS), chance.randrange(CODES)
        found = list(database.people.find({"tenant": tenant, "code": code_of(number)}))
        return [(each["_id"], each["code"]) for each in found] == [(f"{tenant}-{number}", code_of(number))]

    def _several(self, database: Any, chance: random.Random, _tag: str) -> bool:
        tenant, chosen = chance.randrange(TENANTS), chance.sample(range(CODES), 5)
        wanted = {"tenant": tenant, "code": {"$in": [code_of(each) for each in chosen]}}
        return {each["_id"] for each in database.people.find(wanted)} == {f"{tenant}-{one}" for one in chosen}

    def _grouped(self, database: Any, _chance: random.Random, _tag: str) -> bool:
        of = {"tenant": "$tenant", "code": "$code"}
        stages = [{"$match": {"fixed": True}}, {"$group": {"_id": of, "n": {"$sum": 1}}}]
        groups = [(each["_id"], each["n"]) for each in database.people.aggregate(stages)]
        found = {(each["tenant"], each["code"]): count for each, count in groups}
        return found == {(tenant, code_of(one)): 1 for tenant in range(TENANTS) for one in range(CODES)}

    def _own(self, database: Any, chance: random.Random, tag: str) -> bool:
        """Stored, found, refused a second time, changed, found as what it is, and gone."""
        tenant, people = chance.randrange(TENANTS), database.people
        people.insert_one({"_id": tag, "tenant": tenant, "code": tag})
        is_unique = is_duplicate(people, {"_id": f"{tag} again", "tenant": tenant, "code": tag})
        people.update_one({"tenant": tenant, "code": tag}, {"$set": {"code": f"other {tag}"}})
        before = people.count_documents({"tenant": tenant, "code": tag})
        after = people.count_documents({"tenant": tenant, "code": f"other {tag}"})
        gone = people.delete_one({"tenant": tenant, "code": f"other {tag}"}).deleted_count
        return (is_unique, before, after, gone) == (True, 0, 1, 1)

    def _other_tenant(self, database: Any, chance: random.Random, tag: str) -> bool:
        """Replaced by a document of another tenant with the same value, of which there may be one by now."""
        people, code = database.people, f"handed on {tag}"
        people.insert_one({"_id": tag, "tenant": 0, "code": code})
        people.replace_one({"_id": tag}, {"tenant": f"new {tag}", "code": code})
        found = [people.count_documents({"tenant": each, "code": code}) for each in (0, f"new {tag}")]
        people.delete_one({"_id": tag})
        return found == [0, 1]

    def _moved(self, database: Any, chance: random.Random, tag: str) -> bool:
        """An element is taken out and put in at the front; those of other tenants change places."""
        is_second = tag.startswith("own 1")
        number, tenant = chance.randrange(CODES // 2) * 2 + is_second, chance.randrange(TENANTS)
        mine, wards = {"tenant": tenant, "mark": code_of(number)}, database.wards
        own = {"_id": number}
        wards.update_one(own, {"$pull": {"visits": mine}})
        wards.update_one(own, {"$push": {"visits": {"$each": [mine], "$position": 0}}})
        return bool(wards.count_documents(own | {"visits": {"$elemMatch": mine}}) == 1)

    def _raced(self, database: Any, _chance: random.Random, tag: str) -> bool:
        self._store(database.people, {"tenant": int(tag.removeprefix("race-")) % TENANTS, "code": tag}, tag)
        return True


def keys_by_tenant(values: list[tuple[Any, Any]]) -> dict[Any, set[bytes]]:
    found: dict[Any, set[bytes]] = {}
    for tenant, value in values:
        assert isinstance(value, Binary)
        assert value.subtype == SUBTYPE
        found.setdefault(tenant, set()).add(parse_context_header(bytes(value))[1])
    return found


def assert_each_has_its_own(values: list[tuple[Any, Any]]) -> None:
    keys = keys_by_tenant(values)
    assert {len(each) for each in keys.values()} == {1}
    assert len(set().union(*keys.values())) == len(keys)


def assert_no_value_is_noted(direct: MongoClient[Document]) -> None:
    """What a job and the proxies write for each other holds no value."""
    for name in ("frontiers", "jobs", "leases"):
        assert not any("code-" in str(each) for each in direct["sealwire"][name].find())


@pytest.mark.slow
def test_every_answer_is_right_while_classes_with_contexts_are_taken_in(
    taken_in_site: Site, taken_in_clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the application works as hard as it can: the job would give way to it for most of the time
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    first, second, direct = taken_in_clients
    fill(first)
    people, wards = direct["clinic"]["people"], direct["clinic"]["wards"]
    assert all(isinstance(each["code"], str) for each in people.find())
    application = TenantsApplication((first, second))
    with application.at_work():
        for name in CLASSES:
            assert taken_in(taken_in_site, name)["state"] == "done"
        time.sleep(1.5)  # both proxies load the keyring in which the new versions are active
    application.assert_right(100)
    assert_each_has_its_own([(each["tenant"], each["code"]) for each in people.find()])
    visits = [visit for each in wards.find() for visit in each["visits"]]
    assert_each_has_its_own([(each["tenant"], each["mark"]) for each in visits])
    assert len(visits) == CODES * TENANTS
    assert_no_value_is_noted(direct)
    migrate(taken_in_site, "verify")


def refused(done: Result) -> object:
    assert isinstance(done.exception, SidecarError | KeySettingError)
    return done.exception.reason


def test_what_is_in_the_way_is_said_before_contexts_are_taken_in(
    taken_in_site: Site, database: DatabaseProcess
) -> None:
    with MongoClient[Document](database.uri()) as direct:
        for name in ("clinic", "sealwire"):
            direct.drop_database(name)
        vouch_for_leases(direct, taken_in_site.keyring)
        people = direct["clinic"]["people"]
        people.insert_many([{"_id": 1, "tenant": 1, "code": "a"}, {"_id": 2, "code": "b"}])
        people.create_index("code", unique=True)
        plan = json.loads(migrate(taken_in_site, "plan", "--json").stdout)
        (path,) = plan["collections"][0]["paths"]
        assert (path["plaintext"], path["no_context"], path["to_encrypt"]) == (2, 1, 1)
        assert [(each["name"], each["judgement"]) for each in plan["definitions"]] == [("code_1", "lost")]
        (rehearsed,) = json.loads(migrate(taken_in_site, "rehearse", "--json", code=1).stdout)["jobs"]
        assert [(each["path"], each["reason"]) for each in rehearsed["left"]] == [("code", "no-context")]
        assert rehearsed["values"] == 1
        alone = ("--proxies", "0")
        lacking = CliRunner().invoke(
            command,
            ["encrypt", str(taken_in_site.folder / "policy.yaml"), "code", *alone],
            env=taken_in_site.environ,
        )
        assert refused(lacking) is KeysReason.CONTEXTS
        stopped = taken_in(taken_in_site, "code", "--accept", "code_1", *alone, code=1)
        assert (stopped["state"], [each["reason"] for each in stopped["refusal"]]) == (
            "refused",
            ["no-context"],
        )
        assert {each["code"] for each in people.find()} == {"a", "b"}
        ended = CliRunner().invoke(command, ["abort", stopped["job"]], env=taken_in_site.environ)
        assert ended.exit_code == 0, ended.output
        words = ("--accept", "code_1", "--wrong-type", "skip", *alone)
        done = taken_in(taken_in_site, "code", *words, code=1)
        assert (done["state"], done["values"]) == ("done", 1)
        assert [(each["document"], each["reason"]) for each in done["reported"]] == [("2", "no-context")]
        line = ["reencrypt", str(taken_in_site.folder / "policy.yaml"), "code", *alone]
        again = CliRunner().invoke(command, line, env=taken_in_site.environ)
        assert refused(again) is MigrationReason.CONTEXTS
        direct["clinic"].create_collection("wards", collation={"locale": "fr", "strength": 2})
        line = [
            "encrypt",
            str(taken_in_site.folder / "policy.yaml"),
            "mark",
            *alone,
            "--contexts",
            "contexts.db",
        ]
        assert (
            refused(CliRunner().invoke(command, line, env=taken_in_site.environ)) is MigrationReason.OBSTACLE
        )


TRANSACTIONS_S = 5
"""How long they may last on the server of these tests."""

AFTER_WINDOWS = 2
"""So many have moved when a process dies."""


@pytest.fixture
def encrypted_site(database: DatabaseProcess, tmp_path: Path) -> Site:
    return contexts_site(database, tmp_path, RULES_OF_CLASSES, CLASSES, frontier_uri=database.uri())


@pytest.fixture
def clients(encrypted_site: Site, database: DatabaseProcess) -> Iterator[Clients]:
    with clients_of(encrypted_site, database) as found:
        yield found


def line_of(encrypted_site: Site, class_name: str, *words: str) -> list[str]:
    contexts = ("--contexts", str(encrypted_site.folder / "contexts.db"))
    line = [
        "decrypt",
        str(encrypted_site.folder / "policy.yaml"),
        class_name,
        *contexts,
        "--confirm",
        class_name,
    ]
    return [*line, *first_move(encrypted_site), "--json", *words]


def put_back(encrypted_site: Site, class_name: str, *words: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(
        command, line_of(encrypted_site, class_name, *words), env=encrypted_site.environ
    )
    assert done.exit_code == code, done.output
    return dict(json.loads(done.stdout))


def of_jobs(encrypted_site: Site, *line: str) -> Any:
    """What a command without a policy answers."""
    done = CliRunner().invoke(command, [*line, "--json"], env=encrypted_site.environ)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


class Death(Exception):
    """The process is gone."""


def dies_half_way(encrypted_site: Site, class_name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The job of a process that ends with a window open; its values are waited for."""
    windows = iter(range(AFTER_WINDOWS))
    saved = Turn._saved

    def save(turn: Turn, frontier: Any) -> Any:
        found = saved(turn, frontier)
        if frontier.is_moving and next(windows, None) is None:
            raise Death
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Turn, "_saved", save)
        patched.setattr(turn_module, "FIRST_DOCUMENTS", 20)
        done = CliRunner().invoke(command, line_of(encrypted_site, class_name), env=encrypted_site.environ)
    assert isinstance(done.exception, Death), done.output
    (job,) = of_jobs(encrypted_site, "status")["jobs"]
    assert job["state"] == "running"
    return str(job["job"])


def stored(direct: MongoClient[Document]) -> list[Any]:
    people, wards = direct["clinic"]["people"], direct["clinic"]["wards"]
    return [
        *(each["code"] for each in people.find()),
        *(visit["mark"] for each in wards.find() for visit in each["visits"]),
    ]


@pytest.mark.slow
def test_every_answer_is_right_while_classes_with_contexts_are_put_back(
    encrypted_site: Site, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the application works as hard as it can: the job would give way to it for most of the time
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    first, second, direct = clients
    fill(first)
    assert all(isinstance(each, Binary) for each in stored(direct))
    application = TenantsApplication((first, second))
    contexts = ("--contexts", str(encrypted_site.folder / "contexts.db"))
    with application.at_work():
        job = dies_half_way(encrypted_site, "code", monkeypatch)
        resumed = migrate(encrypted_site, "resume", job, *contexts, "--json")
        assert json.loads(resumed.stdout)["state"] == "done"
        assert put_back(encrypted_site, "mark")["state"] == "done"
        time.sleep(1.5)  # both proxies load the keyring in which the classes are in clear
    application.assert_right(100)
    assert all(isinstance(each, str) for each in stored(direct))
    assert_no_value_is_noted(direct)
    migrate(encrypted_site, "verify")
    # and they can be taken in again, by the keys that their contexts have still
    assert taken_in(encrypted_site, "code")["state"] == "done"
    migrate(encrypted_site, "verify")


def test_a_job_that_is_aborted_is_gone_on_with_by_the_next(
    encrypted_site: Site, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, direct = clients
    fill(first)
    job = dies_half_way(encrypted_site, "code", monkeypatch)
    assert "sealwire migrate decrypt POLICY code" in str(of_jobs(encrypted_site, "abort", job))
    migrate(encrypted_site, "verify", code=1)
    shred = ["shred", "code", "1", "--type", "int", "--contexts", str(encrypted_site.folder / "contexts.db")]
    done = CliRunner().invoke(keys_command, shred, env=encrypted_site.environ)
    assert isinstance(done.exception, KeySettingError), done.output
    assert done.exception.reason is KeysReason.KEY_STATE
    assert put_back(encrypted_site, "code")["state"] == "done"
    assert all(isinstance(each["code"], str) for each in direct["clinic"]["people"].find())


def test_what_stands_in_the_way_is_said_before_anything_moves(encrypted_site: Site, clients: Clients) -> None:
    first, _, direct = clients
    fill(first)
    people = direct["clinic"]["people"]
    words = [word for word in line_of(encrypted_site, "code") if "contexts" not in word]
    lacking = CliRunner().invoke(command, words, env=encrypted_site.environ)
    assert refused(lacking) is KeysReason.CONTEXTS
    whole = [
        "decrypt",
        str(encrypted_site.folder / "policy.yaml"),
        "--confirm",
        "everything",
        *first_move(encrypted_site),
    ]
    assert refused(CliRunner().invoke(command, whole, env=encrypted_site.environ)) is KeysReason.CONTEXTS
    assert (
        load_keyring(encrypted_site.keyring, EnvironmentKek(environ=encrypted_site.environ)).pending_classes
        == ()
    )
    people.create_index("code", unique=True)
    beyond = CliRunner().invoke(command, line_of(encrypted_site, "code"), env=encrypted_site.environ)
    assert refused(beyond) is MigrationReason.OBSTACLE
    people.drop_index("code_1")
    people.insert_one({"_id": "past", "tenant": 1, "code": "code-1"})
    stopped = put_back(encrypted_site, "code", code=1)
    assert [each["reason"] for each in stopped["refusal"]] == ["in-clear"]
    assert direct["sealwire"]["frontiers"].find_one() is None
