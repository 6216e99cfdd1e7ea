"""The timer's command from the page rotates a class each quarter while two proxies serve an application.

Before the quiet hours it plans and waits. Within them it makes the key and moves the data. At their end it
pauses, and the next run ends the move. The clock of these hours is the machine's.
"""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.crypto.envelope import parse_header
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import create_keyring, open_record, read_record
from sealwire.testbed.database import DatabaseProcess, first_move, vouch_for_leases
from tests.build_context import ROOT
from tests.integration.rotating_clinic import FIXED, Application, fill, number_of
from tests.integration.running_site import NHS, TWO_COLLECTIONS, client_of, new_environ, site_at
from tests.proxy.server.site import Site, serving
from tests.support import warm

pytestmark = [pytest.mark.integration, pytest.mark.slow(minutes=5)]

TRANSACTIONS_S = 5
LONGEST_S = 600.0
QUARTERLY = TWO_COLLECTIONS.replace("type: string}", "type: string, rotate: quarterly}")
COMMAND = re.compile(r"^ExecStart=/opt/sealwire/bin/sealwire (keys rotate --due --quiet .*)$", re.MULTILINE)


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    """One whose key is older than a quarter."""
    uri, environ = database.uri(), new_environ()
    site = site_at(database, tmp_path, QUARTERLY, environ, frontier_uri=uri)
    long_ago = datetime.now(UTC) - timedelta(days=95)
    create_keyring(site.keyring, EnvironmentKek(environ=environ), [NHS], long_ago)
    site.environ |= {
        "SEALWIRE_KEYRING": str(site.keyring),
        "SEALWIRE_POLICY": str(tmp_path / "policy.yaml"),
        "SEALWIRE_AUDIT_PATH": str(tmp_path / "audit.jsonl"),
        "SEALWIRE_REWRAP_EVERY": "never",
    }
    with database.connect() as client:
        vouch_for_leases(client, site.keyring)
    return site


def timer(site: Site, begin: datetime, end: datetime, proxies: str, share: str) -> dict[str, Any]:
    """One run of the command that the page gives the timer, with hours and places of this test."""
    page = (ROOT / "docs" / "operations" / "key-rotation.md").read_text(encoding="utf-8")
    (line,) = COMMAND.findall(page)
    words = line.split()
    given = {"--quiet": f"{begin:%H:%M}-{end:%H:%M}", "--uri-file": "frontier.uri"}
    given |= {"--proxies": proxies, "--share": share}
    for option, value in given.items():
        words[words.index(option) + 1] = value
    done = warm.sealwire(*words, "--json", env=site.environ, cwd=site.folder, timeout=LONGEST_S)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["plan"]
    assert found["class"] == NHS
    return dict(found)


def states(site: Site) -> list[KeyState]:
    kek = EnvironmentKek(environ=site.environ)
    return [key.state for key in open_record(read_record(site.keyring), kek, site.keyring)]


def test_a_timer_rotates_a_class_in_its_quiet_hours_while_an_application_works(
    site: Site, database: DatabaseProcess, tmp_path: Path
) -> None:
    with (
        serving(site, LONGEST_S) as first,
        serving(site, LONGEST_S) as second,
        client_of(first) as one,
        client_of(second) as two,
    ):
        fill(one)
        application = Application((one, two))
        with database.connect() as raw:
            _, proxies = first_move(raw, 1, site.keyring)  # both have one address
        with application.at_work():
            now = datetime.now().astimezone()
            waits = timer(site, now + timedelta(hours=2), now + timedelta(hours=3), proxies, "1")
            assert (waits["outcome"], waits["why"]) == ("waits", f"until {now + timedelta(hours=2):%H:%M}")
            assert states(site) == [KeyState.ACTIVE]

            now = datetime.now().astimezone()
            soon = now + timedelta(minutes=1 if now.second < 15 else 2)
            paused = timer(site, now - timedelta(hours=1), soon, proxies, "0.01")
            assert (paused["outcome"], paused["new_version"]) == ("paused", True)
            assert states(site) == [KeyState.ACTIVE, KeyState.PENDING]

            done = timer(site, now - timedelta(hours=1), now + timedelta(hours=2), proxies, "1")
            assert (done["outcome"], done["job"]["state"]) == ("done", "done")
            assert done["job"]["job"] == paused["job"]["job"]
            time.sleep(2.5)  # both proxies load the keyring in which the new key is active
        assert (application.wrong, application.failed) == ([], [])
        assert application.asked > 20
        patients = one["clinic"]["patients"]
        assert {each[NHS] for each in patients.find({"fixed": True})} == set(map(number_of, range(FIXED)))
    assert states(site) == [KeyState.DECRYPT_ONLY, KeyState.ACTIVE]
    with database.connect() as raw:
        stored = [bytes(each[NHS]) for each in raw["clinic"]["patients"].find()]
        assert {parse_header(each).key_version for each in stored} == {2}
    lines = [json.loads(each) for each in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [each["outcome"] for each in lines if each["event"] == "rotation"] == ["paused", "done"]
