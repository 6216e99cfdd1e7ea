"""`sealwire top` beside a running proxy: for programs, in lines, and on a terminal until somebody types q."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from sealwire.testbed.database import DatabaseProcess
from tests.integration.running_site import client_of, new_site
from tests.proxy.server.site import Running, serving

pytestmark = pytest.mark.integration

NUMBER = "943 476 5919"
NAMESPACE = "clinic.patients"
LONG_S = 60.0


@dataclass
class Watched:
    """A proxy with its client, and what somebody needs to look at it."""

    proxy: Running
    client: Any
    command: list[str]
    environ: dict[str, str]

    def top(self, *options: str, **streams: Any) -> subprocess.Popen[str]:
        return subprocess.Popen([*self.command, *options], env=self.environ, text=True, **streams)

    def work(self) -> None:
        """A command that is sent, one that is refused, and one on another collection."""
        patients = self.client["clinic"]["patients"]
        assert patients.find_one({"nhs_number": NUMBER}) is None
        with pytest.raises(OperationFailure):
            patients.find_one({"nhs_number": {"$gt": NUMBER}})
        assert self.client["stats"]["wards"].find_one({}) is None


@pytest.fixture(scope="module")
def watched(database: DatabaseProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    site = new_site(database, tmp_path_factory.mktemp("top") / "site")
    with serving(site) as proxy, client_of(proxy) as client:
        # each refusal is a line of the log: the pipe must not fill
        Thread(target=deque, args=(proxy.said, 0), daemon=True).start()
        config = str(site.folder / "sealwire.yaml")
        command = [sys.executable, "-m", "sealwire", "top", "--config", config]
        environ = {**site.environ, "SEALWIRE_ADMIN_ADDRESS": proxy.admin, "COLUMNS": "100", "TERM": "xterm"}
        yield Watched(proxy, client, command, environ)


def test_programs_get_one_interval_without_a_value(watched: Watched) -> None:
    with watched.top("--json", "--interval", "3", stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            watched.work()
        said = process.stdout.read() if process.stdout else ""
    assert process.returncode == 0
    seen = json.loads(said)
    rows = {each["collection"]: each for each in seen["collections"]}
    assert rows[NAMESPACE]["sent"] > 0
    assert rows[NAMESPACE]["refused"] > 0
    assert rows["other"]["sent"] > 0
    assert set(rows) == {NAMESPACE, "other"}
    assert seen["refusals"]["range"] == pytest.approx(seen["refused"])
    assert (seen["is_ready"], seen["clients"] > 0) == (True, True)
    assert NUMBER not in said
    assert "wards" not in said


def test_lines_are_printed_where_there_is_no_terminal(watched: Watched) -> None:
    watched.work()
    done = subprocess.run(
        [*watched.command, "--once", "--interval", "0.2"],
        env=watched.environ,
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert NAMESPACE in done.stdout
    assert "\x1b" not in done.stdout


def test_a_view_on_a_terminal_goes_on_until_q(watched: Watched) -> None:
    mine, terminal = pty.openpty()
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    with os.fdopen(mine, "r+b", buffering=0) as keyboard:
        process = watched.top("--interval", "0.2", **streams)
        os.close(terminal)
        shown = drawn_until(keyboard.fileno(), NAMESPACE.encode(), times=2)
        assert shown >= 2
        keyboard.write(b"q")
        assert process.wait(LONG_S) == 0


def drawn_until(number: int, what: bytes, times: int) -> int:
    """How often something was drawn, once it was as often as wanted, or too much time has passed."""
    seen, deadline = b"", time.monotonic() + LONG_S
    while seen.count(what) < times and time.monotonic() < deadline:
        if select.select([number], [], [], 1.0)[0]:
            seen += os.read(number, 65536)
    return seen.count(what)


def test_a_proxy_that_is_not_there_is_an_error(watched: Watched, tmp_path: Path) -> None:
    done = subprocess.run(
        [*watched.command, "--once"],
        env=watched.environ | {"SEALWIRE_ADMIN_ADDRESS": "127.0.0.1:1"},
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 69
