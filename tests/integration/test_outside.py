"""`make test-server` on servers of this machine: what held is counted, and nothing of it is left there."""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64
from pymongo.errors import OperationFailure

from sealwire.keys.keyring.file import create_keyring
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.loader import load_policy
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.mongo_server import User
from tests.build_context import ROOT as REPOSITORY
from tests.integration.differential.commands import SEEN
from tests.integration.differential.compare import MAKING_VIEW, Command, canonical, opened, wrongly_stored
from tests.integration.differential.defects import spoils_upsert
from tests.integration.differential.sequences import Sequence, Transaction
from tests.integration.differential.shapes import COLLECTIONS, PEOPLE, VISITS, draw_shapes, policy_yaml
from tests.integration.differential.sides import Answer, Outcome, failure
from tests.integration.differential.tally import Tally
from tests.integration.outside import __main__ as program
from tests.integration.outside.chosen import STANDALONE, Outside, named, prefixed, use
from tests.integration.outside.report import Report, Row
from tests.integration.outside.server import OutsideDatabase, OutsideProxy, Server, UnusableServer, describe
from tests.keys.samples import KEK_A, NOW, environment_kek
from tests.support.policies import policy_of
from tests.support.rows import rows
from tests.support.runs import ran
from tests.support.secantus import ROOT, USERS, secantus
from tests.wire.corpus import string

THEIRS = {"_id": 1, "nhs_number": "not a matter of the tests"}


def run_on(server: DatabaseProcess, *options: str) -> dict[str, Any]:
    """The report of a run in which nothing differed, and which left what the server had as it was."""
    user = ROOT if server.options.users else None
    with server.connect(user) as client:
        client["clinic"].patients.insert_one(dict(THEIRS))
        before = client.list_database_names()
        command = [sys.executable, "-m", "tests.integration.outside", "--json", *options]
        environ = os.environ | {"URI": server.uri(user)}
        done = ran(command, cwd=REPOSITORY, env=environ)
        assert done.returncode == 0, done.stderr + done.stdout
        assert ROOT.password not in done.stderr + done.stdout
        assert client.list_database_names() == before
        assert list(client["clinic"].patients.find()) == [THEIRS]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.integration
@pytest.mark.slow
def test_a_replica_set_with_logins_and_tls(tmp_path: Path) -> None:
    with secantus(tmp_path, users=USERS, authority=create_authority(tmp_path / "authority")) as server:
        report = run_on(server, "--parts", "enforcement")
    assert report["server"]["logins"]
    assert report["server"]["tls"]
    assert report["server"]["replica_set"]
    (row,) = report["parts"]
    assert row["held"] > 20
    assert sum(row["not_applicable"].values()) < 5


@pytest.mark.integration
@pytest.mark.slow(minutes=4)
@pytest.mark.parametrize("replica_set", [True, False])
def test_every_part(tmp_path: Path, replica_set: bool) -> None:
    with secantus(tmp_path, replica_set=replica_set) as server:
        report = run_on(server, "--examples", "100")
    rows = {(row["part"], row["counted"]): row for row in report["parts"]}
    assert rows["differential", "commands"]["held"] > 400
    assert rows["differential", "malformed commands"]["refused"]
    assert {part for part, _ in rows} == {"differential", "conversations", "drivers", "enforcement"}
    assert all(row["held"] > 5 for row in rows.values())
    unknown = sum(row["not_applicable"].get(STANDALONE, 0) for row in rows.values())
    assert (unknown == 0) is replica_set


# The pieces of `make test-server`, without servers.


ANYBODY = User("whoever the test asks for", "x")
HELLO = {"setName": "rs", "hosts": ["a:27017", "b:27018"], "arbiters": ["c:27019"]}
AUTHORITY = str(Path(__file__))  # any file that can be read
URI = f"mongodb://us%20er:s3%2Fcret@a,b:27018/accounts?replicaSet=rs&tls=true&tlsCAFile={AUTHORITY}"


def proxy_of(server: Server, folder: Path) -> OutsideProxy:
    return OutsideProxy(server, folder, folder / "policy.yaml")


def test_a_replica_set_has_a_listener_for_each_member(tmp_path: Path) -> None:
    server = describe(URI, HELLO, "8.0")
    assert server.members == ("a:27017", "b:27018", "c:27019")
    proxy = proxy_of(server, tmp_path)
    config: Any = proxy.config()
    assert [member["upstream"] for member in config["members"]] == list(server.members)
    listeners = [member["listen"] for member in config["members"]]
    assert listeners[0] == proxy.address
    assert config["upstream"] == {"tls": {"ca": AUTHORITY}, "access_control": "required"}
    hosts = ",".join(listeners)
    assert proxy.uri(ANYBODY, "d") == f"mongodb://us%20er:s3%2Fcret@{hosts}/d?authSource=accounts"


