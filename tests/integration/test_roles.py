"""Roles before a real server with users: who has logged in decides, and what a command states."""

from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from bson import Binary
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import load_keyring
from sealwire.policies.file.loader import load_policy
from sealwire.testbed.certificates import Authority, Issued, create_authority
from sealwire.testbed.proxy_process import ProxyProcess
from tests.integration.conftest import POLICY as CLINIC_POLICY
from tests.integration.differential.campaign import SHAPES, both_ways, compare_many
from tests.integration.differential.runner import Runner
from tests.integration.differential.shapes import draw_shapes, policy_yaml
from tests.integration.operations import filters, pipelines, update_pipelines, updates
from tests.integration.outside.chosen import has_transactions, own_server
from tests.support.audit_log import assert_whole, lines_of, until_refusals, until_written
from tests.support.proxied import options_of, proxied
from tests.support.reasons import failing
from tests.support.rows import rows
from tests.support.secantus import CLINIC, ROOT, USERS, secantus

# A refused command is on record with who sent it: the login that the server confirmed, the certificate.


POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""
REFUSED = {"find": "patients", "filter": {"nhs_number": {"$regex": "^943"}}}


class Knowing(ProxyProcess):
    """It verifies certificates of clients that show one."""

    def config(self) -> dict[str, Any]:
        """As of any other, and with an authority for clients."""
        found = super().config()
        found["listen"]["tls"]["client_ca"] = str(self.options.authority)  # type: ignore[index]
        return found


class Place:
    """A proxy before a server with users, and its audit file."""

    def __init__(self, proxy: ProxyProcess, authority: Authority, audit: Path) -> None:
        self.proxy = proxy
        self.certificate: Issued = authority.issue("ward-3", client=True)
        self.audit = audit

    def refused(self, client: MongoClient[Any]) -> dict[str, Any]:
        """What is on record of one refused command."""
        before = len(self._refusals())
        with pytest.raises(OperationFailure):
            client["clinic"].command(REFUSED)
        until_refusals(self.audit, before + 1)
        (found,) = self._refusals()[before:]
        return found

    def until_written(self) -> None:
        """Return when all that was reported before is in the log: a refusal is behind it."""
        with MongoClient[Any](self.proxy.uri(ROOT)) as root:
            self.refused(root)

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """The lines of this event, or all."""
        return lines_of(self.audit, event)

    def _refusals(self) -> list[dict[str, Any]]:
        return self.lines("refused")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("callers")
    authority = create_authority(folder / "certificates")
    audit = folder / "audit.jsonl"
    with secantus(folder, users=USERS, authority=authority) as database:
        settings = {"audit": {"path": str(audit)}}
        options = options_of(folder, POLICY, database.address, authority, settings=settings)
        with Knowing(options) as proxy:
            yield Place(proxy, authority, audit)


@pytest.mark.parametrize("user", [CLINIC, ROOT], ids=lambda each: each.name)
def test_the_user_whom_the_server_let_in_is_named(place: Place, user: Any) -> None:
    with MongoClient[Any](place.proxy.uri(user), appname="rounds") as client:
        line = place.refused(client)
    assert (line["user"], line["application"]) == (f"{user.name}@admin", "rounds")
    assert line["driver"].startswith("PyMongo")
    assert "certificate" not in line


def test_the_holder_of_a_verified_certificate_is_named(place: Place) -> None:
    shown = str(place.certificate.combined)
    with MongoClient[Any](place.proxy.uri(CLINIC), tlsCertificateKeyFile=shown) as client:
        line = place.refused(client)
    assert line["certificate"] == "CN=ward-3"
    assert line["user"] == f"{CLINIC.name}@admin"


def test_many_connections_of_two_users_are_told_apart(place: Place) -> None:
    with (
        MongoClient[Any](place.proxy.uri(CLINIC), maxPoolSize=3) as one,
        MongoClient[Any](place.proxy.uri(ROOT), maxPoolSize=3) as two,
    ):
        for _ in range(3):
            assert place.refused(one)["user"] == f"{CLINIC.name}@admin"
            assert place.refused(two)["user"] == f"{ROOT.name}@admin"


