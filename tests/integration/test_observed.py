"""A proxy that is watched: figures, slow commands and traces of what pymongo asks, without a value."""

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from bson.binary import USER_DEFINED_SUBTYPE
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, OperationFailure

from sealwire.examples.clinic_app import run as run_clinic
from sealwire.examples.patients import generate_appointments, generate_patients
from sealwire.proxy.server.doctor.diagnosis import Grade, examine
from sealwire.testbed.child import free_port
from sealwire.testbed.database import DatabaseProcess
from tests.build_context import ROOT
from tests.integration.conftest import Document
from tests.integration.running_site import NHS, client_of, new_site, readiness
from tests.proxy.server.observability.collector import Collected, collector
from tests.proxy.server.site import Running, Site, serving
from tests.support import warm
from tests.support.private import private

pytestmark = pytest.mark.integration

NUMBERS = ("943 476 5919", "401 023 2137")
"""Values of a covered field: they are nowhere but in the client."""
WARD = "taint-ward-7"
"""A value of a field that the policy does not cover: nowhere in what is watched either."""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
SPOKEN = "taint-comment-words"


@dataclass
class Watched:
    """What was seen of one conversation."""

    figures: str
    lines: list[dict[str, Any]]
    traces: Collected

    def figure(self, name: str, **labels: str) -> float:
        wanted = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        pattern = rf"^{name}{re.escape('{' + wanted + '}') if wanted else ''} (\S+)$"
        found = re.search(pattern, self.figures, re.M)
        assert found is not None, (name, labels)
        return float(found[1])


