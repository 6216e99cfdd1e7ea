"""The lines of a running proxy are cut at bytes of a conversation: what was acknowledged is there, once."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.faults.scene import WITHIN_S, Scene, faulty, scene
from tests.proxy.session.world import command, legacy_query
from tests.support.relay import Relay
from tests.support.waiting import until

pytestmark = faulty

EVERY = [17, pytest.param(2, marks=pytest.mark.slow)]
"""Every so many bytes a cut; test_every_cut.py cuts the session itself at each."""
RESET = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
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


def assert_served(address: str, token: str) -> None:
    answers, rest = talk(address, asked(token))
    assert (len(answers), rest) == (3, b"")


def applied(running: Scene, token: str) -> int:
    """How often the write of a token was."""
    found = running.direct["clinic"].patients.find_one({"_id": token})
    return 0 if found is None else found["times"]


def assert_right(running: Scene, token: str, answers: list[bytes]) -> None:
    """Nothing that was answered is missing, and every answer is this client's."""
    if len(answers) > 1:
        assert applied(running, token) == 1
    if len(answers) > 2:
        assert covered(token).encode() in answers[2]
    assert covered(token).encode() not in running.line.to_server


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("is_reset", [False, True])
def test_a_client_that_is_cut_leaves_whole_messages_only(running: Scene, is_reset: bool, every: int) -> None:
    length = sum(map(len, asked("client-00-00-0000")))
    for place in range(int(is_reset) + 1, length, every):
        token = f"client-{is_reset:02}-{every:02}-{place:04}"
        host, _, port = running.proxy.address.rpartition(":")
        stream = b"".join(asked(token))
        with socket.create_connection((host, int(port)), WITHIN_S) as line:
            line.sendall(stream[:place])
            if is_reset:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if place < len(b"".join(asked(token)[:2])):
            assert applied(running, token) == 0
    assert_served(running.proxy.address, f"afterwards-client-{every}-{is_reset}")


def length_of(running: Scene, counted: bytearray, prefix: str) -> int:
    """The bytes of a conversation that is not cut: the least of several, as Sealwire's own look adds some."""
    lengths = []
    for number in range(9995, 10000):
        before = len(counted)
        assert_served(running.front.address, f"{prefix}{number}")
        lengths.append(len(counted) - before)
    return min(lengths)


def line_of(running: Scene, which: str) -> Relay:
    return running.front if which == "front" else running.line


def assert_cut_at(running: Scene, which: str, direction: str, place: int, token: str) -> None:
    """A cut at a byte loses nothing. Now and then it meets Sealwire's own look: tried again."""
    running.line.to_server.clear()
    for _ in range(5):
        setattr(line_of(running, which), direction, place)
        answers, rest = talk(running.front.address, asked(token))
        if len(answers) < 3:
            break
        running.direct["clinic"].patients.delete_one({"_id": token})
    assert len(answers) < 3
    # Sealwire passes on whole answers; what the front line does to them is another matter
    assert rest == b"" or (which, direction) == ("front", "cut_replies_after_bytes")
    assert_right(running, token, answers)
    assert applied(running, token) <= 1


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("which", ["front", "line"])
@pytest.mark.parametrize("direction", ["cut_after_bytes", "cut_replies_after_bytes"])
def test_a_line_that_is_cut_loses_nothing_that_was_answered(
    running: Scene, which: str, direction: str, every: int
) -> None:
    cut_line = line_of(running, which)
    prefix = f"{which}-{direction:.9}-{every:02}-"
    length = length_of(
        running, cut_line.to_server if direction == "cut_after_bytes" else cut_line.to_client, prefix
    )
    assert 200 < length < 9995
    try:
        for place in range(1, length, every):
            assert_cut_at(running, which, direction, place, f"{prefix}{place:04}")
        assert getattr(cut_line, direction) is None
    finally:
        setattr(cut_line, direction, None)
    assert_served(running.front.address, f"afterwards-{prefix}")
