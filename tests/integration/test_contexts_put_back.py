"""Deterministic classes with keys for contexts are put back in clear, while an application goes on.

It is the application whose contexts are taken in, by two proxies.
"""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from click.testing import CliRunner, Result
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, PyMongoError

from sealwire.cli.groups import keys as keys_command
from sealwire.cli.groups import migrate as command
from sealwire.crypto.envelope import SUBTYPE, parse_context_header
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring, load_keyring
from sealwire.sidecars.errors import MigrationReason, SidecarError
from sealwire.sidecars.migration import engine
from sealwire.sidecars.migration.windows import turn as turn_module
from sealwire.sidecars.migration.windows.turn import Turn
from sealwire.testbed.database import DatabaseProcess, vouch_for_leases
from tests.integration.conftest import Document
from tests.integration.running_site import at_work, client_of, first_move, new_environ, site_at
from tests.proxy.server.site import Site, serving

# Deterministic classes with keys for contexts are taken in, while an application goes on by two proxies.
#
# All tenants have the same values: only the context tells them apart, and a unique index is about both.


"""How long they may last on the server of these tests."""

RULES = """
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


def contexts_site(database: DatabaseProcess, folder: Path, in_clear: tuple[str, ...] = ()) -> Site:
    """A proxy to be, with keys for both classes; those `in_clear` are not encrypted yet."""
    environ = new_environ()
    taken_in_site = site_at(database, folder, RULES, environ, frontier_uri=database.uri())
    taken_in_site.config["keys"]["contexts"] = "contexts.db"
    create_keyring(
        taken_in_site.keyring, EnvironmentKek(environ=environ), CLASSES, datetime.now(UTC), in_clear
    )
    taken_in_site.environ |= {
        "SEALWIRE_KEYRING": str(taken_in_site.keyring),
        "SEALWIRE_SERVER_URI": database.uri(),
    }
    return taken_in_site


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
    return contexts_site(database, tmp_path, CLASSES)


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
    found: dict[str, Any] = json.loads(done.stdout)
    return found


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


@dataclass
class Application:
    """Two clients that know every answer."""

    clients: tuple[MongoClient[Document], MongoClient[Document]]
    wrong: list[str] = field(default_factory=list)
    asked: int = 0
    races: dict[str, int] = field(default_factory=dict)
    """By what both clients store, how many were told that theirs is the one."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def at_work(self) -> AbstractContextManager[None]:
        return at_work(self._work, self._stop)

    def _work(self, place: int) -> None:
        chance = random.Random(place)
        database = self.clients[place]["clinic"]
        questions = [self._one, self._several, self._grouped, self._own, self._other_tenant, self._moved]
        turn = 0
        while not self._stop.is_set():
            turn += 1
            question = chance.choice(questions)
            try:
                is_right = question(database, chance, f"own {place}-{turn}")
                self._raced(database, turn)
            except PyMongoError as error:
                self.wrong.append(f"{question.__name__}: {type(error).__name__} {getattr(error, 'code', '')}")
            else:
                if not is_right:
                    self.wrong.append(question.__name__)
            self.asked += 1

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
        try:
            people.insert_one({"_id": f"{tag} again", "tenant": tenant, "code": tag})
        except DuplicateKeyError:
            is_unique = True
        else:
            is_unique = False
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

    def _raced(self, database: Any, turn: int) -> None:
        tag = f"race {turn}"
        try:
            database.people.insert_one({"tenant": turn % TENANTS, "code": tag})
        except DuplicateKeyError:
            return
        with self._lock:
            self.races[tag] = self.races.get(tag, 0) + 1


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
    application = Application((first, second))
    with application.at_work():
        for name in CLASSES:
            assert taken_in(taken_in_site, name)["state"] == "done"
        time.sleep(1.5)  # both proxies load the keyring in which the new versions are active
    assert application.wrong == []
    assert application.asked > 50
    assert {name: won for name, won in application.races.items() if won != 1} == {}
    assert_each_has_its_own([(each["tenant"], each["code"]) for each in people.find()])
    visits = [visit for each in wards.find() for visit in each["visits"]]
    assert_each_has_its_own([(each["tenant"], each["mark"]) for each in visits])
    assert len(visits) == CODES * TENANTS
    for name in ("frontiers", "jobs", "leases"):
        assert not any("code-" in str(each) for each in direct["sealwire"][name].find())
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


pytestmark = pytest.mark.integration

