"""Thousands of clients at once, in one event loop, and a server that answers all of them."""

import asyncio
import os
import resource
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import bson
import pytest

from sealwire.proxy.session.login.identities import NONCE_BYTES, ScramExchange, ScramSecret
from sealwire.testbed.child import LOOPBACK
from sealwire.wire.op_msg import build_op_msg
from tests.proxy.server.harness import UNAUTHORIZED
from tests.proxy.session.world import body_of, reply

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
