"""A database that holds plaintext already, and a policy whose class begins encrypted: refused, or said."""

import json
import os
import signal
from pathlib import Path

import pytest

from sealwire.proxy.server.doctor.diagnosis import Grade, examine
from sealwire.testbed.database import DatabaseProcess
from tests.integration.running_site import NHS, client_of, new_site
from tests.proxy.server.site import Site, serving

pytestmark = pytest.mark.integration

NUMBER = "943 476 5919"
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
    uri = site.folder / "server.uri"
    uri.touch(0o600)
    uri.write_text(database.uri())
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
