"""`sealwire audit subject`: which lines are about a person, and that nothing shows who it is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from bson import ObjectId
from bson.int64 import Int64

from sealwire.audit.log import LogPace
from sealwire.audit.pseudonyms import Identifier, PseudonymKey
from sealwire.cli.subjects import identifier_of
from sealwire.keys.private_file import create_private
from sealwire.policies.file.schema import FieldClass, Mode, ValueType
from sealwire.sidecars.detection.subject import PURPOSE, linked_names
from sealwire.sidecars.direct import Client
from tests.audit.logs import opened
from tests.cli.runs import Outcome, Run
from tests.proxy.session.world import value_bytes
from tests.support.policies import policy_of


@pytest.fixture
def begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    return ("audit",)


POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
subjects:
  class: nhs
  links: {clinic.visits.patient_id: clinic.patients._id}
"""
KEY = PseudonymKey(bytes(range(32)))
ANN, BOB = "943 476 5919", "943 476 5870"


def person(text: str) -> str:
    return KEY.pseudonym(identifier_of(text, FieldClass("nhs", Mode.DETERMINISTIC, ValueType.STRING)))


def line(day: int, **fields: Any) -> dict[str, Any]:
    head = {"time": f"2026-11-0{day}T00:00:00.000+00:00", "event": "command", "command": "find"}
    return {**head, "namespace": "clinic.patients", "outcome": "ok", "client": "127.0.0.1:5", **fields}


