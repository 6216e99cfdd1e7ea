"""The pieces of `make test-server`, without servers."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sealwire.testbed.mongo_server import User
from tests.integration.outside import __main__ as program
from tests.integration.outside.chosen import Outside, named, prefixed, use
from tests.integration.outside.report import Report, Row
from tests.integration.outside.server import (
    OutsideDatabase,
    OutsideProxy,
    Server,
    UnusableServer,
    describe,
)

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


@pytest.mark.parametrize(
    ("uri", "hello"),
    [
        ("mongodb://a/?tls=true&tlsAllowInvalidCertificates=true", {}),
        ("mongodb://a/?tls=true&tlsInsecure=true", {}),
        ("mongodb://user@a/?authMechanism=MONGODB-X509&tls=true", {}),
        ("mongodb://a/", {"msg": "isdbgrid"}),
    ],
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


@pytest.mark.parametrize(
    ("row", "left", "code"),
    [
        (Row("drivers", "tests", 5, Counter(sort=2), [], Counter(standalone=3)), [], 0),
        (Row("drivers", "tests", 5, differences=[("one", "how")]), [], 1),
        (Row("drivers", "tests", 5), ["p_clinic"], 1),
    ],
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