def test_a_standalone_server_is_named_as_the_user_names_it(tmp_path: Path) -> None:
    server = describe("mongodb://a:1/", {}, "8.0")
    assert (server.members, server.replica_set, server.login) == (("a:1",), False, "")
    config: Any = proxy_of(server, tmp_path).config()
    upstream = {"address": "a:1", "tls": {"mode": "plaintext"}, "access_control": "none"}
    assert config["upstream"] == upstream
    assert "members" not in config


def test_a_set_of_one_is_reached_where_the_user_reaches_it() -> None:
    assert describe("mongodb://a:1/", {"setName": "rs", "hosts": ["inside:27017"]}, "8.0").members == ("a:1",)


def test_the_connection_string_stays_but_for_its_database(tmp_path: Path) -> None:
    database = OutsideDatabase(describe(URI, HELLO, "8.0"), tmp_path)
    options = f"replicaSet=rs&tls=true&tlsCAFile={AUTHORITY}"
    assert (
        database.uri(ANYBODY, "d") == f"mongodb://us%20er:s3%2Fcret@a,b:27018/d?{options}&authSource=accounts"
    )
    assert database.uri(None, "d") == f"mongodb://a,b:27018/d?{options}"


@rows(
    "uri, hello",
    ("mongodb://a/?tls=true&tlsAllowInvalidCertificates=true", {}),
    ("mongodb://a/?tls=true&tlsInsecure=true", {}),
    ("mongodb://user@a/?authMechanism=MONGODB-X509&tls=true", {}),
    ("mongodb://a/", {"msg": "isdbgrid"}),
)
def test_what_sealwire_would_not_connect_to_is_told_at_once(uri: str, hello: dict[str, Any]) -> None:
    with pytest.raises(UnusableServer):
        describe(uri, hello, "8.0")


def test_no_password_is_in_a_repr_or_a_report() -> None:
    server = describe(URI, HELLO, "8.0")
    report = Report(server, "p", 1, [Row("drivers", "tests", 5)])
    quoted = program.hidden("mongodb://us er:s3/cret@a, or s3%2Fcret", server)
    for text in (repr(server), quoted, *report.lines(), json.dumps(report.to_json())):
        assert "s3/cret" not in text
        assert "s3%2Fcret" not in text


def test_names_get_the_prefix_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\ncollections:\n  clinic.patients: {a: b}\n  t_*.patients: {a: b}\n")
    assert (named("clinic.patients"), prefixed(policy)) == ("clinic.patients", policy)
    (tmp_path / "run").mkdir()
    use(Outside(describe("mongodb://a/", {}, "8.0"), "p_", tmp_path / "run"))
    try:
        assert named("clinic.patients") == "p_clinic.patients"
        changed = prefixed(policy).read_text()
    finally:
        use(None)
    assert "p_clinic.patients:" in changed
    assert "p_t_*.patients:" in changed


@rows(
    "row, left, code",
    (Row("drivers", "tests", 5, Counter(sort=2), [], Counter(standalone=3)), [], 0),
    (Row("drivers", "tests", 5, differences=[("one", "how")]), [], 1),
    (Row("drivers", "tests", 5), ["p_clinic"], 1),
)
def test_the_exit_code_and_both_forms_of_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], row: Row, left: list[str], code: int
) -> None:
    server = describe("mongodb://a/", {}, "8.0")
    monkeypatch.setenv("URI", server.uri)
    monkeypatch.setattr(program, "look_at", lambda _: server)
    monkeypatch.setattr(program, "run", lambda *_: Report(server, "p_", 7, [row], left))
    for options in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["test-server", *options])
        assert program.main() == code
    table, _, document = capsys.readouterr().out.partition("{")
    assert ("Nothing differed." in table) is (row.differences == [])
    (part,) = json.loads("{" + document)["parts"]
    assert (part["held"], part["refused"], len(part["differed"])) == (5, row.refused, len(row.differences))


def test_without_a_connection_string_it_cannot_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("URI", raising=False)
    monkeypatch.setattr("sys.argv", ["test-server"])
    assert program.main() == 2
    assert "hint:" in capsys.readouterr().err


# The pieces of the differential test, without servers: it can only find what these tell apart.


POLICY = policy_of("""
version: 1
classes:
  code: {mode: deterministic, type: string}
  other: {mode: deterministic, type: string}
  secret: {mode: random}
collections:
  a.b: {s: code, list.s: code, r: secret}
""")


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return create_keyring(
        tmp_path / "keyring.json", environment_kek(tmp_path, KEK_A), POLICY.class_names, NOW
    )


