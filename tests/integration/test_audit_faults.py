"""What was answered is on record: while the audit writer and the workers are killed under load."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sealwire.audit.files import files_of
from sealwire.audit.line import read_line
from sealwire.audit.verification import LogReport, verify
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.integration.outside.chosen import own_server
from tests.support.secantus import secantus
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, own_server("it kills what it runs")]

POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""
CLIENTS = 3
ROUNDS = 4


class Clients:
    """Threads that insert, each command with a purpose of its own, and remember what was answered."""

    def __init__(self, uri: str) -> None:
        self.answered: list[str] = []
        self._uri = uri
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def until_more(self, count: int) -> None:
        wanted, end_s = len(self.answered) + count, time.monotonic() + 20
        while len(self.answered) < wanted:
            assert time.monotonic() < end_s
            time.sleep(0.005)

    def _run(self, number: int) -> None:
        done = 0
        with MongoClient[Any](self._uri, retryWrites=False, serverSelectionTimeoutMS=10_000) as client:
            patients = client["clinic"]["patients"]
            while not self._ending.is_set():
                done += 1
                purpose = f"{number}-{done}"
                try:
                    patients.insert_one({"nhs_number": purpose}, comment={"sealwire": {"purpose": purpose}})
                except PyMongoError:
                    continue  # its worker was killed
                self.answered.append(purpose)


def children(pid: int) -> tuple[list[int], list[int]]:
    """The audit writer, and the workers."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    programs = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in found}
    writers = [child for child, program in programs.items() if b"audit_writer" in program]
    return writers, [child for child, program in programs.items() if b"--worker" in program]


def test_what_was_answered_is_on_record_whoever_is_killed(tmp_path: Path) -> None:
    policy, log = tmp_path / "policy.yaml", tmp_path / "audit.jsonl"
    policy.write_text(POLICY)
    settings = {"audit": {"path": str(log), "file_bytes": 1 << 16}, "workers": 2}
    with secantus(tmp_path) as database:
        options = ProxyOptions(tmp_path / "proxy", policy, database.address, None, None, False, settings)
        with ProxyProcess(options) as proxy, Clients(proxy.uri()) as clients:
            for turn in range(ROUNDS):
                clients.until_more(50)
                writers, workers = children(proxy.pid)
                for victim in (*writers, *workers[: turn % 2]):
                    os.kill(victim, signal.SIGKILL)
            clients.until_more(50)
            # else its start, on a busy machine, takes the time that the end leaves a writer
            until(lambda: children(proxy.pid)[0] != [])
    recorded = set()
    for file in files_of(log):
        for line in file.read_bytes().splitlines(keepends=True):
            recorded.add(str(read_line(line).fields.get("purpose")))
    assert len(clients.answered) >= 50 * ROUNDS
    assert set(clients.answered) - recorded == set()
    report = LogReport()
    verify(files_of(log), {}, report)
    assert report.is_whole
