"""The runbook for a database that was put back from before a rotation is followed as it is printed."""

from pathlib import Path
from typing import Any

import pytest

from sealwire.testbed.database import DatabaseProcess
from tests.build_context import ROOT
from tests.integration.migrate.clinics import new_clinic
from tests.integration.migrate.numbers import NHS, POLICY, reencryption
from tests.support.doc_commands import run_document

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "operations" / "runbooks.md"


def test_data_from_before_a_rotation_is_found_by_equality_again(
    database: DatabaseProcess, tmp_path: Path
) -> None:
    with new_clinic(database, tmp_path, POLICY, (NHS, "notes")) as clinic, database.connect() as direct:
        stored: Any = direct["clinic"]["patients"]
        stored.create_index(NHS, unique=True)
        with clinic.proxy() as client:
            client["clinic"]["patients"].insert_many(
                {"_id": number, NHS: f"{number}", "kin": [{NHS: f"kin {number}"}]} for number in range(8)
            )
        backup = list(stored.find())
        clinic.rotate(NHS, pending=True)
        assert clinic.job(*reencryption(clinic))["state"] == "done"
        stored.delete_many({})
        stored.insert_many(backup)
        with clinic.proxy() as client:
            # a unique index takes it, as it is of another form: nobody has stopped the application
            client["clinic"]["patients"].insert_one({"_id": "twice", NHS: "5"})

        environ = {name: clinic.environ[name] for name in ("SEALWIRE_KEK", "SEALWIRE_SERVER_URI", "COLUMNS")}
        said = run_document(PAGE, tmp_path, "restored", environ)
        assert f"sealwire migrate repair POLICY {NHS}" in said
        assert "would repair; about 8 documents" in said
        # of the document that collides, the value that does not has moved
        assert "15 values of 8 documents moved" in said
        assert said.count("exit code 1") == 2
        assert said.count("server 11000") == 1
        with clinic.proxy() as client:
            patients = client["clinic"]["patients"]
            assert patients.find_one({NHS: "3"}) == {"_id": 3, NHS: "3", "kin": [{NHS: "kin 3"}]}
            patients.delete_one({"_id": "twice"})
        said = run_document(PAGE, tmp_path, "again", environ)
        assert "nothing of another form is left" in said
        with clinic.proxy() as client:
            patients = client["clinic"]["patients"]
            assert [each["_id"] for each in patients.find({NHS: {"$in": ["5", "6"]}}).sort("_id", 1)] == [
                5,
                6,
            ]
            assert patients.count_documents({"kin.nhs_number": "kin 5"}) == 1
