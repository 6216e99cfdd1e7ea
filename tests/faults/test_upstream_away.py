"""The server is frozen, restarted or replaced, or its line dead or slow: Sealwire needs no restart."""

import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, NetworkTimeout

from sealwire.testbed.child import LOOPBACK
from tests.faults.scene import WITHIN_S, Document, Scene, answers, faulty, freeze, scene
from tests.proxy.session.world import command, legacy_query
from tests.support.relay import Relay, clear_sky, drizzle, relay
from tests.support.secantus import secantus
from tests.support.waiting import until

pytestmark = faulty

CONNECT_S = 1.0
TIMES = {"socketTimeoutMS": 500, "connectTimeoutMS": 500, "serverSelectionTimeoutMS": 500}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("away"), {"limits": {"connect_s": CONNECT_S}}) as found:
        yield found
        until(lambda: found.figure("sealwire_client_connections") == 0)
        assert found.figure("sealwire_bugs_total") == 0


@contextmanager
def impatient(running: Scene, entry: Relay | None = None, **options: bool) -> Iterator[MongoClient[Document]]:
    """A client that gives up soon, and has its connection: on a busy machine to get one may take longer."""
    with running.client_at(entry or running.front, **TIMES, **options) as client:
        until(lambda: answers(client))
        yield client


def document(token: str) -> Document:
    return {"_id": token, "nhs_number": token, "notes": token}


def assert_served(running: Scene, token: str) -> None:
    """A write and a read of what the policy covers, by a client of its own."""
    with running.client() as client:
        patients = client["clinic"].patients
        patients.insert_one(document(token))
        assert patients.find_one({"nhs_number": token}) == document(token)
    assert running.direct["clinic"].patients.count_documents({"_id": token}) == 1


def store(running: Scene, token: str) -> None:
    with running.client() as client:
        client["clinic"].patients.insert_one(document(token))


def write(client: MongoClient[Document], token: str) -> None:
    """Applied twice, it would count twice."""
    change = {"$inc": {"times": 1}, "$set": {"notes": token}}
    client["clinic"].patients.update_one({"nhs_number": token}, change)


def applied(running: Scene, token: str) -> int:
    """How often the writes of a token were."""
    found = running.direct["clinic"].patients.find_one({"_id": token})
    return 0 if found is None else found.get("times", 0)


@pytest.mark.parametrize("retries", [False, True])
def test_a_frozen_server_costs_clients_their_time_only(running: Scene, retries: bool) -> None:
    """The write was under way: the server applies it when it goes on, as often as without a proxy."""
    token = f"frozen-{retries}"
    store(running, token)
    running.direct["clinic"].patients.insert_one({"_id": "direct-" + token, "nhs_number": "direct-" + token})
    with (
        relay(running.database.address) as beside,
        impatient(running, retryWrites=retries) as client,
        impatient(running, beside, retryWrites=retries) as direct,
    ):
        freeze(running.database.pid)
        try:
            for each, its in ((client, token), (direct, "direct-" + token)):
                with pytest.raises(NetworkTimeout):
                    write(each, its)
            # the administrator's side of the proxy still answers
            assert running.figure("sealwire_bugs_total") == 0
        finally:
            os.kill(running.database.pid, signal.SIGCONT)
        until(lambda: applied(running, "direct-" + token) == 1)
        until(lambda: applied(running, token) == 1)
        assert_served(running, f"after-{token}")
    until(lambda: running.figure("sealwire_client_connections") == 0)
    assert applied(running, token) == applied(running, "direct-" + token) == 1


@pytest.mark.slow
def test_a_frozen_server_is_shown_as_down_until_it_goes_on(running: Scene) -> None:
    """On a line where all connections are accepted, by clients that give up before the proxy would."""
    until(lambda: readiness(running) == (200, "up"))
    begun = running.proxy.log.stat().st_size
    returned = running.figure("sealwire_upstream_reconnects_total")
    with impatient(running) as client:
        freeze(running.database.pid)
        try:
            with pytest.raises(NetworkTimeout):
                client["clinic"].patients.find_one()
            until(lambda: readiness(running) == (503, "down"))
            opened = running.figure("sealwire_upstream_connections_total")
            with pytest.raises(AutoReconnect), running.client(**TIMES) as another:
                another["clinic"].patients.find_one()
            until(lambda: running.figure("sealwire_upstream_connections_total") > opened)
            assert readiness(running) == (503, "down")
            assert running.figure("sealwire_upstream_reconnects_total") == returned
        finally:
            os.kill(running.database.pid, signal.SIGCONT)
        until(lambda: readiness(running) == (200, "up"))
        returned = running.figure("sealwire_upstream_reconnects_total") - returned
    said = running.proxy.log.read_bytes()[begun:]
    # on a busy machine one that goes on may be late once more
    assert said.count(b"server is down") == said.count(b"server is back") == returned > 0
    assert_served(running, "after-shown-frozen")