def test_a_command_without_a_login_is_nobodys(place: Place) -> None:
    with MongoClient[Any](place.proxy.uri()) as client:
        line = place.refused(client)
    assert line["reason"] == "LoginNeeded"
    assert "user" not in line


def test_a_login_is_on_record_and_one_that_fails(place: Place) -> None:
    place.until_written()
    before, failed = len(place.lines("login")), len(place.lines("login-failed"))
    with MongoClient[Any](place.proxy.uri(CLINIC), appname="rounds") as client:
        client["clinic"]["wards"].find_one()
    wrong = replace(CLINIC, password="not it")
    with MongoClient[Any](place.proxy.uri(wrong)) as client, pytest.raises(OperationFailure):
        client["clinic"].command("ping")
    place.until_written()
    line = place.lines("login")[before]
    assert (line["user"], line["application"]) == (f"{CLINIC.name}@admin", "rounds")
    line = place.lines("login-failed")[failed]
    assert (line["command"], line["reason"]) == ("saslContinue", "code 18")
    assert "user" not in line


def test_the_log_is_one_chain(place: Place) -> None:
    assert_whole(place.audit)
    assert {line["event"] for line in place.lines()} >= {"file", "started"}


pytestmark = [pytest.mark.integration, own_server("it has users and certificates of its own")]

NHS, NOTE = "9434765919", "a note of the ward"
HEAD = """
version: 1
classes: {nhs: {mode: deterministic, type: string}, notes: {mode: random}}
collections: {clinic.patients: {nhs_number: nhs, notes: notes}}
"""
ROLES = """
roles:
  doctor:
    users: ["root@admin"]
    classes: {"*": {read: clear, filter: true, write: true}}
  clerk:
    users: ["clin*@admin"]
    classes: {nhs: {read: {mask: last4}}, notes: {read: ciphertext}}
  desk:
    users: ["clinic@admin"]
    certificates: ["CN=ward-*"]
    require_certificate: true
    classes: {nhs: {filter: true}}
  researcher:
    users: ["clinic@admin"]
    purposes: [research]
    documents_per_hour: 1000
    classes: {nhs: {read: clear}}
  emergency:
    users: ["clinic@admin"]
    break_glass: true
    classes: {"*": {read: clear}}
"""


