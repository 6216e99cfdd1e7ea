"""A pending key is taken back while proxies run that have loaded it: none of them notices more than that."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.turning import rotate
from sealwire.testbed.database import DatabaseProcess
from tests.integration.running_site import NHS, client_of, moving_site, new_site
from tests.proxy.server.site import Running, Site, serving
from tests.support import warm

pytestmark = pytest.mark.integration

TRANSACTIONS_S = 5
"""How long they may last on the server of these tests."""


def wait_for_keyring(proxy: Running) -> list[str]:
    """Until it has loaded a new one; what it logged meanwhile."""
    events: list[str] = []
    for line in proxy.said:
        events.append(line["event"])
        if line["event"] == "new keyring":
            return events
    raise AssertionError("it ended")


def cancel(site: Site) -> None:
    line = [sys.executable, "-m", "sealwire", "keys", "cancel", NHS]
    done = warm.run(
        line, env=site.environ, cwd=site.folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def pend(site: Site) -> None:
    rotate(site.keyring, EnvironmentKek(environ=site.environ), {NHS: True}, datetime.now(UTC))


def fill(client: Any) -> Any:
    client.drop_database("clinic")
    patients = client["clinic"]["patients"]
    patients.create_index(NHS, unique=True)
    patients.insert_many({"_id": each, NHS: str(each)} for each in range(50))
    return patients


def test_cursors_and_answers_go_on_when_a_pending_key_disappears(
    database: DatabaseProcess, tmp_path: Path
) -> None:
    site = moving_site(database, tmp_path)
    with serving(site) as proxy, client_of(proxy) as client:
        patients = fill(client)
        pend(site)
        wait_for_keyring(proxy)
        with patients.find({NHS: {"$ne": "7"}}, batch_size=5).sort("_id") as cursor:
            first = next(cursor)
            cancel(site)
            events = wait_for_keyring(proxy)
            assert [first, *cursor] == [{"_id": each, NHS: str(each)} for each in range(50) if each != 7]
        assert patients.find_one({NHS: "8"}) == {"_id": 8, NHS: "8"}
        patients.insert_one({"_id": 50, NHS: "50"})
        # and another one is made, of the next version
        pend(site)
        events += wait_for_keyring(proxy)
        assert "frontier lease lost" not in events
        assert patients.find_one({NHS: "50"}) == {"_id": 50, NHS: "50"}


def test_a_proxy_that_follows_no_moves_serves_the_class_again(
    database: DatabaseProcess, tmp_path: Path
) -> None:
    site = new_site(database, tmp_path)
    site.environ |= {"SEALWIRE_KEYRING": str(site.keyring), "SEALWIRE_SERVER_URI": database.uri()}
    with serving(site) as proxy, client_of(proxy) as client:
        patients = fill(client)
        pend(site)
        wait_for_keyring(proxy)
        with pytest.raises(Exception, match="Sealwire"):
            patients.find_one({NHS: "8"})
        cancel(site)
        wait_for_keyring(proxy)
        assert patients.find_one({NHS: "8"}) == {"_id": 8, NHS: "8"}
