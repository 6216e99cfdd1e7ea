"""mongosh, as npm ships it: CRUD through Sealwire, ciphertext past it."""

import json
import subprocess
from typing import Any

import pytest

from tests.integration.conftest import Stack
from tests.integration.outside.chosen import named
from tests.node_programs import require_mongosh
from tests.support.secantus import CLINIC, ROOT

pytestmark = pytest.mark.integration


def run(uri: str, script: str) -> Any:
    """What the last expression of `script` gives, as extended JSON."""
    command = [
        str(require_mongosh()),
        uri,
        "--quiet",
        "--norc",
        "--eval",
        f"EJSON.stringify((() => {{{script}}})())",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr or done.stdout
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_crud_in_mongosh_is_plaintext_through_sealwire_and_binary_past_it(clean: Stack) -> None:
    through = clean.proxy.uri(CLINIC, named("clinic"))
    seen = run(
        through,
        """
        db.patients.createIndex({nhs_number: 1}, {unique: true});
        db.patients.insertMany([
            {_id: 1, nhs_number: "9434765919", contacts: [{phone: "01632960001"}], visits: 2, notes: {a: 1}},
            {_id: 2, nhs_number: "1234567881", ward: "renal"},
        ]);
        db.patients.updateOne({nhs_number: "9434765919"}, {$set: {"contacts.0.phone": "01632960002"}});
        db.patients.deleteOne({nhs_number: "1234567881"});
        const refused = (() => {
            try { db.patients.find({nhs_number: /^94/}).toArray(); } catch (error) { return error.codeName; }
        })();
        return {
            one: db.patients.findOne({"contacts.phone": "01632960002", visits: 2}),
            all: db.patients.countDocuments({}),
            groups: db.patients.aggregate([{$group: {_id: "$nhs_number", n: {$sum: 1}}}]).toArray(),
            indexed: EJSON.stringify(db.patients.find({nhs_number: "9434765919"})
                .explain().queryPlanner.winningPlan).includes("IXSCAN"),
            refused,
        };
        """,
    )
    assert seen == {
        "one": {
            "_id": 1,
            "nhs_number": "9434765919",
            "contacts": [{"phone": "01632960002"}],
            "visits": 2,
            "notes": {"a": 1},
        },
        "all": 1,
        "groups": [{"_id": "9434765919", "n": 1}],
        "indexed": True,
        "refused": "NotImplemented",
    }
    stored = run(clean.database.uri(ROOT, named("clinic")), "return db.patients.findOne({_id: 1});")
    assert {stored[name]["$binary"]["subType"] for name in ("nhs_number", "visits", "notes")} == {"80"}
    assert stored["contacts"][0]["phone"]["$binary"]["subType"] == "80"


def test_a_surname_is_found_by_its_beginning_in_mongosh(clean: Stack) -> None:
    seen = run(
        clean.proxy.uri(CLINIC, named("clinic")),
        """
        db.callers.createIndex({surname: 1});
        const names = ["Smith", "SMIT", "Jones", "Goldsmith"];
        db.callers.insertMany(names.map((surname, _id) => ({_id, surname})));
        const found = (filter) => db.callers.find(filter).sort({_id: 1}).toArray().map((one) => one.surname);
        return {
            beginning: found({surname: /^Smi/i}),
            between: found({surname: {$gte: "J", $lt: "Sm"}}),
            counted: db.callers.countDocuments({surname: /smi/i}),
            listed: Object.keys(db.callers.find({surname: /^Smi/i}).explain()).includes("queryPlanner"),
        };
        """,
    )
    assert seen == {
        "beginning": ["Smith", "SMIT"],
        "between": ["SMIT", "Jones"],
        "counted": 3,
        "listed": True,
    }
    stored = run(clean.database.uri(ROOT, named("clinic")), "return db.callers.findOne({_id: 0});")
    assert stored["surname"]["$binary"]["subType"] == "80"
