"""Thousands of clients at once: those that behave are served, and memory and files come back."""

import asyncio
import os
import resource
import ssl
import struct
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import bson
import pytest

from sealwire.proxy.server.workers.memory import TRIM_INTERVAL_S
from sealwire.proxy.session.choices import ScramHash
from sealwire.proxy.session.login.identities import NONCE_BYTES, ScramExchange, ScramSecret
from sealwire.testbed.certificates import Authority, create_authority
from sealwire.testbed.child import LOOPBACK
from sealwire.testbed.proxy_process import ProxyProcess
from sealwire.wire.op_msg import build_op_msg
from tests.faults.scene import POLICY_TEXT, faulty, figure, open_files, resident_bytes
from tests.integration.conftest import Record
from tests.proxy.server.harness import UNAUTHORIZED
from tests.proxy.session.world import body_of, reply
from tests.support.proxied import options_of, proxied
from tests.support.secantus import CLINIC, USERS, secantus
from tests.support.waiting import until

# Thousands of clients at once, in one event loop, and a server that answers all of them.


HELLO = {"isWritablePrimary": True, "helloOk": True, "maxWireVersion": 21, "minWireVersion": 0, "ok": 1.0}
AT_ONCE = 250
"""So many clients are connecting at any time: a listener's queue has an end."""
WITHIN_S = 300.0
AUTHENTICATION_FAILED = 18


def require_files(count: int) -> None:
    """See to it that this process may open so many files. Skips where the system does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"a flood takes {count} open files, and {hard} are allowed")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@asynccontextmanager
async def answering_server() -> AsyncIterator[str]:
    """`host:port` of a server that wants a login, and lets nobody in."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(16)
                size, number = struct.unpack_from("<ii", head)
                name = (await reader.readexactly(size - 16))[10:19].partition(b"\0")[0].lower()
                writer.write(reply(HELLO if name in (b"hello", b"ismaster") else UNAUTHORIZED, number))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(talk, LOOPBACK, 0, backlog=4096)
    try:
        yield f"{LOOPBACK}:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


@dataclass(frozen=True, slots=True)
class Visitor:
    """One connection of the flood."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def asks(self, body: dict[str, Any], nth: int) -> dict[str, Any]:
        """The answer, which must be to this question and to no other client's.

        Raises:  asyncio.IncompleteReadError or OSError where the proxy closes the connection
        """
        question = self.number * 100 + nth
        self.writer.write(build_op_msg(question, 0, bson.encode(body)))
        head = await self.reader.readexactly(16)
        size, _, answered = struct.unpack_from("<iii", head)
        message = head + await self.reader.readexactly(size - 16)
        assert answered == question
        return body_of(message)

    async def greets(self) -> None:
        assert (await self.asks({"hello": 1, "$db": "admin"}, 0))["ok"] == 1.0

    async def logs_in(self, user: str, secret: ScramSecret) -> bool:
        """Whether the server lets this client in by SCRAM, and proves that it knows the password too."""
        exchange = ScramExchange(user, secret, os.urandom(NONCE_BYTES))
        start = {
            "saslStart": 1,
            "mechanism": secret.mechanism.value,
            "payload": exchange.first(),
            "options": {"skipEmptyExchange": True},
            "$db": "admin",
        }
        first = await self.asks(start, 1)
        assert first["ok"] == 1.0
        ending = {"saslContinue": 1, "conversationId": first["conversationId"], "$db": "admin"}
        last = await self.asks({**ending, "payload": exchange.proof(first["payload"])}, 2)
        if last["ok"] != 1.0:
            assert last["code"] == AUTHENTICATION_FAILED
            return False
        exchange.verify(last["payload"])
        assert last["done"]
        return True

    async def keeps_its_own(self) -> None:
        """Stores a document with a covered value, and finds that one by it."""
        clinic = {"$db": "clinic"}
        document = {"_id": self.number, "nhs_number": f"token-{self.number}"}
        stored = await self.asks({"insert": "patients", "documents": [document], **clinic}, 3)
        assert (stored["ok"], stored["n"]) == (1.0, 1)
        by_value = {"nhs_number": document["nhs_number"]}
        found = await self.asks({"find": "patients", "filter": by_value, **clinic}, 4)
        assert found["cursor"]["firstBatch"] == [document]

    def leaves(self) -> None:
        self.writer.transport.abort()


async def arrive(address: str, number: int, context: ssl.SSLContext | None = None) -> Visitor:
    """One client. Raises:  OSError where it is not let in"""
    host, _, port = address.rpartition(":")
    name = None if context is None else "localhost"
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    return Visitor(number, reader, writer)


async def all_of(numbers: Iterator[int] | range, one: Any, at_once: int = AT_ONCE) -> list[Any]:
    """`one(number)` for each, so many at a time; what is raised stands in the place of a result."""
    gate = asyncio.Semaphore(at_once)

    async def guarded(number: int) -> Any:
        async with gate:
            return await one(number)

    async with asyncio.timeout(WITHIN_S):
        return await asyncio.gather(*map(guarded, numbers), return_exceptions=True)


pytestmark = [*faulty, pytest.mark.slow]

FLOOD = int(os.environ.get("SEALWIRE_FLOOD", "5000"))
FLOODS = 2
"""One after the other. The first fills what is kept for good; what the second one takes has to come back."""
HANDSHAKE_S = 10 + FLOOD / 1000
LOGINS_AT_ONCE = 64
"""The test server's own TLS handshakes are made one after the other, and few wait for theirs."""
MIB = 1 << 20
GROWTH = 16 * MIB
FIND = {"find": "patients", "filter": {"nhs_number": "marker"}, "$db": "clinic"}