def readiness(running: Scene) -> tuple[int, str]:
    """The status of /readyz, and what it says of the server."""
    try:
        with urlopen(f"http://{LOOPBACK}:{running.proxy.admin_port}/readyz", timeout=5) as answer:
            return answer.status, json.load(answer).get("upstream", "up")
    except HTTPError as error:
        return error.code, json.load(error).get("upstream", "up")


@pytest.mark.parametrize("which", ["line", "front"])
def test_half_open_peers_are_given_up_and_their_connections_closed(running: Scene, which: str) -> None:
    line = running.line if which == "line" else running.front
    store(running, f"half-open-{which}")
    with impatient(running) as client:
        line.freeze()
        try:
            with pytest.raises(NetworkTimeout):
                write(client, f"half-open-{which}")
        finally:
            line.thaw()
    # what was on its way when the client gave up may still arrive, once
    assert_served(running, f"after-half-open-{which}")
    until(lambda: running.figure("sealwire_client_connections") == 0)
    assert applied(running, f"half-open-{which}") <= 1


def test_a_restarted_server_is_found_again(running: Scene) -> None:
    with running.client(retryWrites=True, retryReads=True) as client:
        client["clinic"].patients.insert_one(document("before-restart"))
        running.database.stop()
        with running.client(**TIMES) as hasty, pytest.raises(AutoReconnect):
            hasty["clinic"].patients.insert_one(document("while-away"))
        running.database.start()
        until(lambda: answers(running.direct))
        assert client["clinic"].patients.find_one({"nhs_number": "before-restart"}) == document(
            "before-restart"
        )
    assert running.direct["clinic"].patients.count_documents({"_id": "while-away"}) == 0
    assert_served(running, "after-restart")


def test_another_server_takes_over(running: Scene, tmp_path: Path) -> None:
    """As when an address moves to the machine that has taken over: clients see what that one holds."""
    with secantus(tmp_path) as other, other.connect() as there, running.client(retryWrites=True) as client:
        patients = client["clinic"].patients
        patients.insert_one(document("before-take-over"))
        there["clinic"].patients.insert_many(running.direct["clinic"].patients.find())
        host, port = other.address.rsplit(":", 1)
        before, running.line.upstream = running.line.upstream, (host, int(port))
        try:
            running.line.cut()
            write(client, "before-take-over")
            patients.insert_one(document("after-take-over"))
            assert patients.find_one({"nhs_number": "before-take-over"}) == {
                **document("before-take-over"),
                "times": 1,
            }
            assert there["clinic"].patients.count_documents({"_id": "after-take-over"}) == 1
            assert running.direct["clinic"].patients.count_documents({"_id": "after-take-over"}) == 0
            assert applied(running, "before-take-over") == 0
        finally:
            running.line.upstream = before
            running.line.cut()
    assert_served(running, "after-all-take-overs")


@pytest.mark.parametrize("which", ["line", "front"])
def test_slow_lines_deliver_all_in_small_pieces(running: Scene, which: str) -> None:
    line = running.line if which == "line" else running.front
    line.weather = drizzle(7, 0.002, 40)
    try:
        with running.client() as client:
            patients = client["clinic"].patients
            names = [f"drizzle-{which}-{number}" for number in range(12)]
            patients.insert_many([document(name) for name in names])
            found = list(patients.find({"nhs_number": {"$in": names}}, batch_size=5).sort("_id"))
            assert found == [document(name) for name in sorted(names)]
    finally:
        line.weather = clear_sky


def test_a_retried_write_is_applied_once_as_without_the_proxy(running: Scene) -> None:
    with relay(running.database.address) as beside:
        ways = {"proxy": (running.front, running.line), "direct": (beside, beside)}
        for way, (entry, cut_line) in ways.items():
            with running.client_at(entry, retryWrites=True) as client:
                counters = client["clinic"].counters
                for place in range(0, 60, 5):
                    counters.insert_one({"_id": f"{way}-{place}", "n": 0})
                    cut_line.cut_replies_after_bytes = place
                    counters.update_one({"_id": f"{way}-{place}"}, {"$inc": {"n": 1}})
            cut_line.cut_replies_after_bytes = None
    found = {str(each["_id"]): each["n"] for each in running.direct["clinic"].counters.find()}
    assert set(found.values()) == {1}
    assert len(found) == 24


def test_time_spent_waiting_is_not_spent_working(running: Scene) -> None:
    """While the server is frozen and clients wait, the proxy sleeps."""
    with impatient(running) as client:
        freeze(running.database.pid)
        try:
            before_s, began_s = cpu_s(running.proxy.pid), time.monotonic()
            with pytest.raises(NetworkTimeout):
                client["clinic"].patients.find_one()
            spent = (cpu_s(running.proxy.pid) - before_s) / (time.monotonic() - began_s)
        finally:
            os.kill(running.database.pid, signal.SIGCONT)
    assert spent < 0.5


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# The lines of a running proxy are cut at bytes of a conversation: what was acknowledged is there, once.


