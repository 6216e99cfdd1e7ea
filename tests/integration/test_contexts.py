"""A key for each tenant, through running proxies: values, filters, two workers at once, and shredding."""

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from bson import encode
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import parse_context_header
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Databases, Document, Record, found_in
from tests.integration.running_site import client_of, contexts_site, unread
from tests.proxy.server.site import Site, serving
from tests.support import warm
from tests.support.reasons import failing
from tests.support.waiting import until

pytestmark = pytest.mark.integration

RULES = """
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant_id}}
  notes: {mode: random, key: {per: tenant_id}}
  ward: {mode: deterministic, type: string, key: {per: "$database"}}
collections:
  "*.people": {ssn: ssn, notes: notes, ward: ward, visits.note: notes}
"""
Collection = Any


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    return contexts_site(database, tmp_path, RULES, ["ssn", "notes", "ward"])


@pytest.fixture
def clients(site: Site, database: DatabaseProcess) -> Iterator[list[MongoClient[Document]]]:
    """Two proxies that share a store, and the server itself."""
    with ExitStack() as stack:
        opened = [client_of(stack.enter_context(serving(site))) for _ in range(2)]
        opened.append(MongoClient[Document](database.uri()))
        for name in ("clinic", "race"):
            opened[-1].drop_database(name)
        yield [stack.enter_context(client) for client in opened]


def test_values_of_tenants_are_found_under_their_own_keys(clients: list[MongoClient[Document]]) -> None:
    first, second, direct = clients
    people = first["clinic"]["people"]
    people.insert_many(
        [{"_id": n, "tenant_id": n % 2, "ssn": "x", "notes": f"n{n}", "ward": "w"} for n in range(4)]
    )
    other = second["clinic"]["people"]
    assert {each["notes"] for each in other.find()} == {"n0", "n1", "n2", "n3"}
    assert [each["_id"] for each in other.find({"tenant_id": 1, "ssn": "x"}).sort("_id")] == [1, 3]
    assert [each["_id"] for each in other.find({"ward": "w"}, {"_id": 1}).sort("_id")] == [0, 1, 2, 3]
    assert other.find_one({"tenant_id": 7, "ssn": "x"}) is None
    assert other.count_documents({"$or": [{"tenant_id": 1, "ssn": "x"}, {"tenant_id": 0, "ssn": "y"}]}) == 2
    with pytest.raises(OperationFailure) as refused:
        other.find_one({"ssn": "x"})
    assert "[context]" in str(refused.value)
    stored = {each["_id"]: each for each in direct["clinic"]["people"].find()}
    keys = {number: parse_context_header(bytes(each["ssn"]))[1] for number, each in stored.items()}
    assert keys[0] == keys[2] != keys[1] == keys[3]
    assert bytes(stored[0]["ssn"]) == bytes(stored[2]["ssn"]) != bytes(stored[1]["ssn"])


def test_a_question_about_a_tenant_without_a_key_is_explained(clients: list[MongoClient[Document]]) -> None:
    clinic = clients[0]["clinic"]
    asked = {"tenant_id": 7, "ssn": "x", "ward": {"$in": ["w", "v"]}}
    for command in (
        {"find": "people", "filter": asked},
        {"aggregate": "people", "pipeline": [{"$match": asked}], "cursor": {}},
        {"count": "people", "query": asked},
        {"update": "people", "updates": [{"q": asked, "u": {"$unset": {"notes": 1}}}]},
        {"delete": "people", "deletes": [{"q": asked, "limit": 1}]},
    ):
        assert "'ssn': 'x'" in str(clinic.command({"explain": command}))