@pytest.fixture(autouse=True)
def log(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    create_private(tmp_path / "subjects.key", KEY.written())
    log = opened(tmp_path, LogPace(file_bytes=1000))
    for each in (
        line(1, user="ann@admin", purpose="direct-care", read={"nhs": 1}, subjects=[person(ANN)]),
        line(2, user="bob@admin", purpose="audit", glass="asleep", subjects=[person(BOB), person(ANN)]),
        line(2, user="bob@admin", subjects=[person(BOB)], subjects_unknown=3),
        line(3, command="insert", parts=2, written={"nhs": 1}, outcome="failed", subjects=[person(ANN)]),
        line(3, command="insert", part=2, subjects=[person(ANN)]) | {"outcome": 7},
        {
            "time": "2026-11-04T00:00:00.000+00:00",
            "event": "hold-placed",
            "subject": person(ANN),
            "operator": "op",
        },
    ):
        log.append([each])
    log.close()


def asked(run: Run, *options: str, stdin: str = ANN) -> Outcome:
    names = ("--subjects-key", "subjects.key", "--policy", "policy.yaml")
    outcome = run("subject", "audit.log", *names, *options, stdin=f"{stdin}\n")
    assert not stdin or stdin not in outcome.out + outcome.err
    return outcome


def test_lines_about_a_person_say_who_when_and_why(run: Run) -> None:
    found = json.loads(asked(run, "--json").out)
    first, second, third, part, hold = found["lines"]
    assert first == {
        **{"time": "2026-11-01T00:00:00.000+00:00", "who": "ann@admin", "purpose": "direct-care"},
        **{"event": "find", "namespace": "clinic.patients", "read": ["nhs"], "written": [], "outcome": "ok"},
    }
    assert second["purpose"] == "audit (breaking the glass: asleep)"
    assert (third["who"], third["event"], third["written"]) == ("127.0.0.1:5", "insert", ["nhs"])
    assert part["outcome"] == "further persons"
    assert (hold["who"], hold["event"]) == ("op", "hold-placed")
    assert (found["documents_of_unknown_persons"], found["not_covered"]) == (3, ["clinic.visits"])


def test_documents_by_their_id_are_a_persons_if_a_line_about_one_says_so(run: Run, tmp_path: Path) -> None:
    def written(first: list[dict[str, Any]]) -> dict[str, Any]:
        log = opened(tmp_path, LogPace(file_bytes=100_000))
        for each in first:
            log.append([each])
        log.close()
        found: dict[str, Any] = json.loads(asked(run, "--json", "--since", "2026-11-05").out)
        return found

    removal = line(6, command="delete", ids=["d1"], affected=1)
    known = line(5, ids=["d1"], documents=1, subjects=[person(ANN)])
    linked = line(5, command="insert", ids=["d2"], affected=1, subjects=["d1"])
    not_told = [
        line(5, ids=["d3"], documents=1, subjects=[person(ANN)], subjects_unknown=1),
        line(5, ids=["d3"], documents=1, subjects=[person(ANN), person(BOB)]),
        line(5, ids=["d3", "d4"], documents=1, subjects=[person(ANN)]),
        line(5, command="update", ids=["d3"], affected=1, subjects=[person(ANN)]),
        line(5, command="insert", ids=["d3"], affected=2, subjects=[person(ANN)]),
        line(7, command="update", ids=["d3"], affected=1),
        line(7, command="update", ids=["d2"], affected=1),
    ]
    found = written([known | {"time": "2026-11-01T00:00:00.000+00:00"}, removal, linked, *not_told])
    assert [each["time"][9] for each in found["lines"]] == ["6", *"555555", "7"]
    assert (found["documents_known_by_id_only"], found["writes_of_unknown_persons"]) == (1, 0)
    assert "1 documents are named by an _id" in asked(run).out


WRITE = {"affected": 2, "subjects": [person(BOB)]}
UNKNOWN_WRITES: list[tuple[dict[str, Any], int, int]] = [
    (line(5, command="update", unnamed=1, affected=2), 1, 2),
    (line(5, command="update", unnamed=1, **WRITE), 1, 2),
    (line(5, command="update", unnamed=1, affected=0), 0, 0),
    (line(5, command="update", unnamed=1) | {"outcome": "unanswered"}, 1, 0),
    (line(5, command="delete", **WRITE), 0, 0),
    (line(5, command="delete", ids=["d1"], affected=2), 0, 0),
    (line(5, command="delete", affected=2), 1, 2),
    (line(5, command="insert", part=2), 0, 0),
    (line(5, command="findAndModify", unnamed=1, affected=1, documents=1, subjects=[person(BOB)]), 0, 0),
    (line(5, command="findAndModify", unnamed=1, affected=1), 1, 1),
    (line(5, command="aggregate", unnamed=1), 1, 0),
    (line(5, command="aggregate"), 0, 0),
    (line(5, command="drop", act="destruction"), 1, 0),
]


@pytest.mark.parametrize(("write", "writes", "documents"), UNKNOWN_WRITES)
def test_writes_that_name_nobody_count(
    run: Run, tmp_path: Path, write: dict[str, Any], writes: int, documents: int
) -> None:
    before = json.loads(asked(run, "--json").out)
    log = opened(tmp_path, LogPace(file_bytes=100_000))
    log.append([write])
    log.close()
    found = json.loads(asked(run, "--json").out)
    named = ("writes_of_unknown_persons", "documents_written_of_unknown_persons")
    assert [found[each] - before[each] for each in named] == [writes, documents]
    assert ("writes reached documents" in asked(run).out) == bool(writes or before[named[0]])


def test_another_person_and_other_days(run: Run) -> None:
    assert len(json.loads(asked(run, "--json", stdin=BOB).out)["lines"]) == 2
    assert len(json.loads(asked(run, "--json", "--since", "2026-11-03").out)["lines"]) == 3
    assert json.loads(asked(run, "--json", stdin="nobody at all").out)["lines"] == []


def test_a_line_of_several_that_is_missing_is_missed(run: Run, tmp_path: Path) -> None:
    assert json.loads(asked(run, "--json").out)["lines_missing"] == 0
    log = opened(tmp_path, LogPace(file_bytes=100_000))
    whole = [line(5, parts=2, subjects=[person(BOB)]), line(5, part=2, subjects=[person(ANN)])]
    # a writer that was killed may have written some of it twice
    for each in (*whole, *whole, line(6, parts=4, connection=8), line(6, part=3, connection=8)):
        log.append([each])
    log.close()
    assert json.loads(asked(run, "--json", "--until", "2026-11-05").out)["lines_missing"] == 0
    assert json.loads(asked(run, "--json").out)["lines_missing"] == 2
    assert "2 lines are missing" in asked(run).out


def test_the_table_says_what_it_does_not_cover(run: Run) -> None:
    outcome = asked(run)
    assert outcome.code == 0
    assert "clinic.visits" in outcome.out
    assert "3 documents" in outcome.out
    assert "2026-11-01" in outcome.out
    assert "…" not in outcome.out


def test_a_page_has_the_lines_and_plots(run: Run, tmp_path: Path) -> None:
    assert asked(run, "--html", "record.html").code == 0
    html = (tmp_path / "record.html").read_text(encoding="utf-8")
    assert html.count("<figure>") == 3
    assert "ann@admin" in html
    assert ANN not in html
    assert person(ANN) not in html


def test_mistakes(run: Run, tmp_path: Path) -> None:
    assert asked(run, stdin="").code == 2
    assert asked(run, "--through-file", "missing").code == 78
    (tmp_path / "through").touch(0o600)
    assert asked(run, "--through-file", "through").code == 78
    (tmp_path / "policy.yaml").write_text(POLICY.partition("subjects:")[0])
    assert asked(run).code == 2
    (tmp_path / "subjects.key").write_bytes(b"no key")
    (tmp_path / "policy.yaml").write_text(POLICY)
    assert asked(run).code == 65


LINKED = policy_of("""
version: 1
classes: {nhs: {mode: deterministic, type: string}, text: {mode: random}}
collections:
  clinic.patients: {nhs: nhs, kin.nhs: nhs}
  clinic.staff: {note: text}
  ward.*: {nhs: nhs}
subjects:
  class: nhs
  links:
    clinic.visits.patient: clinic.patients._id
    clinic.letters.visit: clinic.visits.number
""")
LINK_KEY = PseudonymKey(bytes(32))
LINKED_ANN = Identifier(*value_bytes("943"))
OBJECT = ObjectId()


class Server:
    """Answers `distinct` from a table, by collection and path, and notes what is asked."""

    def __init__(self, found: dict[str, list[Any]]) -> None:
        self.found = found
        self.asked: dict[str, Any] = {}
        self.name = ""

    def get_database(self, name: str, _options: object = None) -> "Server":
        made = Server(self.found)
        made.asked, made.name = self.asked, name
        return made

    def get_collection(self, name: str, _options: object = None) -> "Server":
        return self.get_database(f"{self.name}.{name}")

    def list_collections(self) -> Iterator[dict[str, Any]]:
        kinds = {"7": "collection", "8": "view"}
        return ({"name": name, "type": kind} for name, kind in kinds.items() if self.name == "ward")

    def distinct(self, path: str, wanted: dict[str, Any], comment: dict[str, Any]) -> list[Any]:
        assert comment == {"sealwire": {"purpose": PURPOSE}}
        self.asked[f"{self.name}.{path}"] = wanted
        return self.found.get(f"{self.name}.{path}", [])


def test_ids_and_values_of_links_stand_for_the_persons_documents() -> None:
    found: dict[str, list[Any]] = {
        "clinic.patients._id": [OBJECT],
        "clinic.visits._id": [2**40],
        "clinic.visits.number": ["v1"],
        "clinic.letters._id": [1.0],
        "ward.7._id": [True, 1.5],
    }
    server = Server(found)
    assert LINKED.subjects is not None
    names = linked_names(cast(Client, server), LINKED, LINKED.subjects, LINKED_ANN, LINK_KEY)
    values = [
        *(("clinic.patients._id", OBJECT), ("clinic.visits.number", "v1")),
        *(("clinic.visits._id", each) for each in (Int64(2**40), float(2**40))),
        *(("clinic.letters._id", each) for each in (1, Int64(1), 1.0)),
        *(("ward.7._id", each) for each in (True, 1.5)),
    ]
    assert names == {LINK_KEY.name_of(path, *value_bytes(value)): path for path, value in values}
    assert server.asked["clinic.patients._id"] == {"$or": [{"nhs": "943"}, {"kin.nhs": "943"}]}
    assert server.asked["clinic.visits.number"] == {"patient": {"$in": [OBJECT]}}
    assert server.asked["clinic.letters._id"] == {"visit": {"$in": ["v1"]}}
    assert not {"clinic.staff._id", "ward.8._id"} & server.asked.keys()