@dataclass(frozen=True, slots=True)
class Ward:
    """A proxy with roles before a server with users, and its audit file."""

    proxy: Knowing
    policy: Path
    audit: Path
    certificate: Issued

    def client(self, user: Any, **options: Any) -> MongoClient[Any]:
        """A client that logs in as this user."""
        return MongoClient[Any](self.proxy.uri(user), **options)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The audit lines of this event, when the writer has come by."""
        with self.client(ROOT) as root:
            until_written(self.audit, root, "nhs_number")
        return lines_of(self.audit, event)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("roles")
    authority = create_authority(folder / "certificates")
    policy, audit = folder / "policy.yaml", folder / "audit.jsonl"
    policy.write_text(HEAD + ROLES)
    with secantus(folder, users=USERS, authority=authority) as database:
        settings = {"audit": {"path": str(audit)}}
        options = options_of(folder, policy, database.address, authority, settings=settings)
        with Knowing(options) as proxy:
            place = Ward(proxy, policy, audit, authority.issue("ward-3", client=True))
            with place.client(ROOT) as root:
                patients = root["clinic"]["patients"]
                patients.insert_many([{"_id": n, "nhs_number": NHS, "notes": NOTE, "n": n} for n in range(5)])
            yield place


def test_each_user_is_shown_what_the_role_says(ward: Ward) -> None:
    with ward.client(ROOT) as root, ward.client(CLINIC) as clinic:
        for _ in range(3):
            doctors = root["clinic"]["patients"].find_one({"_id": 1}) or {}
            clerks = clinic["clinic"]["patients"].find_one({"_id": 1}) or {}
            assert doctors == {"_id": 1, "nhs_number": NHS, "notes": NOTE, "n": 1}
            assert clerks["nhs_number"] == "****5919"
            assert isinstance(clerks["notes"], Binary)
        assert root["clinic"]["patients"].count_documents({"nhs_number": NHS}) == 5


@rows(
    "pipeline",
    [{"$project": {"other": "$nhs_number"}}],
    [{"$addFields": {"copy": "$nhs_number"}}],
    [{"$group": {"_id": 1, "all": {"$push": "$nhs_number"}}}],
    [{"$lookup": {"from": "patients", "localField": "n", "foreignField": "n", "as": "mates"}}],
    [{"$replaceWith": {"x": ["$$ROOT"]}}],
)
def test_no_pipeline_gives_a_way_round(ward: Ward, pipeline: list[dict[str, Any]]) -> None:
    with ward.client(CLINIC) as clinic:
        found = list(clinic["clinic"]["patients"].aggregate(pipeline))
    assert found
    assert NHS not in str(found)
    assert "****5919" in str(found)


def test_what_a_role_does_not_allow_is_refused_and_on_record(ward: Ward) -> None:
    before = len(ward.lines("refused"))
    with ward.client(CLINIC) as clinic:
        patients = clinic["clinic"]["patients"]
        for refused in (
            lambda: patients.find_one({"nhs_number": NHS}),
            lambda: patients.distinct("nhs_number"),
            lambda: patients.update_one({"_id": 1}, {"$unset": {"nhs_number": ""}}),
            lambda: patients.delete_one({"_id": 1}),
            lambda: patients.insert_one({"nhs_number": NHS}),
            patients.drop,
        ):
            with pytest.raises(OperationFailure) as caught:
                refused()
            assert (
                caught.value.code in (13, 65) or (caught.value.details or {})["writeErrors"][0]["code"] == 13
            )
        patients.update_one({"_id": 1}, {"$set": {"seen": True}})
    lines = [line for line in ward.lines("refused")[before:] if line["reason"] != "pattern"]
    assert [line["reason"] for line in lines] == ["role"] * 6
    assert {line["user"] for line in lines} == {f"{CLINIC.name}@admin"}
    assert NHS not in ward.audit.read_text()


def test_a_certificate_adds_its_role(ward: Ward) -> None:
    with ward.client(CLINIC, tlsCertificateKeyFile=str(ward.certificate.combined)) as clinic:
        found = clinic["clinic"]["patients"].find_one({"nhs_number": NHS}) or {}
    assert found["nhs_number"] == "****5919"


def test_a_purpose_in_a_comment_counts_for_that_command_and_its_cursor(ward: Ward) -> None:
    with ward.client(CLINIC) as clinic:
        patients = clinic["clinic"]["patients"]
        stated = patients.find({}, batch_size=2).comment({"sealwire": {"purpose": "research"}})
        assert [each["nhs_number"] for each in stated] == [NHS] * 5
        assert (patients.find_one({}) or {})["nhs_number"] == "****5919"


def test_a_broken_glass_is_on_record_with_its_reason(ward: Ward) -> None:
    before = len(ward.lines("break-glass"))
    with ward.client(CLINIC) as clinic:
        patients = clinic["clinic"]["patients"]
        found = patients.find_one({}, comment="breakGlass=patient unconscious; purpose=direct-care") or {}
    assert (found["nhs_number"], found["notes"]) == (NHS, NOTE)
    (line,) = ward.lines("break-glass")[before:]
    assert (line["glass"], line["purpose"]) == ("patient unconscious", "direct-care")
    assert (line["user"], line["role"]) == (f"{CLINIC.name}@admin", "clerk,emergency")


def test_a_reload_changes_what_an_open_connection_is_shown(ward: Ward) -> None:
    with ward.client(CLINIC, maxPoolSize=1) as clinic:
        patients = clinic["clinic"]["patients"]
        cursor = patients.find({}, batch_size=2)
        assert next(cursor)["nhs_number"] == "****5919"
        try:
            ward.policy.write_text(HEAD + ROLES.replace("mask: last4", "mask: fixed"))
            ward.proxy.reload()
            assert [each["nhs_number"] for each in cursor][1:] == ["***"] * 3
            ward.policy.write_text(HEAD + ROLES.replace("clin*@admin", "nobody@admin"))
            ward.proxy.reload()
            with failing(13):
                patients.find_one({})
        finally:
            ward.policy.write_text(HEAD + ROLES)
            ward.proxy.reload()


def test_without_roles_an_open_connection_may_do_everything_again(ward: Ward) -> None:
    with ward.client(CLINIC, maxPoolSize=1) as clinic:
        patients = clinic["clinic"]["patients"]
        assert (patients.find_one({"_id": 1}) or {})["nhs_number"] == "****5919"
        with pytest.raises(OperationFailure):
            patients.insert_one({"_id": "new", "nhs_number": NHS})
        try:
            ward.policy.write_text(HEAD)
            ward.proxy.reload()
            shown = patients.find_one({"nhs_number": NHS, "_id": 1}) or {}
            assert (shown["nhs_number"], shown["notes"]) == (NHS, NOTE)
            patients.insert_one({"_id": "new", "nhs_number": NHS})
            assert patients.delete_one({"_id": "new", "nhs_number": NHS}).deleted_count == 1
        finally:
            ward.policy.write_text(HEAD + ROLES)
            ward.proxy.reload()
        assert (patients.find_one({"_id": 1}) or {})["nhs_number"] == "****5919"


# Who may neither see, filter nor write learns nothing of values: not from answers, and not by what is left.
#
# Each operation runs twice, by a client who may only reach the collection, on documents that differ in
# nothing but the values of covered fields: once they vary, once all of a field are equal. What the client
# is answered, and what the database has in clear afterwards, must be the same both times.


EXAMPLES: Final = 240
WEAK_ROLES: Final = """
roles:
  all: {users: ["root@admin"], classes: {"*": {read: clear, filter: true, write: true}}}
  weak: {users: ["clinic@admin"], classes: {"*": {read: {mask: fixed}}}}