def test_updates_store_under_the_key_of_the_tenant_that_they_name(
    clients: list[MongoClient[Document]],
) -> None:
    people, other = (client["clinic"]["people"] for client in clients[:2])
    people.insert_one({"_id": 1, "tenant_id": 5, "ssn": "a"})
    people.update_one({"_id": 1, "tenant_id": 5}, {"$set": {"ssn": "b", "tenant_id": 5}})
    people.update_one({"tenant_id": 6, "ssn": "c"}, {"$set": {"notes": "new"}}, upsert=True)
    assert found_in(other, {"tenant_id": 5, "ssn": "b"})["_id"] == 1
    assert found_in(other, {"tenant_id": 6, "ssn": "c"})["notes"] == "new"
    for update in ({"$set": {"tenant_id": 7}}, {"$unset": {"tenant_id": 1}}, [{"$set": {"a": 1}}]):
        with pytest.raises(OperationFailure) as refused:
            people.update_one({"tenant_id": 5}, update)
        assert "[context]" in str(refused.value)


def test_two_workers_that_make_the_same_first_keys_agree(clients: list[MongoClient[Document]]) -> None:
    tenants = range(40)

    def write(client: MongoClient[Document]) -> None:
        for tenant in tenants:
            client["race"]["people"].insert_one({"tenant_id": tenant, "ssn": "same"})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, clients[:2]))
    counts = [
        clients[0]["race"]["people"].count_documents({"tenant_id": each, "ssn": "same"}) for each in tenants
    ]
    assert counts == [2] * len(tenants)


