"""The commands of docs/operations/compliance.md, on a deployment of real parts where all is well."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo import MongoClient

from sealwire.keys.keyring.file import create_keyring
from sealwire.sidecars.compliance.requirements import ComplianceCheck, Duty
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.proxy_process import ProxyProcess
from tests.build_context import ROOT as PROJECT
from tests.integration.outside.chosen import own_server
from tests.keys.samples import local_kek
from tests.support import warm
from tests.support.doc_commands import run_document
from tests.support.private import private
from tests.support.proxied import proxied
from tests.support.secantus import CLINIC, ROOT, USERS, secantus

pytestmark = [pytest.mark.integration, own_server("it has users and certificates of its own")]

PAGE = PROJECT / "docs" / "operations" / "compliance.md"
NHS = "9434765919"
POLICY = f"""
version: 1
classes: {{nhs: {{mode: deterministic, type: string}}}}
collections: {{clinic.patients: {{nhs_number: nhs}}}}
subjects: {{class: nhs}}
roles:
  ward:
    users: ["{CLINIC.name}@*"]
    purposes: [care]
    classes: {{nhs: {{read: clear, filter: true, write: true}}}}
"""
ALERTS = "version: 1\naudit: {path: audit.jsonl, key: audit.key.pub}\nstate: watch.db\n"


@dataclass(frozen=True)
class Place:
    """Where the deployment's files are."""

    folder: Path
    asked: list[dict[str, Any]]
    """Two reports made while the proxy ran: with the policy that it has, and with another in the file."""

    def sealwire(self, *words: str, **environ: str) -> str:
        """Run a command to its good end."""
        done = warm.sealwire(*words, cwd=self.folder, env=os.environ | environ)
        assert done.returncode == 0, done.stderr + done.stdout
        return str(done.stdout)

    def report(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code and document of a report."""
        done = warm.sealwire("compliance", "report", "compliance.yaml", "--json", *words, cwd=self.folder)
        return done.returncode, json.loads(done.stdout)

    def settings(self, **changed: Any) -> None:
        """Write `compliance.yaml`; JSON is YAML."""
        today = datetime.now(UTC).date().isoformat()
        every: dict[str, Any] = {
            "version": 1,
            "name": "clinic.example",
            "proxy": "sealwire/sealwire.yaml",
            "server": {"uri_file": "server.uri"},
            "backups": {"store": str(self.folder / "backups")},
            "audit": {"key": "audit.key.pub"},
            "logs": ["sealwire/sealwire.log"],
            "watch": "alerts.yaml",
            "not_applicable": {
                "at-rest": "a test has no LUKS",
                "in-transit": "TLS of a test is looked at elsewhere",
                "key-provider": "the key of a test",
                "versions": "a test asks nobody outside",
            },
        } | changed
        # quoted dates are texts
        word = f"date: {today}, by: the test"
        attested = ", ".join(f"{duty.value}: {{{word}}}" for duty in Duty)
        exempt = ", ".join(
            f"{name}: {{{word}, reason: {json.dumps(why)}}}"
            for name, why in every.pop("not_applicable").items()
        )
        text = json.dumps(every, indent=1).removesuffix("\n}")
        (self.folder / "compliance.yaml").write_text(
            f'{text},\n "attested": {{{attested}}},\n "not_applicable": {{{exempt}}}\n}}\n'
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("compliance")
    found = Place(folder, [])
    found.sealwire(
        "audit", "create-key", "audit.key", "--name", "clinic.example", "--subjects-key", "subjects.key"
    )
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "alerts.yaml").write_text(ALERTS)
    authority = create_authority(folder / "certificates")
    audit = {
        "path": str(folder / "audit.jsonl"),
        "key": str(folder / "audit.key"),
        "subjects_key": str(folder / "subjects.key"),
        "checkpoint_s": 1,
    }
    settings = {"audit": audit, "log": {"format": "json"}}
    with secantus(folder, users=USERS, authority=authority) as database:
        policy = folder / "policy.yaml"
        with proxied(folder, policy, database.address, authority, settings=settings) as proxy:
            with MongoClient[Any](proxy.uri(CLINIC)) as client:
                client["clinic"].command(
                    {"insert": "patients", "documents": [{"nhs_number": NHS}], "comment": "purpose=care"}
                )
            private(folder / "server.uri", database.uri(ROOT))
            _back_up(found, database.uri(ROOT))
            _ask(found, proxy)
        # the proxy has ended, and signed all that is in the log
        yield found


def _ask(place: Place, proxy: ProxyProcess) -> None:
    place.settings(
        proxies={"admin": [f"http://127.0.0.1:{proxy.admin_port}"]},
        not_applicable={"versions": "a test asks nobody"},
    )
    place.asked.append(place.report()[1])
    (place.folder / "policy.yaml").write_text(POLICY + "# another\n")
    place.asked.append(place.report()[1])
    (place.folder / "policy.yaml").write_text(POLICY)


def _back_up(place: Place, uri: str) -> None:
    environ = {
        "SEALWIRE_SERVER_URI": uri,
        "SEALWIRE_BACKUP_STORE": str(place.folder / "backups"),
        "SEALWIRE_PASSPHRASE": "nobody guesses this one of a test",
    }
    (place.folder / "backups").mkdir()
    place.sealwire("backup", "create-key", "backup-key", **environ)
    place.sealwire("backup", "create", "clinic-1", "--recipient", "public:backup-key.pub", **environ)
    recorded = environ | {"SEALWIRE_AUDIT_PATH": str(place.folder / "audit.jsonl")}
    place.sealwire("backup", "restore", "clinic-1", "--key", "private:backup-key", "--drill", **recorded)


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    return {each["check"]: each["outcome"] for each in document["findings"]}


def test_the_page_reports_that_all_is_well(place: Place) -> None:
    place.settings()
    place.sealwire("watch", "alerts.yaml", "--learn")
    shown = run_document(PAGE, place.folder, "report")
    assert "verdict: partly (0 of 21 failed, " in shown
    page = (place.folder / "report.html").read_text()
    assert "Compliance of clinic.example" in page
    changed = run_document(PAGE, place.folder, "baseline")
    assert json.loads(changed)["changed"] == []
    for name in ("report.json", "report.html"):
        assert NHS not in (place.folder / name).read_text()


def test_what_is_not_well_fails_with_evidence_and_a_next_step(place: Place) -> None:
    place.settings(not_applicable={"at-rest": "no", "versions": "no"}, backups={"store": "nowhere"})
    code, document = place.report()
    assert code == 1
    found = {each["check"]: each for each in document["findings"] if each["outcome"] == "fail"}
    assert set(found) == {"in-transit", "key-provider", "backups"}
    assert all(each["evidence"] and each["hint"] for each in found.values())


def test_an_edited_log_and_plaintext_in_the_database_are_found(place: Place) -> None:
    place.settings()
    log = place.folder / "audit.jsonl"
    kept = log.read_bytes()
    with MongoClient[Any]((place.folder / "server.uri").read_text()) as raw:
        raw["clinic"]["patients"].insert_one({"_id": 7, "nhs_number": NHS, "email": "ann@clinic.example"})
        log.write_bytes(kept.replace(b'"care"', b'"else"'))
        code, document = place.report()
        raw["clinic"]["patients"].delete_one({"_id": 7})
    log.write_bytes(kept)
    failed = {check for check, outcome in outcomes(document).items() if outcome == "fail"}
    assert (code, failed) == (1, {"audit-chain", "fields", "minimisation"})
    assert NHS not in json.dumps(document)


def test_what_the_policy_does_not_name_is_listed_as_not_looked_at(place: Place) -> None:
    place.settings()
    with MongoClient[Any]((place.folder / "server.uri").read_text()) as raw:
        raw["billing"]["accounts"].insert_one({"nhs_number": NHS})
        raw["clinic"]["rooms"].insert_one({"floor": 1})
        code, document = place.report()
        raw.drop_database("billing")
        raw["clinic"].drop_collection("rooms")
    assert (code, document["unseen"]) == (0, ["billing", "clinic.rooms"])
    assert outcomes(document)["scope"] == "partly"
    rows = {row["id"]: row["outcome"] for row in document["rows"]}
    assert (rows["gdpr-minimisation"], rows["dspt-b3a"]) == ("partly", "partly")


def test_the_running_proxy_is_asked_and_not_the_file(place: Place) -> None:
    same, other = map(outcomes, place.asked)
    assert (same["running-policy"], other["running-policy"]) == ("pass", "fail")
    evidence = {each["check"]: each["evidence"] for each in place.asked[0]["findings"]}
    assert evidence["key-provider"][1].endswith(": the key-encryption key is in an environment variable")


def test_an_open_deployment_says_so_on_the_first_line(place: Place, tmp_path: Path) -> None:
    """Patients in clear, a role for everybody, an empty log, and a word for everything else."""
    policy = POLICY.replace(f"{CLINIC.name}@*", "*@*")
    for name, text in (("policy.yaml", policy), ("audit.jsonl", "")):
        (tmp_path / name).write_text(text)
    create_keyring(tmp_path / "keyring.json", local_kek(), ["nhs"], datetime.now(UTC), plaintext=["nhs"])
    config = (place.folder / "sealwire" / "sealwire.yaml").read_text()
    looked = ("fields", "minimisation", "scope", "roles", "audit-commands")
    settings = yaml.safe_load(config) | {"policy": "policy.yaml", "keyring": "keyring.json"}
    settings["audit"] = {"path": "audit.jsonl"}
    (tmp_path / "sealwire.yaml").write_text(json.dumps(settings))
    place.settings(
        proxy=str(tmp_path / "sealwire.yaml"),
        not_applicable={each.value: "x" for each in ComplianceCheck if each.value not in looked},
    )
    with MongoClient[Any]((place.folder / "server.uri").read_text()) as raw:
        kept = raw["clinic"]["patients"].find_one({})
        raw["clinic"]["patients"].replace_one({}, {"nhs_number": NHS})
        code, document = place.report("--key", "audit.key", "--output", "open.json")
        raw["clinic"]["patients"].replace_one({}, kept or {})
    found = outcomes(document)
    assert (code, {name for name in looked if found[name] == "fail"}) == (1, {*looked} - {"scope"})
    done = warm.sealwire("compliance", "verify", "open.json", "--key", "audit.key.pub", cwd=place.folder)
    assert done.stdout.startswith("verdict: fails (")


def test_a_report_that_was_edited_is_not_believed(place: Place) -> None:
    place.settings()
    place.report("--key", "audit.key", "--output", "signed.json")
    signed = place.folder / "signed.json"
    signed.write_text(signed.read_text().replace('"failed":0', '"failed":1'))
    done = warm.sealwire("compliance", "verify", "signed.json", "--key", "audit.key.pub", cwd=place.folder)
    assert done.returncode == 78