def test_numbers_are_equal_as_the_server_has_it() -> None:
    equal = [1, 1.0, Int64(1), Decimal128("1.0")]
    assert len({canonical({"a": [number]}) for number in equal}) == 1
    assert canonical(-0.0) == canonical(0)
    assert canonical(Int64(2**53 + 1)) != canonical(float(2**53))


@rows(
    "one, other",
    (1, True),
    (1, "1"),
    (None, False),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ([1, 2], [2, 1]),
    (b"a", Binary(b"a", 5)),
    ({"a": None}, {}),
)
def test_values_that_differ_stay_apart(one: object, other: object) -> None:
    assert canonical(one) != canonical(other)


def test_a_view_takes_another_name_in_every_command() -> None:
    made = Command(MAKING_VIEW, {"create": SEEN, "viewOn": PEOPLE, "pipeline": []})
    read = Command("view find", {"find": SEEN, "filter": {"s": "x"}})
    other = Command("find", {"find": PEOPLE, "filter": {"s": "x"}})
    sequence = Sequence(draw_shapes(1, 1)[0], [], [], [], [made, read, other, Transaction((other,), True)])
    named = sequence.with_view("seen7")
    assert [next(iter(each.body.values())) for each in named.commands] == ["seen7", "seen7", PEOPLE, PEOPLE]
    assert named.collections == {PEOPLE, VISITS, "seen7"}
    assert named.with_view("seen8") == named


def test_only_the_named_fields_have_no_order() -> None:
    assert canonical({"set": [1, 2]}) == canonical({"set": [2, 1]})
    assert canonical({"list": [1, 2]}) != canonical({"list": [2, 1]})


def test_what_is_stored_is_held_against_the_policy(keyring: Keyring) -> None:
    node = POLICY.covered("a.b")
    value = string(b"x")
    code = Binary(keyring.cipher_for("code").encrypt_deterministically(2, value), 0x80)
    other = Binary(keyring.cipher_for("other").encrypt_deterministically(2, value), 0x80)
    random = Binary(keyring.cipher_for("secret").encrypt_randomly(2, value), 0x80)
    right = {"s": [code, None], "list": [[{"s": code}], {"0": {"s": code}}], "r": random, "w": "x"}
    assert wrongly_stored(right, node, keyring) == []
    assert opened(right, keyring)["s"] == ["x", None]
    for wrong in ({"s": "x"}, {"s": other}, {"s": random}, {"r": code}, {"w": code}, {"list": {"s": "x"}}):
        assert wrongly_stored(wrong, node, keyring)


def test_a_refusal_is_told_from_an_error_of_the_server() -> None:
    refusal = Refusal(Reason.SORT, path="s", rule="$sort")
    told = {"ok": 0, "errmsg": refusal.message, "code": refusal.error_code.code}
    assert failure(OperationFailure(refusal.message, 20, told)) == Answer(Outcome.REFUSED, "", Reason.SORT)
    duplicate = {"ok": 0, "code": 11000, "errmsg": "E11000", "keyPattern": {"s": 1}, "keyValue": {"s": "x"}}
    answer = failure(OperationFailure("E11000", 11000, duplicate))
    assert answer.outcome is Outcome.ERROR
    assert "'keyValue': {'s': 'x'}" in answer.content


def test_figures_of_processes_add_up() -> None:
    one, other = Tally(examples=1), Tally(examples=2)
    one.count("find", Answer(Outcome.ANSWERED, ""), {"filter": {"$or": [{"a": {"$in": []}}]}})
    other.count("find", Answer(Outcome.REFUSED, "", Reason.SORT), {"sort": {"$meta": 1}})
    one.add(Tally.from_json(other.to_json()))
    assert (one.examples, one.commands, one.share_answered) == (3, 2, 0.5)
    assert one.reasons == {"sort": 1}
    assert set(one.answered) == {"$or", "$in"}
    assert any("50.0%" in line for line in one.table())


def test_every_drawn_policy_loads_and_covers_what_its_shape_says() -> None:
    for seed in range(40):
        shapes = draw_shapes(seed, 8)
        assert shapes == draw_shapes(seed, 8)
        policy = load_policy(policy_yaml(shapes).encode(), "policy.yaml")
        for shape in shapes:
            assert all(policy.covered(f"{shape.database}.{name}") is not None for name in COLLECTIONS)
    assert draw_shapes(1, 8) != draw_shapes(2, 8)


def test_the_defect_is_recognised_wherever_it_stands() -> None:
    assert spoils_upsert({"$and": [{"items": {"$all": [{"$elemMatch": {"s": 1}}]}}]})
    assert not spoils_upsert({"items": {"$elemMatch": {"s": {"$all": [1]}}}})