def keys(site: Site, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    words += ("--contexts", "contexts.db")
    return warm.sealwire("keys", *words, env=site.environ, cwd=site.folder, input=stdin)


def test_a_shredded_tenant_is_null_in_replies_and_is_not_written_to(
    site: Site, clients: list[MongoClient[Document]]
) -> None:
    first, second, _ = clients
    people = first["clinic"]["people"]
    people.insert_many([{"_id": n, "tenant_id": f"t{n}", "notes": "secret", "ssn": "1"} for n in range(2)])
    assert second["clinic"]["people"].count_documents({"tenant_id": "t1", "ssn": "1"}) == 1
    early = keys(site, "shred", "notes", "t1", "--now")
    assert early.returncode == 2
    for name in ("notes", "ssn"):
        done = keys(
            site, "shred", name, "-", "--now", "--confirm", name, "--receipt", f"{name}.json", stdin="t1\n"
        )
        assert done.returncode == 0, done.stderr
    assert "t1" not in (site.folder / "notes.json").read_text()
    receipt = json.loads((site.folder / "notes.json").read_text())
    assert (receipt["key_in_row"], receipt["key_in_files"]) == ("no", "no")
    checked = keys(site, "shred", "notes", "t1", "--verify", "notes.json")
    assert checked.returncode == 0, checked.stderr
    assert keys(site, "shred", "notes", "t0", "--verify", "notes.json").returncode == 65
    until(lambda: found_in(second["clinic"]["people"], {"_id": 1})["notes"] is None)
    until(lambda: found_in(people, {"_id": 1})["notes"] is None)
    assert {each["_id"]: each["notes"] for each in people.find()} == {0: "secret", 1: None}
    until(lambda: people.count_documents({"tenant_id": "t1", "ssn": "1"}) == 0)
    with failing(211):
        people.insert_one({"tenant_id": "t1", "notes": "back"})
    assert keys(site, "contexts", "notes", "t1", "--readmit").returncode == 0
    people.insert_one({"_id": 9, "tenant_id": "t1", "notes": "back"})
    assert found_in(second["clinic"]["people"], {"_id": 9})["notes"] == "back"
    counts = json.loads(keys(site, "contexts", "notes", "--json").stdout)
    assert (counts["live"], counts["destroyed"]) == (2, 1)
    assert b"t1" not in (site.folder / "contexts.db").read_bytes()


def test_a_plaintext_collection_is_encrypted_and_decrypted_under_its_contexts(
    site: Site, clients: list[MongoClient[Document]]
) -> None:
    first, _, direct = clients
    direct["clinic"]["people"].insert_many(
        [{"_id": n, "tenant_id": n % 3, "notes": f"n{n}", "visits": [{"note": "v"}]} for n in range(30)]
    )
    done = migrate(site, "encrypt", "policy.yaml", "clinic.people")
    assert (done["state"], done["values"], done["left"]) == ("done", 60, [])
    stored = list(direct["clinic"]["people"].find())
    assert len({parse_context_header(bytes(each["notes"]))[1] for each in stored}) == 3
    assert {each["notes"] for each in first["clinic"]["people"].find()} == {f"n{n}" for n in range(30)}
    (site.folder / "less.yaml").write_text(RULES.replace(" notes: notes,", ""))
    words = ["decrypt", "less.yaml", "clinic.people", "notes", "--confirm", "clinic.people"]
    assert migrate(site, *words)["values"] == 30
    assert {each["notes"] for each in direct["clinic"]["people"].find()} == {f"n{n}" for n in range(30)}


def migrate(site: Site, *words: str) -> dict[str, Any]:
    words += ("--json", "--contexts", "contexts.db")
    done = warm.sealwire("migrate", *words, env=site.environ, cwd=site.folder)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_policy_with_contexts_does_not_start_without_their_store(site: Site) -> None:
    del site.config["keys"]["contexts"]
    refused = site.serve("--check")
    assert refused.returncode == 65
    assert "keys.contexts" in refused.stderr
    assert not (site.folder / "contexts.db").exists()


# A key for each patient in a list of patients, through a running proxy, whose answers are plaintext's.


RULES_BESIDE = """
version: 1
classes:
  code: {mode: deterministic, type: string, key: {per: ./patient}}
  note: {mode: random, key: {per: ./patient}}
collections:
  clinic.wards: {visits.code: code, visits.tags: code, letters.note: note, code: code, desk.code: code}
"""


class Places(NamedTuple):
    """The collection through the proxy, as the server has it, and the same in plaintext."""

    ours: Any
    stored: Any
    plain: Any


@pytest.fixture
def places(database: DatabaseProcess, tmp_path: Path) -> Iterator[Places]:
    site = contexts_site(database, tmp_path, RULES_BESIDE, ["code", "note"])
    with ExitStack() as stack:
        ours = stack.enter_context(client_of(stack.enter_context(serving(site))))
        direct = stack.enter_context(MongoClient[Document](database.uri()))
        for name in ("clinic", "plain"):
            direct.drop_database(name)
        yield Places(ours["clinic"]["wards"], direct["clinic"]["wards"], direct["plain"]["wards"])


def visit(patient: object, code: str, **more: Any) -> Document:
    return {"patient": patient, "code": code, **more}


def wards() -> list[Document]:
    return [
        {"_id": 1, "visits": [visit(5, "a", tags=["x", "y"]), visit(6, "b"), visit(5, "b")]},
        {"_id": 2, "visits": [visit("p", "a", tags="x"), {"patient": 5}], "patient": 6, "code": "a"},
        {"_id": 3, "visits": visit(5, "a"), "desk": visit(6, "c")},
        {"_id": 4, "visits": [[visit(5, "a")], {"x": 1}], "letters": [{"patient": 6, "note": [1, 2]}]},
        {"_id": 5, "visits": [], "desk": {"patient": 7}},
    ]


def test_each_element_has_the_key_of_its_own_patient(places: Places) -> None:
    places.ours.insert_many(wards())
    assert list(places.ours.find()) == wards()
    first, second = (places.stored.find_one({"_id": number}) for number in (1, 2))
    codes = [each["code"] for each in first["visits"]] + [second["visits"][0]["code"], second["code"]]
    keys = [parse_context_header(bytes(code))[1] for code in codes]
    assert keys[0] == keys[2] != keys[1] == keys[4]
    assert len(set(keys)) == 3
    assert bytes(codes[1]) != bytes(codes[2])


FILTERS: list[Document] = [
    {"visits": {"$elemMatch": {"patient": 5, "code": "a"}}},
    {"visits": {"$elemMatch": {"patient": 5, "code": "b"}}},
    {"visits": {"$elemMatch": {"patient": 6, "code": "a"}}},
    {"visits": {"$elemMatch": {"patient": "p", "code": {"$in": ["a", "z"]}}}},
    {"visits": {"$elemMatch": {"patient": 5, "code": {"$ne": "a"}}}},
    {"visits": {"$elemMatch": {"patient": 5, "tags": "y"}}},
    {"visits": {"$elemMatch": {"patient": 9, "code": "a"}}},
    {"$or": [{"visits": {"$elemMatch": visit(6, "b")}}, {"visits": {"$elemMatch": visit("p", "a")}}]},
    {"visits": {"$not": {"$elemMatch": {"patient": 5, "code": "a"}}}},
    {"visits": {"patient": 6, "code": "b"}},
    {"visits": {"code": "b", "patient": 6}},
    {"visits": {"$in": [{"patient": 5, "code": "b"}, {"patient": 5, "code": "a"}]}},
    {"visits.0": {"patient": "p", "code": "a", "tags": "x"}},
    {"patient": 6, "code": "a"},
    {"visits.code": {"$exists": True}},
]

UPDATES: list[tuple[Document, Document, list[Document] | None]] = [
    ({"_id": 1}, {"$push": {"visits": visit(6, "z")}}, None),
    ({"_id": 1}, {"$addToSet": {"visits": visit(6, "z")}}, None),
    ({"_id": 1}, {"$set": {"visits.$[v].code": "q"}}, [{"v.patient": 5, "v.code": "b"}]),
    ({"_id": 1}, {"$push": {"visits.$[v].tags": "z"}}, [{"v.patient": 5, "v.tags": "x"}]),
    ({"_id": 1}, {"$pull": {"visits": {"patient": 6, "code": "b"}}}, None),
    ({"_id": 2}, {"$set": {"visits.1": visit(8, "n")}}, None),
    ({"_id": 2}, {"$pullAll": {"visits": [visit(8, "n")]}}, None),
    ({"_id": 3, "desk.patient": 6}, {"$set": {"desk.code": "d", "desk.patient": 6}}, None),
    ({"_id": 3, "desk.patient": 7}, {"$set": {"desk.code": "e"}}, None),
    ({"_id": 5, "desk.patient": 7}, {"$set": {"desk.code": "f", "desk.more": 1}}, None),
    ({"_id": 5}, {"$set": {"visits": [visit(1, "o"), visit(2, "o")]}}, None),
    ({"_id": 2, "patient": 6}, {"$set": {"code": "r"}}, None),
    ({"_id": 1}, {"$unset": {"visits.0.code": 1}}, None),
    ({"_id": 6, "desk.patient": 4}, {"$set": {"desk.code": "g"}}, None),
]


def test_filters_and_updates_answer_as_in_plaintext(places: Places) -> None:
    for collection in (places.ours, places.plain):
        collection.insert_many(wards())
    matched = [bool(list(places.ours.find(each))) for each in FILTERS]
    assert sum(matched) == len(FILTERS) - 3
    for condition, change, filters in ((None, None, None), *UPDATES):
        if condition is not None:
            done = [
                collection.update_one(condition, change, upsert=condition["_id"] == 6, array_filters=filters)
                for collection in (places.ours, places.plain)
            ]
            assert done[0].raw_result["n"] == done[1].raw_result["n"], change
            assert done[0].raw_result["nModified"] == done[1].raw_result["nModified"], change
        assert list(places.ours.find().sort("_id")) == list(places.plain.find().sort("_id")), change
        for each in FILTERS:
            found = [list(collection.find(each).sort("_id")) for collection in (places.ours, places.plain)]
            assert found[0] == found[1], each
            stages = [{"$match": each}, {"$count": "n"}]
            assert list(places.ours.aggregate(stages)) == list(places.plain.aggregate(stages)), each


def test_what_may_speak_of_two_elements_is_refused(places: Places) -> None:
    places.ours.insert_many(wards())
    before = list(places.stored.find())
    for condition in ({"visits.patient": 5, "visits.code": "a"}, {"visits": {"$elemMatch": {"code": "a"}}}):
        with pytest.raises(OperationFailure) as refused:
            places.ours.find_one(condition)
        assert "[context]" in str(refused.value)
        assert "$elemMatch" in str(refused.value)
    for change in (
        {"$set": {"visits.0.code": "z"}},
        {"$set": {"visits.0.patient": 9}},
        {"$push": {"visits": {"code": "z"}}},
    ):
        with pytest.raises(OperationFailure) as refused:
            places.ours.update_one({"visits.patient": 5}, change)
        assert "[context]" in str(refused.value)
    with pytest.raises(OperationFailure):
        places.ours.insert_one({"visits": [{"code": "z"}], "patient": 5})
    assert list(places.stored.find()) == before


# Two tenants with equal values: what compares them answers as plaintext does, or is refused.


RULES_OF_ANSWERS = """
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant}}
  ward: {mode: deterministic, type: string, key: {per: $database}}
collections:
  clinic.people: {ssn: ssn, other: ssn, tags: ssn, ward: ward}
  clinic.visits: {ssn: ssn, ward: ward}
"""
DRAWN = 1_200
FIVE: Document = {"$match": {"tenant": 5}}
_EQUAL = {"$expr": {"$eq": ["$ssn", "$$s"]}}

PATHS = ("ssn", "other", "tags", "ward")


@pytest.fixture
def sides(database: DatabaseProcess, tmp_path: Path) -> Iterator[Databases]:
    """The database through the proxy, and one in plaintext, with the same documents."""
    site = contexts_site(database, tmp_path, RULES_OF_ANSWERS, ["ssn", "ward"])
    with unread(site) as client, MongoClient[Document](database.uri()) as direct:
        ours, plain = client["clinic"], direct["plain"]
        for side in (ours, plain):
            side["people"].insert_many(people())
            side["visits"].insert_many(visits())
        yield ours, plain


def people() -> list[Document]:
    random = Random(3)

    def value() -> str:
        return random.choice("abc")

    return [
        {
            "_id": number,
            "tenant": random.choice((5, 6)),
            "ssn": value(),
            "other": value(),
            "tags": [value() for _ in range(random.randrange(3))],
            "ward": value(),
            "x": random.randrange(3),
        }
        for number in range(12)
    ]


def visits() -> list[Document]:
    random = Random(4)
    return [
        {"_id": number, "tenant": random.choice((5, 6)), "ssn": random.choice("abc"), "ward": "a"}
        for number in range(8)
    ]


def pipeline(random: Random) -> list[Document]:
    """Stages before, of which each may change what is known of tenants, and one that compares."""
    before = [_drawn(random, _BEFORE) for _ in range(random.choice((0, 0, 1, 1, 2)))]
    start = [FIVE] if random.random() < 0.5 else []
    return [{"$sort": {"_id": 1}}, *start, *before, _drawn(random, _COMPARING)]


def _foreign(random: Random) -> Document:
    return random.choice((FIVE, {"$match": {"tenant": 6}}, {"$match": {"tenant": {"$gt": 5}}}, {"$limit": 4}))


_BEFORE: tuple[Callable[[Random], Document] | Document, ...] = (
    lambda r: {"$set": {"tenant": r.choice((5, "$x"))}},
    {"$unwind": "$tags"},
    lambda r: {"$unwind": {"path": "$tags", "includeArrayIndex": r.choice(("tenant", "at"))}},
    {"$match": {"x": {"$gt": 0}}},
    {"$limit": 8},
    lambda r: {"$project": {"tenant": r.choice((1, "$x")), "ssn": 1, "tags": 1, "ward": 1, "x": 1}},
    lambda r: {"$unionWith": {"coll": "visits", "pipeline": [{"$sort": {"_id": 1}}, _foreign(r)]}},
    {"$group": {"_id": "$x", "tenant": {"$first": "$tenant"}, "tags": {"$push": "$ssn"}}},
    lambda r: {
        "$lookup": {
            "from": "visits",
            "pipeline": [{"$sort": {"_id": 1}}, _foreign(r), {"$project": {"ssn": 1}}],
            "as": "seen",
        }
    },
    {"$set": {"tags": "$seen.ssn"}},
)


def _drawn(random: Random, stages: Sequence[Callable[[Random], Document] | Document]) -> Document:
    found = random.choice(stages)
    return found(random) if callable(found) else found


def _key(r: Random) -> Any:
    path = f"${r.choice(PATHS)}"
    return r.choice((path, {"t": "$tenant", "k": path}, {"x": "$x", "k": path}))


_COMPARING: tuple[Callable[[Random], Document] | Document, ...] = (
    lambda r: {"$group": {"_id": _key(r), "n": {"$sum": 1}}},
    lambda r: {"$sortByCount": f"${r.choice(PATHS)}"},
    lambda r: {"$group": {"_id": r.choice(("$tenant", "$x", None)), "s": {"$addToSet": _key(r)}}},
    lambda r: {"$setWindowFields": {"partitionBy": _key(r), "output": {"n": {"$sum": 1}}}},
    lambda r: {"$project": {"same": {r.choice(("$eq", "$ne")): ["$ssn", "$other"]}}},
    {"$project": {"same": {"$in": ["$ssn", {"$ifNull": ["$tags", []]}]}}},
    {"$project": {"same": {"$in": ["$ssn", {"$ifNull": ["$seen.ssn", []]}]}}},
    {"$project": {"n": {"$size": {"$setUnion": [{"$ifNull": ["$tags", []]}]}}}},
    lambda r: {"$facet": {"a": [{"$group": {"_id": _key(r), "n": {"$sum": 1}}}]}},
    lambda r: {
        "$lookup": {
            "from": r.choice(("people", "visits")),
            "localField": r.choice(("ssn", "tags", "ward")),
            "foreignField": r.choice(("ssn", "ward")),
            "pipeline": [*r.choice(([], [_foreign(r)])), {"$sort": {"_id": 1}}, {"$project": {"x": 1}}],
            "as": "joined",
        }
    },
    lambda r: {
        "$lookup": {
            "from": "visits",
            "let": {"s": "$ssn"},
            "pipeline": [*r.choice(([], [_foreign(r)])), {"$match": _EQUAL}, {"$sort": {"_id": 1}}],
            "as": "joined",
        }
    },
    {
        "$graphLookup": {
            "from": "people",
            "startWith": "$ssn",
            "connectFromField": "other",
            "connectToField": "ssn",
            "as": "joined",
        }
    },
)


def plainly(value: Any) -> Any:
    """A value in which what has no order has one."""
    if isinstance(value, dict):
        return {name: plainly(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return sorted((plainly(each) for each in value), key=lambda each: encode({"v": each}))
    return value


def answer_of(side: Database[Document], command: Document) -> Any:
    """The values that a command finds; the code of an error; None where Sealwire refuses it."""
    try:
        reply = side.command(command)
    except OperationFailure as failure:
        return None if "Sealwire refused" in str(failure) else failure.code
    return plainly(reply["values"] if "values" in reply else reply["cursor"]["firstBatch"])


def test_what_compares_values_of_two_tenants_answers_as_plaintext_or_is_refused(
    sides: Databases, record_property: Record
) -> None:
    ours, plain = sides
    tally: Counter[str] = Counter()
    for seed in range(DRAWN):
        random = Random(seed)
        command: Document = {"aggregate": "people", "pipeline": pipeline(random), "cursor": {}}
        if seed % 20 == 0:
            query = random.choice(({}, {"tenant": 5}, {"tenant": {"$in": [5, 6]}}))
            command = {"distinct": "people", "key": random.choice(PATHS), "query": query}
        found = answer_of(ours, command)
        tally["refused" if found is None else "error" if isinstance(found, int) else "answered"] += 1
        if found is not None:
            assert found == answer_of(plain, command), f"{seed}: {command}"
    record_property("summary", f"contexts compared: {dict(tally)}")
    assert min(tally["answered"], tally["refused"]) > DRAWN / 10
