"""Versions and suites are found one by one, with few connections, and never from a server that is silent."""

import math
import ssl
from pathlib import Path

import pytest

from sealwire.sidecars.tls_check.connection.client_hello import ProtocolVersion
from sealwire.sidecars.tls_check.connection.offers import Support, VersionSupport, accepted_versions
from sealwire.sidecars.tls_check.connection.stream import Dial, Stream, StreamFailed, Trouble
from tests.sidecars.tls_check.certificates import Odd, make
from tests.sidecars.tls_check.memory_server import MemoryServer, server_context


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return make(Odd()).write(tmp_path, "server")


class Counting:
    """Dials a fresh in-memory server each time."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.servers: list[MemoryServer] = []

    def __call__(self) -> Stream:
        self.servers.append(MemoryServer(self._context))
        return self.servers[-1]


class Scripted:
    """A stream whose server says `answer`, or fails with `trouble` when it is asked."""

    def __init__(self, answer: bytes = b"", trouble: Trouble | None = None) -> None:
        self._answer, self._trouble = answer, trouble

    def send(self, content: bytes) -> None:
        pass

    def receive(self, max_bytes: int) -> bytes:
        if self._trouble is not None:
            raise StreamFailed(self._trouble)
        answer, self._answer = self._answer[:max_bytes], self._answer[max_bytes:]
        return answer

    def close(self) -> None:
        pass


def survey(dial: Dial, until: float = math.inf) -> dict[ProtocolVersion, VersionSupport]:
    return {found.version: found for found in accepted_versions(dial, "localhost", until)}


def test_all_suites_of_a_server_are_found_and_nothing_else(pem: Path) -> None:
    dial = Counting(server_context(pem, suites="ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-SHA"))
    found = survey(dial)
    names = {suite.name for suite in found[ProtocolVersion.TLS12].suites}
    assert names == {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"}
    assert len(found[ProtocolVersion.TLS13].suites) == 3
    assert found[ProtocolVersion.TLS10].support is Support.REFUSED
    assert found[ProtocolVersion.TLS11].support is Support.REFUSED


def test_each_suite_version_and_question_for_groups_costs_one_connection_which_is_closed(pem: Path) -> None:
    dial = Counting(server_context(pem))
    accepted = sum(len(version.suites) for version in survey(dial).values())
    assert len(dial.servers) == accepted + len(ProtocolVersion) + 1  # curves of TLS 1.2
    assert all(server.closed for server in dial.servers)


def test_a_server_that_begins_to_hang_up_is_not_taken_for_one_that_has_no_more_suites(pem: Path) -> None:
    dial = Counting(server_context(pem))

    def limited() -> Stream:
        return dial() if len(dial.servers) < 4 else Scripted()

    found = survey(limited)
    assert len(found[ProtocolVersion.TLS13].suites) == 3
    assert found[ProtocolVersion.TLS12].suites == ()
    assert {version.trouble for version in found.values()} == {Trouble.CLOSED}


def test_a_server_that_refuses_by_hanging_up_is_asked_once_more_and_believed(pem: Path) -> None:
    class HangsUp(MemoryServer):
        def receive(self, max_bytes: int) -> bytes:
            answer = super().receive(max_bytes)
            return b"" if answer[:1] == b"\x15" else answer

    context = server_context(pem)
    found = survey(lambda: HangsUp(context))
    assert found[ProtocolVersion.TLS10] == VersionSupport(ProtocolVersion.TLS10, Support.REFUSED)
    assert found[ProtocolVersion.TLS12].trouble is None


def test_a_server_that_falls_silent_at_old_versions_is_still_read(pem: Path) -> None:
    context = server_context(pem)

    class Silent(MemoryServer):
        def receive(self, max_bytes: int) -> bytes:
            answer = super().receive(max_bytes)
            if answer[5:7] == b"\x02\x46":  # protocol_version
                raise StreamFailed(Trouble.TIMEOUT)
            return answer

    found = survey(lambda: Silent(context))
    assert found[ProtocolVersion.TLS12].support is Support.ACCEPTED
    assert found[ProtocolVersion.TLS10].support is Support.UNKNOWN


def test_a_silent_server_is_asked_twice() -> None:
    asked = []

    def dial() -> Stream:
        asked.append(1)
        return Scripted(trouble=Trouble.TIMEOUT)

    found = survey(dial)
    assert len(asked) == 2
    assert {version.support for version in found.values()} == {Support.UNKNOWN}
    assert {version.trouble for version in found.values()} == {Trouble.TIMEOUT}


@pytest.mark.parametrize("answer", [b"", b"+OK ready\r\n", b"\x16\x03\x03\x00\x04\x02\x00\x00\x00"])
def test_what_does_not_speak_tls_refuses_every_version(answer: bytes) -> None:
    found = survey(lambda: Scripted(answer))
    assert {version.support for version in found.values()} == {Support.REFUSED}


@pytest.mark.parametrize("trouble", [Trouble.REFUSED, Trouble.UNRESOLVED, Trouble.UNREACHABLE])
def test_a_server_that_is_not_there_is_an_error(trouble: Trouble) -> None:
    def dial() -> Stream:
        raise StreamFailed(trouble)

    with pytest.raises(StreamFailed) as raised:
        survey(dial)
    assert raised.value.trouble is trouble


def test_a_server_that_takes_a_suite_which_was_not_offered_is_not_followed() -> None:
    hello = b"\x03\x03" + bytes(32) + b"\0" + b"\x56\x00" + b"\0"  # TLS_FALLBACK_SCSV, never offered
    message = b"\x02" + len(hello).to_bytes(3, "big") + hello
    record = b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message
    assert {version.support for version in survey(lambda: Scripted(record)).values()} == {Support.REFUSED}


def test_no_connection_is_opened_after_the_budget(pem: Path) -> None:
    dial = Counting(server_context(pem))
    found = survey(dial, until=-math.inf)
    assert dial.servers == []
    assert {version.support for version in found.values()} == {Support.UNKNOWN}