@asynccontextmanager
async def serving(
    folder: Path, *, authority: Authority | None = None, **limits: float
) -> AsyncIterator[ProxyProcess]:
    """A proxy before a server that lets nobody in; with an authority, its clients speak TLS."""
    async with answering_server() as upstream:
        server = {"address": upstream, "tls": {"mode": "plaintext"}}
        more = {"access_control": True, "settings": {"limits": limits, "upstream": server}}
        proxy = ProxyProcess(options_of(folder, POLICY_TEXT, upstream, authority, **more))
        await asyncio.to_thread(proxy.start)
        try:
            await stands(proxy, 0)
            yield proxy
            assert await shown(proxy, "sealwire_bugs_total") == 0
        finally:
            await asyncio.to_thread(proxy.stop)


async def shown(proxy: ProxyProcess, name: str, **labels: str) -> float:
    return await asyncio.to_thread(partial(figure, proxy, name, **labels))


async def stands(proxy: ProxyProcess, count: int) -> None:
    """Wait until so many clients are connected."""
    await asyncio.to_thread(until, lambda: figure(proxy, "sealwire_client_connections") == count, WITHIN_S)


async def rests(proxy: ProxyProcess, levels: list[int]) -> None:
    """Wait until nobody is connected and memory is back: at the first level, where there is one. In bytes."""
    await stands(proxy, 0)
    if not levels:
        await asyncio.sleep(TRIM_INTERVAL_S + 2)
    deadline_s = time.monotonic() + 6 * TRIM_INTERVAL_S
    while levels and resident_bytes(proxy.pid) > levels[0] + GROWTH and time.monotonic() < deadline_s:
        await asyncio.sleep(0.2)
    levels.append(resident_bytes(proxy.pid))


def assert_level(levels: Sequence[int], what: str, record_property: Record) -> None:
    """The second flood has left no more behind than the one before it."""
    text = " and ".join(f"{level / MIB:.0f}" for level in levels)
    record_property("summary", f"memory after {what}, and after as many more: {text} MiB")
    assert levels[-1] <= levels[0] + GROWTH


async def test_a_flood_without_login_is_answered_and_leaves_nothing_behind(
    tmp_path: Path, record_property: Record
) -> None:
    require_files(2 * FLOOD + 500)
    async with serving(tmp_path, connections=FLOOD + 50) as proxy:
        levels, files = list[int](), open_files(proxy.pid)

        async def visit(number: int) -> Visitor:
            visitor = await arrive(proxy.address, number)
            await visitor.greets()
            assert (await visitor.asks(FIND, 1))["ok"] == 0.0
            return visitor

        for _ in range(FLOODS):
            visitors = await all_of(range(1, FLOOD + 1), visit)
            assert [each for each in visitors if not isinstance(each, Visitor)] == []
            await stands(proxy, FLOOD)
            regular = await visit(9 * FLOOD)
            for each in [*visitors, regular]:
                each.leaves()
            await rests(proxy, levels)
        await asyncio.to_thread(until, lambda: open_files(proxy.pid) <= files)
        assert_level(levels, f"{FLOOD} connections at once", record_property)