"""
EQUAL: Final[dict[str, Any]] = {
    "nhs_number": "1",
    "postcode": "1",
    "phone": "10",
    "phones": "10",
    "date_of_birth": datetime(1950, 1, 1),
    "visits": 1,
    "notes": "n",
}
Document = dict[str, Any]
answered: Tally[str] = Tally()


def all_equal(value: Any, name: str = "") -> Any:
    """The same document, in which every covered field has the one value that it has in `EQUAL`."""
    if name == "notes" and value is not None:
        return EQUAL[name]  # encrypted as a whole, whatever it is
    if isinstance(value, dict):
        return {inner: all_equal(found, inner) for inner, found in value.items()}
    if isinstance(value, list):
        return [all_equal(item, name) for item in value]
    return value if value is None else EQUAL.get(name, value)


def hidden(value: Any) -> Any:
    """A value with one sign for every ciphertext."""
    if isinstance(value, dict):
        return {name: hidden(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [hidden(inner) for inner in value]
    return "#" if isinstance(value, bytes) and value.startswith(b"SW") else value


class Ground:
    """Three ways to one server: past the proxy, through it with all rights, and with hardly any."""

    def __init__(self, direct: MongoClient[Any], root: MongoClient[Any], weak: MongoClient[Any]) -> None:
        self._stored = direct["clinic"]["patients"]
        self._filled = root["clinic"]["patients"]
        self._weak = weak["clinic"]

    def after(self, stored: list[Document], body: Document) -> tuple[object, object]:
        """What the weak client is answered, and what is in clear in the database then."""
        self._stored.delete_many({})
        self._filled.insert_many(stored)
        try:
            found: Any = self._weak.command(body)
            answer = {
                name: found[name] for name in ("n", "nModified", "values", "cursor", "value") if name in found
            }
            if "cursor" in answer:
                answer["cursor"] = answer["cursor"]["firstBatch"]
        except OperationFailure as failure:
            answer = {"code": failure.code}
        return answer, hidden(list(self._stored.find().sort("_id")))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("interference")
    authority = create_authority(folder / "certificates")
    with (
        secantus(folder, users=USERS, authority=authority) as database,
        proxied(folder, CLINIC_POLICY.read_text() + WEAK_ROLES, database.address, authority) as proxy,
        database.connect(ROOT) as direct,
        MongoClient[Any](proxy.uri(ROOT)) as root,
        MongoClient[Any](proxy.uri(CLINIC)) as weak,
    ):
        yield Ground(direct, root, weak)


_numbers = st.sampled_from(["1", "2", "3"])
_phones = st.sampled_from(["10", "20"])
_FIELDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "nhs_number": _numbers,
    "address": st.fixed_dictionaries({"postcode": _numbers}),
    "contacts": st.lists(st.fixed_dictionaries({"phone": _phones}), min_size=2, max_size=2),
    "phones": st.lists(_phones, min_size=2, max_size=2),
    "date_of_birth": st.sampled_from([datetime(1950, 1, 1), datetime(1960, 1, 1)]),
    "visits": st.integers(0, 2),
    "notes": st.sampled_from(["n", "m"]),
    "ward": st.sampled_from(["a", "b"]),
}
documents: Final = st.lists(st.fixed_dictionaries(_FIELDS), min_size=4, max_size=4).map(
    lambda found: [{"_id": number, **each} for number, each in enumerate(found)]
)

_OF_TWO: Final = {
    "from": "patients",
    "localField": "nhs_number",
    "foreignField": "address.postcode",
    "as": "x",
}
_COMPARING: Final[st.SearchStrategy[list[Document]]] = st.sampled_from(
    [
        [{"$group": {"_id": "$nhs_number", "n": {"$sum": 1}}}],
        [{"$group": {"_id": "$address", "n": {"$sum": 1}}}],
        [{"$group": {"_id": "$ward", "all": {"$addToSet": "$visits"}}}],
        [{"$group": {"_id": "$$ROOT"}}, {"$count": "n"}],
        [{"$sortByCount": "$phones"}],
        [{"$unwind": "$phones"}, {"$sortByCount": "$phones"}],
        [{"$lookup": {**_OF_TWO, "foreignField": "nhs_number"}}],
        [
            {
                "$lookup": {
                    "from": "patients",
                    "let": {"v": "$visits"},
                    "as": "x",
                    "pipeline": [{"$match": {"$expr": {"$eq": ["$visits", "$$v"]}}}],
                }
            }
        ],
        [
            {
                "$graphLookup": {
                    "from": "patients",
                    "startWith": "$nhs_number",
                    "connectFromField": "nhs_number",
                    "connectToField": "nhs_number",
                    "as": "x",
                }
            }
        ],
        [
            {
                "$setWindowFields": {
                    "partitionBy": "$visits",
                    "sortBy": {"_id": 1},
                    "output": {"n": {"$documentNumber": {}}},
                }
            }
        ],
        [{"$fill": {"partitionBy": "$visits", "sortBy": {"_id": 1}, "output": {"ward": {"method": "locf"}}}}],
        [{"$unionWith": "patients"}, {"$group": {"_id": "$date_of_birth"}}, {"$count": "n"}],
        [{"$facet": {"a": [{"$sortByCount": "$nhs_number"}]}}],
        [{"$redact": {"$cond": [{"$eq": ["$nhs_number", "1"]}, "$$KEEP", "$$PRUNE"]}}],
        [{"$project": {"x": {"$eq": ["$nhs_number", "1"]}}}],
        [{"$project": {"x": {"$in": ["10", "$phones"]}}}],
        [{"$project": {"x": {"$indexOfArray": ["$phones", "10"]}}}],
        [{"$project": {"x": {"$size": {"$setUnion": ["$phones", "$contacts.phone"]}}}}],
        [{"$project": {"x": {"$setIsSubset": ["$phones", "$contacts.phone"]}}}],
        [{"$project": {"x": {"$filter": {"input": "$phones", "cond": {"$eq": ["$$this", "10"]}}}}}],
        [
            {
                "$project": {
                    "x": {
                        "$switch": {"branches": [{"case": {"$ne": ["$visits", 1]}, "then": 1}], "default": 2}
                    }
                }
            }
        ],
        [{"$match": {"date_of_birth": {"$gte": datetime(1955, 1, 1)}}}],
        [{"$addFields": {"copy": "$nhs_number"}}, {"$match": {"copy": "1"}}],
        [{"$match": {"contacts": {"$elemMatch": {"phone": "10"}}}}],
        [{"$match": {"address": {"postcode": "1"}}}],
        [{"$merge": {"into": "patients", "on": "nhs_number"}}],
    ]
)
_CLEAR: Final = st.sampled_from([{}, {"ward": "a"}, {"_id": {"$lt": 3}}, {"nhs_number": {"$exists": True}}])
_SHOWN: Final = st.sampled_from(
    [{}, {"nhs_number": 1}, {"x": "$nhs_number"}, {"notes": 0}, {"phones": {"$elemMatch": {"$eq": "10"}}}]
)
_CHANGES: Final = st.sampled_from(
    [
        {"$addToSet": {"phones": "10"}},
        {"$pull": {"phones": "10"}},
        {"$set": {"visits": 1}},
        [{"$set": {"ward": {"$cond": [{"$eq": ["$nhs_number", "1"]}, "a", "b"]}}}],
        {"$set": {"ward": "c"}},
    ]
)


def _aggregate(pipeline: list[Document]) -> Document:
    return {"aggregate": "patients", "pipeline": pipeline, "cursor": {}}


def _find(query: Document, fields: Document) -> Document:
    return {"find": "patients", "filter": query, "projection": fields}


def _update(query: Document, change: Any) -> Document:
    return {"update": "patients", "updates": [{"q": query, "u": change, "multi": True}]}


operations: Final[st.SearchStrategy[Document]] = st.one_of(
    _COMPARING.map(_aggregate),
    _COMPARING.map(_aggregate),
    pipelines.map(_aggregate),
    st.builds(_find, _CLEAR, _SHOWN),
    filters.map(lambda query: {"find": "patients", "filter": query}),
    st.builds(_update, _CLEAR, updates | update_pipelines | _CHANGES),
    st.sampled_from(["nhs_number", "visits", "phones"]).map(lambda key: {"distinct": "patients", "key": key}),
)

_PATIENT: Final[Document] = {"_id": 1, "ward": "a", "nhs_number": "1", "visits": 1, "phones": ["10"]}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(stored=documents, body=operations)
@example(stored=[_PATIENT], body=_aggregate([{"$match": {"ward": "a"}}]))
@example(stored=[_PATIENT], body=_aggregate([{"$group": {"_id": "$ward", "n": {"$sum": 1}}}]))
@example(stored=[_PATIENT], body=_find({"ward": "a"}, {"ward": 1}))
@example(stored=[_PATIENT], body=_find({"_id": {"$lt": 3}}, {"notes": 0}))
def test_answers_do_not_depend_on_values_that_the_client_may_not_use(
    ground: Ground, stored: list[Document], body: Document
) -> None:
    varied = ground.after(stored, body)
    assert varied == ground.after([all_equal(each) for each in stored], body)
    is_refused = isinstance(varied[0], dict) and "code" in varied[0]
    answered["refused" if is_refused else next(iter(body))] += 1


def test_some_operations_were_answered() -> None:
    # what is drawn differs, in clumps, and most of it compares: two of each are always among the operations
    assert answered["aggregate"] >= 2, answered
    assert answered["find"] >= 2, answered
    assert answered["update"], answered


# Generated sequences under a role that may do everything: what is answered, and how, is as without roles.


SEED, SEQUENCES = 37, 120
ALL = """
roles:
  all:
    users: ["*@admin"]
    classes: {"*": {read: clear, filter: true, write: true}}
