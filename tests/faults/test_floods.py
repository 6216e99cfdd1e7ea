"""Thousands of clients at once: those that behave are served, and memory and files come back."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.proxy.server.workers.memory import TRIM_INTERVAL_S
from sealwire.testbed.certificates import Authority, create_authority
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.faults.flood import WITHIN_S, Visitor, all_of, answering_server, arrive, require_files
from tests.faults.scene import POLICY_TEXT, Document, faulty, figure, open_files, resident_bytes, until
from tests.support.secantus import CLINIC, USERS, secantus

pytestmark = [*faulty, pytest.mark.slow]

FLOOD = int(os.environ.get("SEALWIRE_FLOOD", "5000"))
LOGINS = FLOOD // 25
FLOODS = 2
HANDSHAKE_S = 10
MIB = 1 << 20
AUTHENTICATION_FAILED = 18
FIND = {"find": "patients", "filter": {"nhs_number": "marker"}, "$db": "clinic"}


@asynccontextmanager
async def serving(
    folder: Path, *, authority: Authority | None = None, **limits: float
) -> AsyncIterator[ProxyProcess]:
    """A proxy before a server that lets nobody in; with an authority, its clients speak TLS."""
    policy = folder / "policy.yaml"
    policy.write_text(POLICY_TEXT)
    async with answering_server() as upstream:
        options = ProxyOptions(
            folder / "sealwire",
            policy,
            upstream,
            None if authority is None else authority.issue("sealwire"),
            None if authority is None else authority.certificate_file,
            settings={"limits": limits, "upstream": {"address": upstream, "tls": {"mode": "plaintext"}}},
        )
        proxy = ProxyProcess(options)
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


async def test_a_flood_without_login_is_answered_and_leaves_nothing_behind(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    require_files(2 * FLOOD + 500)
    async with serving(tmp_path, connections=FLOOD + 50) as proxy:
        levels, files = [], open_files(proxy.pid)

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
            await stands(proxy, 0)
            await asyncio.sleep(TRIM_INTERVAL_S + 2)
            levels.append(resident_bytes(proxy.pid))
        await asyncio.to_thread(until, lambda: open_files(proxy.pid) <= files)
        text = ", ".join(f"{level / MIB:.0f}" for level in levels)
        record_property("summary", f"memory after each flood of {FLOOD}: {text} MiB")
        assert levels[-1] - levels[0] < 16 * MIB


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


async def test_handshakes_by_the_thousand_and_such_as_never_end_keep_nobody_out(tmp_path: Path) -> None:
    require_files(2 * FLOOD + 500)
    authority = create_authority(tmp_path / "authority")
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    async with serving(
        tmp_path, authority=authority, connections=2 * FLOOD, handshake_s=HANDSHAKE_S
    ) as proxy:
        files = open_files(proxy.pid)
        # half a greeting of TLS, and then silence
        silent = await all_of(range(FLOOD), partial(arrive, proxy.address))
        for each in silent:
            each.writer.write(bytes.fromhex("16030100c8010000c40303"))

        async def visit(number: int) -> None:
            visitor = await arrive(proxy.address, number, context)
            await visitor.greets()
            visitor.leaves()

        assert set(await all_of(range(FLOOD // 5), visit)) == {None}
        for each in silent:
            await asyncio.wait_for(each.reader.read(), WITHIN_S)  # Sealwire closes it
            each.leaves()
        rejected = await shown(proxy, "sealwire_connections_rejected_total", reason="handshake")
        assert rejected >= FLOOD
        await stands(proxy, 0)
        await asyncio.to_thread(until, lambda: open_files(proxy.pid) <= files)
        await visit(1)


def test_a_flood_of_logins_lets_in_whom_it_should(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "authority")
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY_TEXT)
    with secantus(tmp_path, users=USERS, authority=authority) as database:
        options = ProxyOptions(
            tmp_path / "sealwire",
            policy,
            database.address,
            authority.issue("sealwire"),
            authority.certificate_file,
        )
        with ProxyProcess(options) as proxy:

            def log_in(number: int) -> bool:
                user = CLINIC if number % 2 else replace(CLINIC, password="not the password")
                token = f"token-{number}"
                with MongoClient[Document](proxy.uri(user, "clinic"), directConnection=True) as client:
                    patients = client["clinic"].patients
                    try:
                        patients.insert_one({"_id": number, "nhs_number": token})
                    except OperationFailure as error:
                        assert error.code == AUTHENTICATION_FAILED  # noqa: PT017 - the others get in
                        return False
                    assert patients.find_one({"nhs_number": token}) == {"_id": number, "nhs_number": token}
                    return True

            with ThreadPoolExecutor(32) as pool:
                let_in = list(pool.map(log_in, range(LOGINS)))
            assert let_in == [bool(number % 2) for number in range(LOGINS)]
            until(lambda: figure(proxy, "sealwire_client_connections") == 0)