TRANSACTIONS_S = 5
"""How long they may last on the server of these tests."""

AFTER_WINDOWS = 2
"""So many have moved when a process dies."""


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    return contexts_site(database, tmp_path)


@pytest.fixture
def clients(site: Site, database: DatabaseProcess) -> Iterator[Clients]:
    with clients_of(site, database) as found:
        yield found


def line_of(site: Site, class_name: str, *words: str) -> list[str]:
    contexts = ("--contexts", str(site.folder / "contexts.db"))
    line = ["decrypt", str(site.folder / "policy.yaml"), class_name, *contexts, "--confirm", class_name]
    return [*line, *first_move(site), "--json", *words]


def put_back(site: Site, class_name: str, *words: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(command, line_of(site, class_name, *words), env=site.environ)
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def of_jobs(site: Site, *line: str) -> Any:
    """What a command without a policy answers."""
    done = CliRunner().invoke(command, [*line, "--json"], env=site.environ)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


class Death(Exception):
    """The process is gone."""


def dies_half_way(site: Site, class_name: str, monkeypatch: pytest.MonkeyPatch) -> str:
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
        done = CliRunner().invoke(command, line_of(site, class_name), env=site.environ)
    assert isinstance(done.exception, Death), done.output
    (job,) = of_jobs(site, "status")["jobs"]
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
    site: Site, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the application works as hard as it can: the job would give way to it for most of the time
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    first, second, direct = clients
    fill(first)
    assert all(isinstance(each, Binary) for each in stored(direct))
    application = Application((first, second))
    contexts = ("--contexts", str(site.folder / "contexts.db"))
    with application.at_work():
        job = dies_half_way(site, "code", monkeypatch)
        resumed = migrate(site, "resume", job, *contexts, "--json")
        assert json.loads(resumed.stdout)["state"] == "done"
        assert put_back(site, "mark")["state"] == "done"
        time.sleep(1.5)  # both proxies load the keyring in which the classes are in clear
    assert application.wrong == []
    assert application.asked > 50
    assert {name: won for name, won in application.races.items() if won != 1} == {}
    assert all(isinstance(each, str) for each in stored(direct))
    for name in ("frontiers", "jobs", "leases"):
        assert not any("code-" in str(each) for each in direct["sealwire"][name].find())
    migrate(site, "verify")
    # and they can be taken in again, by the keys that their contexts have still
    assert taken_in(site, "code")["state"] == "done"
    migrate(site, "verify")


def test_a_job_that_is_aborted_is_gone_on_with_by_the_next(
    site: Site, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, direct = clients
    fill(first)
    job = dies_half_way(site, "code", monkeypatch)
    assert "sealwire migrate decrypt POLICY code" in str(of_jobs(site, "abort", job))
    migrate(site, "verify", code=1)
    shred = ["shred", "code", "1", "--type", "int", "--contexts", str(site.folder / "contexts.db")]
    done = CliRunner().invoke(keys_command, shred, env=site.environ)
    assert isinstance(done.exception, KeySettingError), done.output
    assert done.exception.reason is KeysReason.KEY_STATE
    assert put_back(site, "code")["state"] == "done"
    assert all(isinstance(each["code"], str) for each in direct["clinic"]["people"].find())


def test_what_stands_in_the_way_is_said_before_anything_moves(site: Site, clients: Clients) -> None:
    first, _, direct = clients
    fill(first)
    people = direct["clinic"]["people"]
    words = [word for word in line_of(site, "code") if "contexts" not in word]
    lacking = CliRunner().invoke(command, words, env=site.environ)
    assert refused(lacking) is KeysReason.CONTEXTS
    whole = ["decrypt", str(site.folder / "policy.yaml"), "--confirm", "everything", *first_move(site)]
    assert refused(CliRunner().invoke(command, whole, env=site.environ)) is KeysReason.CONTEXTS
    assert load_keyring(site.keyring, EnvironmentKek(environ=site.environ)).pending_classes == ()
    people.create_index("code", unique=True)
    beyond = CliRunner().invoke(command, line_of(site, "code"), env=site.environ)
    assert refused(beyond) is MigrationReason.OBSTACLE
    people.drop_index("code_1")
    people.insert_one({"_id": "past", "tenant": 1, "code": "code-1"})
    stopped = put_back(site, "code", code=1)
    assert [each["reason"] for each in stopped["refusal"]] == ["in-clear"]
    assert direct["sealwire"]["frontiers"].find_one() is None