EVERY = [17, pytest.param(2, marks=pytest.mark.slow)]
"""Every so many bytes a cut; test_every_cut.py cuts the session itself at each."""
RESET = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("cuts")) as found:
        yield found
        until(lambda: found.figure("sealwire_client_connections") == 0)
        assert found.figure("sealwire_bugs_total") == 0


def covered(token: str) -> str:
    """What belongs to a token, and must not be on the line."""
    return token[::-1]


def asked(token: str) -> list[bytes]:
    """A greeting, a write that shows how often it was applied, and a search for what it has stored."""
    clinic = {"$db": "clinic"}
    change = {"$inc": {"times": 1}, "$set": {"nhs_number": covered(token), "notes": covered(token)}}
    statement = {"q": {"_id": token}, "u": change, "upsert": True}
    return [
        legacy_query({"isMaster": 1}, 1),
        command({"update": "patients", **clinic}, 2, after={"updates": [statement]}),
        command({"find": "patients", "filter": {"nhs_number": covered(token)}, **clinic}, 3),
    ]


def talk(address: str, messages: list[bytes]) -> tuple[list[bytes], bytes]:
    """The answers, and what there was of one more: fewer than were asked for where the line was cut."""
    host, _, port = address.rpartition(":")
    data, answers = b"", list[bytes]()
    with socket.create_connection((host, int(port)), WITHIN_S) as line, suppress(OSError):
        for message in messages:
            line.sendall(message)
            while len(data) < 16 or len(data) < struct.unpack_from("<i", data)[0]:
                more = line.recv(65536)
                if not more:
                    return answers, data
                data += more
            answers.append(data)
            data = b""
    return answers, data


def assert_answers(address: str, token: str) -> None:
    answers, rest = talk(address, asked(token))
    assert (len(answers), rest) == (3, b"")


def applied_at_once(cut: Scene, token: str) -> int:
    """How often the write of a token was."""
    found = cut.direct["clinic"].patients.find_one({"_id": token})
    return 0 if found is None else found["times"]


def assert_right(cut: Scene, token: str, answers: list[bytes]) -> None:
    """Nothing that was answered is missing, and every answer is this client's."""
    if len(answers) > 1:
        assert applied_at_once(cut, token) == 1
    if len(answers) > 2:
        assert covered(token).encode() in answers[2]
    assert covered(token).encode() not in cut.line.to_server


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("is_reset", [False, True])
def test_a_client_that_is_cut_leaves_whole_messages_only(cut: Scene, is_reset: bool, every: int) -> None:
    length = sum(map(len, asked("client-00-00-0000")))
    for place in range(int(is_reset) + 1, length, every):
        token = f"client-{is_reset:02}-{every:02}-{place:04}"
        host, _, port = cut.proxy.address.rpartition(":")
        stream = b"".join(asked(token))
        with socket.create_connection((host, int(port)), WITHIN_S) as line:
            line.sendall(stream[:place])
            if is_reset:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if place < len(b"".join(asked(token)[:2])):
            assert applied_at_once(cut, token) == 0
    assert_answers(cut.proxy.address, f"afterwards-client-{every}-{is_reset}")


def length_of(cut: Scene, counted: bytearray, prefix: str) -> int:
    """The bytes of a conversation that is not cut: the least of several, as Sealwire's own look adds some."""
    lengths = []
    for number in range(9995, 10000):
        before = len(counted)
        assert_answers(cut.front.address, f"{prefix}{number}")
        lengths.append(len(counted) - before)
    return min(lengths)


def line_of(cut: Scene, which: str) -> Relay:
    return cut.front if which == "front" else cut.line


def assert_cut_at(cut: Scene, which: str, direction: str, place: int, token: str) -> None:
    """A cut at a byte loses nothing. Now and then it meets Sealwire's own look: tried again."""
    cut.line.to_server.clear()
    for _ in range(5):
        setattr(line_of(cut, which), direction, place)
        answers, rest = talk(cut.front.address, asked(token))
        if len(answers) < 3:
            break
        cut.direct["clinic"].patients.delete_one({"_id": token})
    assert len(answers) < 3
    # Sealwire passes on whole answers; what the front line does to them is another matter
    assert rest == b"" or (which, direction) == ("front", "cut_replies_after_bytes")
    assert_right(cut, token, answers)
    assert applied_at_once(cut, token) <= 1


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("which", ["front", "line"])
@pytest.mark.parametrize("direction", ["cut_after_bytes", "cut_replies_after_bytes"])
def test_a_line_that_is_cut_loses_nothing_that_was_answered(
    cut: Scene, which: str, direction: str, every: int
) -> None:
    cut_line = line_of(cut, which)
    prefix = f"{which}-{direction:.9}-{every:02}-"
    length = length_of(
        cut, cut_line.to_server if direction == "cut_after_bytes" else cut_line.to_client, prefix
    )
    assert 200 < length < 9995
    try:
        for place in range(1, length, every):
            assert_cut_at(cut, which, direction, place, f"{prefix}{place:04}")
        assert getattr(cut_line, direction) is None
    finally:
        setattr(cut_line, direction, None)
    assert_answers(cut.front.address, f"afterwards-{prefix}")