"""


@contextmanager
def under_roles(folder: Path, rules: str) -> Iterator[Runner]:
    """As `both_ways`, by a user who has a role."""
    folder.mkdir()
    authority = create_authority(folder / "certificates")
    with (
        secantus(folder, users=USERS, authority=authority) as database,
        proxied(folder, rules, database.address, authority) as proxy,
        database.connect(ROOT) as direct,
        MongoClient[dict[str, Any]](proxy.uri(ROOT)) as client,
    ):
        kek = EnvironmentKek(environ={DEFAULT_VARIABLE: proxy.options.kek})
        keyring, loaded = load_keyring(proxy.keyring, kek), load_policy(rules.encode(), "policy.yaml")
        yield Runner(direct, client, loaded, lambda: keyring, has_transactions())


@pytest.mark.slow
@pytest.mark.parametrize("asks", [False, True], ids=["equality", "asking"])
def test_a_role_that_may_do_everything_changes_no_answer(tmp_path: Path, asks: bool) -> None:
    shapes = draw_shapes(SEED, SHAPES, asks=asks)
    rules = policy_yaml(shapes)
    with under_roles(tmp_path / "roles", rules + ALL) as runner:
        compare_many(runner, shapes, SEED, SEQUENCES)
        found = runner.tally.table()
    with both_ways(tmp_path / "none", rules) as runner:
        compare_many(runner, shapes, SEED, SEQUENCES)
        assert found == runner.tally.table()