async def test_who_is_above_the_limit_is_turned_away_and_the_others_are_served(tmp_path: Path) -> None:
    limit = FLOOD // 10
    require_files(2 * FLOOD + 500)
    async with serving(tmp_path, connections=limit) as proxy:
        inside = [await arrive(proxy.address, number) for number in range(limit)]
        for each in inside:
            await each.greets()

        async def visit(number: int) -> None:
            visitor = await arrive(proxy.address, number)
            try:
                await visitor.greets()
            finally:
                visitor.leaves()

        outside = await all_of(range(limit, FLOOD), visit)
        assert {type(each) for each in outside} <= {asyncio.IncompleteReadError, ConnectionResetError}
        rejected = await shown(proxy, "sealwire_connections_rejected_total", reason="limit")
        assert rejected == FLOOD - limit
        for each in inside:
            await each.greets()
            each.leaves()
        await stands(proxy, 0)
        await visit(1)


async def test_handshakes_by_the_thousand_and_such_as_never_end_keep_nobody_out(
    tmp_path: Path, record_property: Record
) -> None:
    require_files(2 * FLOOD + 500)
    authority = create_authority(tmp_path / "authority")
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    async with serving(
        tmp_path, authority=authority, connections=2 * FLOOD, handshake_s=HANDSHAKE_S
    ) as proxy:
        levels, files = list[int](), open_files(proxy.pid)

        async def visit(number: int) -> None:
            visitor = await arrive(proxy.address, number, context)
            await visitor.greets()
            visitor.leaves()

        for _ in range(FLOODS):
            # half a greeting of TLS, and then silence
            silent = await all_of(range(FLOOD), partial(arrive, proxy.address))
            for each in silent:
                each.writer.write(bytes.fromhex("16030100c8010000c40303"))
            assert set(await all_of(range(FLOOD // FLOODS), visit)) == {None}
            for each in silent:
                await asyncio.wait_for(each.reader.read(), WITHIN_S)  # Sealwire closes it
                each.leaves()
            await rests(proxy, levels)
        rejected = await shown(proxy, "sealwire_connections_rejected_total", reason="handshake")
        assert rejected >= FLOODS * FLOOD
        await asyncio.to_thread(until, lambda: open_files(proxy.pid) <= files)
        await visit(1)
        assert_level(levels, f"{FLOOD // FLOODS} handshakes beside {FLOOD} without end", record_property)


@contextmanager
def logins_to(folder: Path) -> Iterator[tuple[ProxyProcess, ssl.SSLContext]]:
    """A proxy before a real server, with TLS on both sides and logins."""
    authority = create_authority(folder / "authority")
    with (
        secantus(folder, users=USERS, authority=authority) as database,
        proxied(folder, POLICY_TEXT, database.address, authority) as proxy,
    ):
        yield proxy, ssl.create_default_context(cafile=str(authority.certificate_file))


async def test_a_flood_of_logins_lets_in_whom_it_should(tmp_path: Path, record_property: Record) -> None:
    known, wrong = (
        ScramSecret(ScramHash.SHA_256, password.encode()) for password in (CLINIC.password, "another")
    )
    with logins_to(tmp_path) as (proxy, context):
        levels = list[int]()

        async def log_in(number: int) -> bool:
            visitor = await arrive(proxy.address, number, context)
            await visitor.greets()
            is_in = await visitor.logs_in(CLINIC.name, known if number % 2 else wrong)
            if is_in:
                await visitor.keeps_its_own()
            visitor.leaves()
            return is_in

        for begin in range(0, FLOOD, FLOOD // FLOODS):
            numbers = range(begin, begin + FLOOD // FLOODS)
            assert await all_of(numbers, log_in, LOGINS_AT_ONCE) == [bool(number % 2) for number in numbers]
            await rests(proxy, levels)
        with proxy.connect(CLINIC) as client:
            assert client["clinic"].patients.count_documents({}) == FLOOD // 2
        assert_level(levels, f"{FLOOD // FLOODS} logins", record_property)