@pytest.fixture(scope="module")
def watched(database: DatabaseProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One conversation with a proxy that logs every command as slow, and sends traces."""
    with collector() as traces:
        site = new_site(database, tmp_path_factory.mktemp("observed") / "site")
        site.config["log"]["slow_ms"] = 0
        site.config["traces"] = {"endpoint": traces.endpoint}
        with serving(site) as proxy:
            with client_of(proxy) as client:
                converse(client)
            assert traces.came.wait(10)
            figures = page_of(proxy)
            proxy.process.terminate()
            lines = list(proxy.said)
        yield Watched(figures, lines, traces)


def converse(client: MongoClient[Document]) -> None:
    patients = client["clinic"]["patients"]
    patients.insert_many([{"nhs_number": number, "ward": WARD} for number in NUMBERS])
    assert patients.find_one({"nhs_number": NUMBERS[0]}) is not None
    assert patients.count_documents({"ward": WARD}) == 2
    list(patients.find({"nhs_number": NUMBERS[1]}, comment=f"{SPOKEN}; traceparent={PARENT}"))
    with pytest.raises(OperationFailure):
        patients.find_one({"nhs_number": {"$gt": NUMBERS[0]}}, comment={"traceparent": PARENT, "x": SPOKEN})
    client["elsewhere"]["wards"].insert_one({"_id": 1, "name": WARD})
    with pytest.raises(DuplicateKeyError):
        client["elsewhere"]["wards"].insert_one({"_id": 1, "name": WARD})
    with pytest.raises(OperationFailure):
        client["elsewhere"]["wards"].aggregate([{"$match": {"name": {"$in": WARD}}}])


def page_of(proxy: Running) -> str:
    with urllib.request.urlopen(f"http://{proxy.admin}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_commands_are_counted_by_name_and_outcome(watched: Watched) -> None:
    assert watched.figure("sealwire_commands_total", command="insert", outcome="sent") == 3
    assert watched.figure("sealwire_commands_total", command="find", outcome="sent") == 2
    assert watched.figure("sealwire_commands_total", command="find", outcome="refused") == 1
    assert watched.figure("sealwire_commands_total", command="drop", outcome="sent") == 0
    assert watched.figure("sealwire_refusals_total", reason="range") == 1


def test_errors_of_the_server_are_counted_by_name(watched: Watched) -> None:
    assert watched.figure("sealwire_server_errors_total", command="aggregate") == 1
    assert watched.figure("sealwire_server_errors_total", command="insert") == 0
    assert watched.figure("sealwire_write_errors_total", command="insert") == 1
    assert watched.figure("sealwire_write_errors_total", command="update") == 0


def test_values_bytes_and_times_are_counted(watched: Watched) -> None:
    assert watched.figure("sealwire_values_encrypted_total") == 4
    assert watched.figure("sealwire_values_decrypted_total") == 2
    for peer in ("client", "server"):
        for direction in ("received", "sent"):
            assert watched.figure("sealwire_network_bytes_total", peer=peer, direction=direction) > 500
    total = watched.figure("sealwire_command_duration_seconds_sum")
    assert 0 < watched.figure("sealwire_command_added_duration_seconds_sum") < total
    # one in eight, also while every command is timed for its line and its trace
    assert 0 < watched.figure("sealwire_command_duration_seconds_count") < 6


def test_a_slow_command_has_a_line_that_says_where_the_time_went(watched: Watched) -> None:
    slow = [line for line in watched.lines if line["event"] == "slow command"]
    named = {"command": "insert", "namespace": "clinic.patients"}
    (first,) = [line for line in slow if named.items() <= line.items()]
    assert (first["values"], first["decrypted"]) == (2, 0)
    parts = [first[f"{part}_us"] for part in ("planning", "encrypting", "server", "decrypting", "waiting")]
    assert sum(parts) == pytest.approx(first["total_us"], abs=5)
    assert first["encrypting_us"] > 0
    assert first["client"].startswith("127.0.0.1:")


def test_the_clients_trace_goes_on(watched: Watched) -> None:
    (command,) = [
        span for span in watched.traces.spans if span.name == "sealwire find" and not span.status.code
    ]
    assert command.trace_id.hex() == TRACE
    assert command.parent_span_id.hex() == PARENT.split("-")[2]
    parts = {span.name for span in watched.traces.spans if span.parent_span_id == command.span_id}
    assert parts == {"planning", "encrypting", "server", "decrypting"}
    (refused,) = [span for span in watched.traces.spans if span.status.code]
    assert {each.key: each.value.string_value for each in refused.attributes}["sealwire.reason"] == "range"


def test_no_value_and_no_word_of_a_comment_is_in_what_is_watched(watched: Watched) -> None:
    everything = watched.figures + json.dumps(watched.lines)
    everything += "".join(body.decode("latin-1") for body in watched.traces.bodies)
    for taint in (*NUMBERS, WARD, SPOKEN):
        assert taint not in everything


# A policy that is only observed, before the example's application: nothing changes, and all is counted.


NUMBER = "943 476 5919"


def policy(**more: Any) -> str:
    """The example's policy, which also covers what its application searches by beginning and by range."""
    rules = yaml.safe_load((ROOT / "examples" / "policy.yaml").read_text())
    rules["classes"]["name"] = {"mode": "deterministic", "type": "string"}
    rules["classes"]["date_of_birth"] = {"mode": "deterministic", "type": "date", "ask": True}
    rules["collections"]["clinic.patients"]["name"] = "name"
    return yaml.safe_dump(rules | more)


def a_site(database: DatabaseProcess, folder: Path, rules: str) -> Site:
    site = new_site(database, folder, rules)
    site.config["admin"]["address"] = f"127.0.0.1:{free_port()}"
    return site


@pytest.fixture
def empty(database: DatabaseProcess) -> DatabaseProcess:
    with database.connect() as client:
        for name in ("clinic", "plain"):
            client.drop_database(name)
    return database


def sealwire(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    return warm.sealwire(*words, env=site.environ, timeout=60)


def reported(site: Site) -> Document:
    done = sealwire(site, "observe", "report", "--config", str(site.folder / "sealwire.yaml"), "--json")
    return dict(json.loads(done.stdout)) | {"code": done.returncode}


@contextmanager
def application(proxy: Running) -> Iterator[MongoClient[Document]]:
    host, port = proxy.address
    uri = f"mongodb://{host}:{port}/clinic?directConnection=true&appName=ward"
    with MongoClient[Document](uri) as client:
        yield client


def ciphertexts(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(ciphertexts, value.values()))
    if isinstance(value, list):
        return sum(map(ciphertexts, value))
    return getattr(value, "subtype", 0) == USER_DEFINED_SUBTYPE


def test_an_application_runs_as_without_a_proxy_and_its_commands_are_judged(
    empty: DatabaseProcess, tmp_path: Path
) -> None:
    site = a_site(empty, tmp_path, policy(mode="observe"))
    site.config["workers"] = 2
    people = tuple(islice(generate_patients(1), 40))
    patients: list[Document] = [dict(each) for each in people]
    booked: list[Document] = [dict(each) for each in generate_appointments(1, people, 60)]
    with MongoClient[Document](empty.uri() + "plain") as direct:
        expected = [(step.name, step.result) for step in run_clinic(direct, patients, booked)]
    with serving(site, 240) as proxy:
        assert proxy.events["the policy is only observed"]["level"] == "warning"
        said = readiness(proxy)
        assert said["mode"] == "observe"
        assert said["not_protected"] == ["clinic.appointments", "clinic.patients"]
        with application(proxy) as client:
            assert [(step.name, step.result) for step in run_clinic(client, patients, booked)] == expected
        report = reported(site)
        assert report["code"] == 1
        text = sealwire(site, "observe", "report", "--config", str(site.folder / "sealwire.yaml")).stdout
        assert text.startswith("NOT PROTECTED")
    with empty.connect() as client:
        stored = list(client["clinic"]["patients"].find())
    assert stored
    assert ciphertexts(stored) == 0
    assert report["collections"] == 2
    commands = report["commands"]
    assert commands["answered"] > 20
    refused = [each for each in report["shapes"] if each["verdict"] == "refused"]
    shapes = {(each["command"], each["path"], each["reason"]) for each in refused}
    assert shapes == {("find", "name", reason) for reason in ("pattern", "range", "sort")}
    assert all(each["application"] == "ward" for each in report["shapes"])
    assert refused[0]["look_at"].endswith(": docs/asking.md")
    asked = [each for each in report["shapes"] if each["verdict"] == "two-steps"]
    assert [(each["command"], each["namespace"]) for each in asked] == [("find", "clinic.patients")]
    assert not any(patient["name"] in json.dumps(report) for patient in patients)


def test_what_would_protect_or_move_is_refused_while_it_is_observed(
    empty: DatabaseProcess, tmp_path: Path
) -> None:
    site = a_site(empty, tmp_path, policy(observe=["clinic.patients"]))
    site.environ |= {"SEALWIRE_KEYRING": str(site.keyring), "SEALWIRE_SERVER_URI": empty.uri()}
    with empty.connect() as client:
        client["clinic"]["patients"].insert_one({"name": "Ada"})
    checked = site.serve("--check")
    assert checked.returncode == 0
    assert "only observed" in checked.stdout + checked.stderr
    examined = {each.about: each for each in examine(site.write(), site.environ)}
    assert examined["the policy is only observed"].grade is Grade.DOUBTFUL
    rules = str(site.folder / "policy.yaml")
    for words in (
        ("migrate", "encrypt", rules, NHS),
        ("migrate", "verify", rules),
        ("policy", "enforce", rules, "--dry-run"),
    ):
        done = sealwire(site, *words)
        assert (done.returncode, "observed" in done.stderr) == (78, True), words
    drift = sealwire(site, "policy", "drift", rules)
    assert drift.returncode == 1
    assert "NOT PROTECTED" in drift.stdout


def test_a_collection_with_encrypted_values_cannot_be_observed(
    empty: DatabaseProcess, tmp_path: Path
) -> None:
    site = a_site(empty, tmp_path, policy())
    file = site.folder / "policy.yaml"
    create = ("keys", "create", "--policy", str(file), "--keyring", str(site.keyring))
    assert sealwire(site, *create).returncode == 0
    with serving(site) as proxy:
        with client_of(proxy) as client:
            client["clinic"]["patients"].insert_one({NHS: NUMBER})
        file.write_text(policy(mode="observe"))
        proxy.process.send_signal(1)
        refused = next(line for line in proxy.said if line["event"].startswith("reload refused"))
        assert "holds encrypted values" in refused["problem"]
        with client_of(proxy) as client:
            assert client["clinic"]["patients"].find_one({NHS: NUMBER}, {"_id": 0}) == {NHS: NUMBER}
    done = site.serve("--check")
    assert done.returncode == 78
    assert "holds encrypted values" in done.stderr
    assert NUMBER not in done.stderr
    file.write_text(policy(observe=["clinic.appointments"]))
    assert site.serve("--check").returncode == 0


# A database that holds plaintext already, and a policy whose class begins encrypted: refused, or said.


LEFT = "accept_plaintext: true"


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    with database.connect() as client:
        client.drop_database("clinic")
    return new_site(database, tmp_path)


def fill(database: DatabaseProcess) -> None:
    with database.connect() as client:
        client["clinic"]["patients"].insert_many([{"ward": 1}, {NHS: NUMBER}])


def accept(site: Site) -> None:
    policy = site.folder / "policy.yaml"
    policy.write_text(policy.read_text().replace("type: string}", f"type: string, {LEFT}}}"))


def test_values_in_clear_keep_a_proxy_from_starting(site: Site, database: DatabaseProcess) -> None:
    fill(database)
    for words in (("--check",), ()):
        done = site.serve(*words)
        assert done.returncode == 78
        assert f"clinic.patients {NHS}" in done.stderr
        assert "--plaintext" in done.stderr
        assert NUMBER not in done.stdout + done.stderr
    told = json.loads(site.serve("--check", "--json").stdout)
    assert told["errors"][0]["reason"] == "plaintext-stored"
    examined = {each.about: each for each in examine(site.write(), site.environ)}
    assert (examined["servers"].grade, examined["servers"].reason) == (Grade.WRONG, "plaintext-stored")
    accept(site)
    with serving(site) as proxy, client_of(proxy) as client:
        assert client["clinic"]["patients"].find_one({NHS: NUMBER}) is None


def test_a_database_with_ciphertext_only_is_served_again(site: Site, database: DatabaseProcess) -> None:
    with serving(site) as proxy, client_of(proxy) as client:
        client["clinic"]["patients"].insert_one({NHS: NUMBER})
    with serving(site) as proxy, client_of(proxy) as client:
        assert "stored plaintext was not looked for" not in proxy.events
        assert client["clinic"]["patients"].count_documents({NHS: NUMBER}) == 1


def test_a_worker_is_replaced_whatever_was_stored_past_the_proxy(
    site: Site, database: DatabaseProcess
) -> None:
    site.config["workers"] = 2
    with serving(site) as proxy:
        fill(database)
        pid = proxy.process.pid
        victim = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        os.kill(int(victim), signal.SIGKILL)
        assert "worker ready" in (line["event"] for line in proxy.said)
        assert proxy.process.poll() is None


def test_a_user_of_the_operator_looks_where_the_proxy_has_none(site: Site, database: DatabaseProcess) -> None:
    uri = private(site.folder / "server.uri", database.uri())
    assert site.serve("--check", "--uri-file", str(uri)).returncode == 0
    fill(database)
    assert site.serve("--check", "--uri-file", str(uri)).returncode == 78
    assert site.serve("--uri-file", str(uri)).returncode == 2
    uri.write_text("mongodb://127.0.0.1:1")
    done = site.serve("--check", "--uri-file", str(uri))
    assert done.returncode == 0
    assert "was not found out" in done.stderr


def test_a_reloaded_policy_is_refused_and_the_old_one_stays(site: Site, database: DatabaseProcess) -> None:
    with database.connect() as client:
        client["clinic"]["patients"].insert_one({"other": NUMBER})
    policy = site.folder / "policy.yaml"
    before = policy.read_text()
    with serving(site) as proxy:
        policy.write_text(before.replace(f"{{{NHS}: {NHS}}}", f"{{{NHS}: {NHS}, other: {NHS}}}"))
        proxy.process.send_signal(signal.SIGHUP)
        refused = next(line for line in proxy.said if line["event"] == "reload refused, nothing changed")
        assert "clinic.patients other" in refused["problem"]
        with client_of(proxy) as client:
            assert client["clinic"]["patients"].find_one({"other": NUMBER}) is not None
