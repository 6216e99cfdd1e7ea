"""Listeners that come and go with the members of a set, in one process."""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import (
    AccessControl,
    Config,
    Discovery,
    Limits,
    Member,
    Seeds,
    TlsMode,
    UpstreamTls,
)
from sealwire.proxy.server.connections import entrances
from sealwire.proxy.server.connections.entrances import Listener
from sealwire.proxy.server.connections.services import Route, Services
from sealwire.proxy.server.discovery.view import PortLayout
from sealwire.proxy.server.errors import ListenProblem
from sealwire.proxy.server.health import Reachable
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.reach import ServerReach
from sealwire.proxy.server.upstream import Upstream, UpstreamWay, UpstreamWays
from sealwire.proxy.server.workers import pulse
from sealwire.proxy.server.workers.app import Proxy
from sealwire.proxy.server.workers.worker_channel import Members, Seat
from sealwire.proxy.session.session import Session
from sealwire.testbed.certificates import create_authority
from tests.proxy.server.connections.hand_moved import Keys, Scripted, make_services, turns
from tests.proxy.server.harness import (
    DEADLINE_S,
    LOOPBACK,
    UNAUTHORIZED,
    Place,
    hang_up,
    make_config,
    make_loaded,
    policy_file,
    reloaded,
    running,
    soon,
    until,
)
from tests.proxy.server.tls_contexts import server_context
from tests.proxy.session.world import command, decoded, sections
from tests.support.played_set import PlayedServer, PlayedSet, played_set
from tests.support.skips import free_ports


def body_of(message: bytes) -> dict[str, Any]:
    return decoded(sections(message)[0][1][0])


def following(played: PlayedSet, ports: range, heartbeat_s: float = 60.0) -> Config:
    seeds = Seeds(tuple(Address(each.host, each.port) for each in played.members))
    found = Discovery(seeds, LOOPBACK, LOOPBACK, ports.start, ports.stop - 1, heartbeat_s)
    config = make_config(1, probe=True)
    limits = replace(config.limits, drain_s=0.3)
    return replace(config, members=(), discovery=found, limits=limits)


@asynccontextmanager
async def proxy_before(played: PlayedSet, ports: range) -> AsyncIterator[Proxy]:
    config = following(played, ports)
    async with running(
        make_loaded(replace(config, access_control=config.access_control.NONE)), Session
    ) as proxy:
        yield proxy


class Client:
    """Asks one listener for hello, again and again on one connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "Client":
        self.reader, self.writer = await soon(asyncio.open_connection(LOOPBACK, self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        await hang_up(self.writer)

    async def hello(self) -> dict[str, Any]:
        self.writer.write(command({"hello": 1, "$db": "admin"}, 1))
        head = await soon(self.reader.readexactly(4))
        message = head + await soon(self.reader.readexactly(int.from_bytes(head, "little") - 4))
        return body_of(message)


def addresses(ports: range, count: int) -> list[str]:
    return [f"{LOOPBACK}:{port}" for port in ports[:count]]


async def test_every_member_has_a_listener_and_clients_are_told_of_no_other_address() -> None:
    ports = free_ports(4)
    with played_set("", "", "") as played:
        async with proxy_before(played, ports) as proxy:
            assert [str(address) for address in proxy.addresses] == addresses(ports, 3)
            async with Client(ports[1]) as client:
                told = await client.hello()
                assert sorted(told["hosts"]) == addresses(ports, 3)
                by_port = sorted(played.members, key=lambda member: member.name)
                assert told["me"] == f"{LOOPBACK}:{ports[1]}"
                assert played.primary is not None
                assert told["primary"] == f"{LOOPBACK}:{ports[by_port.index(played.primary)]}"


async def test_a_member_that_joins_is_told_of_once_it_has_a_listener() -> None:
    ports = free_ports(3)
    with played_set("", "") as played:
        async with proxy_before(played, ports) as proxy, Client(ports[0]) as client:
            await client.hello()
            played.add(PlayedServer())
            # the heart beats once a minute: what the answer names is what makes it look
            assert len((await client.hello())["hosts"]) in {2, 3}
            await until(lambda: len(proxy.addresses) == 3)
            assert sorted((await client.hello())["hosts"]) == addresses(ports, 3)
            async with Client(ports[2]) as other:
                assert (await other.hello())["me"] == f"{LOOPBACK}:{ports[2]}"


async def test_a_member_that_leaves_loses_its_listener_and_its_clients_after_a_drain() -> None:
    ports = free_ports(3)
    with played_set("", "") as played:
        first, last = sorted(played.members, key=lambda member: member.name)
        async with (
            proxy_before(played, ports) as proxy,
            Client(ports[0]) as client,
            Client(ports[1]) as leaving,
        ):
            await leaving.hello()
            played.remove(last)
            played.elect(first)
            proxy.stranger_met.set()
            await until(lambda: len(proxy.addresses) == 1)
            assert (await client.hello())["hosts"] == addresses(ports, 1)
            assert await soon(leaving.reader.read()) == b""
            with pytest.raises(ConnectionError):
                await soon(asyncio.open_connection(LOOPBACK, ports[1]))
        last.stop()


async def test_a_member_whose_listener_cannot_be_bound_is_told_of_to_nobody() -> None:
    ports = free_ports(3)
    with played_set("") as played:
        async with proxy_before(played, ports) as proxy, Client(ports[0]) as client:
            entrances = proxy._entrances
            assert entrances is not None
            known = proxy.config.members[0]
            stranger = Member(Address(LOOPBACK, ports[1]), Address(LOOPBACK, ports[1]), Address("m", 1))

            def taken(_member: Member) -> Any:
                raise ListenProblem("port-in-use", "taken")  # type: ignore[arg-type]

            assert entrances.lay_out(PortLayout((known, stranger)), taken) == []
            assert (await client.hello())["hosts"] == addresses(ports, 1)


async def test_a_followed_member_that_does_not_answer_is_down_before_a_client_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulse, "LOOK_S", 0.0)
    monkeypatch.setattr(pulse, "TICK_S", 0.01)
    ports = free_ports(3)
    with played_set("", "") as played:
        first, last = sorted(played.members, key=lambda member: member.name)
        played.elect(first)
        async with proxy_before(played, ports) as proxy:
            assert proxy.metrics.reach.down == ()
            last.stop()
            proxy.stranger_met.set()
            await until(lambda: proxy.metrics.reach.down == (last.name,))
            last.start()
            await until(lambda: proxy.metrics.reach.down == ())


async def test_a_port_of_the_range_that_somebody_has_is_no_start() -> None:
    ports = free_ports(2)
    other = await asyncio.start_server(lambda _reader, writer: writer.close(), LOOPBACK, ports[1])
    async with other:
        with played_set("") as played, pytest.raises(ListenProblem):
            async with proxy_before(played, ports):
                pass


async def test_a_member_that_takes_the_place_of_another_gets_its_port_when_that_is_free() -> None:
    ports = free_ports(2)
    with played_set("", "") as played:
        first, last = sorted(played.members, key=lambda member: member.name)
        played.elect(first)
        async with proxy_before(played, ports) as proxy, Client(ports[0]) as client:
            played.remove(last)
            new = played.add(PlayedServer())
            proxy.stranger_met.set()
            # by the next round at the latest, which a client's hello brings about
            async with asyncio.timeout(DEADLINE_S):
                while new.name not in [str(member.upstream) for member in proxy.config.members]:
                    await asyncio.sleep(0.05)
                while len((await client.hello())["hosts"]) < 2:
                    await asyncio.sleep(0.1)
            async with Client(ports[1]) as other:
                assert (await other.hello())["me"] == f"{LOOPBACK}:{ports[1]}"
        last.stop()


async def test_a_worker_tries_again_for_a_listener_that_it_could_not_have() -> None:
    ports = free_ports(2)
    with played_set("", "") as played:
        names = sorted(Address(each.host, each.port) for each in played.members)
        here = [Address(LOOPBACK, port) for port in ports[:2]]
        members = tuple(Member(at, at, name) for at, name in zip(here, names, strict=True))
        config = following(played, ports)
        assert config.discovery is not None
        found = replace(config.discovery, heartbeat_s=0.05)
        config = replace(config, discovery=found, access_control=config.access_control.NONE)
        seat = Seat(1, 1, ((here[0],),), members=members[:1])
        async with running(make_loaded(config), Session, seat) as proxy, Client(ports[0]) as client:
            other = await asyncio.start_server(lambda _reader, writer: writer.close(), *here[1])
            async with other:
                assert not proxy.members.follow(Members(members, tuple((at,) for at in here)))
                assert (await client.hello())["hosts"] == addresses(ports, 1)
            await until(lambda: len(proxy.addresses) == 2)
            assert sorted((await client.hello())["hosts"]) == addresses(ports, 2)


def reject(name: str, _command: dict[str, Any]) -> dict[str, Any] | None:
    """As a server with access control does before a login."""
    return dict(UNAUTHORIZED) if name == "listDatabases" else None


async def test_a_member_that_asks_for_no_login_is_shown_as_down_until_it_does() -> None:
    ports = free_ports(3)
    with played_set("", "", "") as played:
        good, other, bad = sorted(played.members, key=lambda member: member.name)
        good.play = other.play = reject
        played.elect(good)
        loaded = make_loaded(following(played, ports, 0.1))
        async with running(loaded, Session) as proxy, Client(ports[0]) as client:
            assert sorted((await client.hello())["hosts"]) == addresses(ports, 2)
            assert proxy.metrics.reach.down == (bad.name,)
            with pytest.raises(ConnectionError):
                await soon(asyncio.open_connection(LOOPBACK, ports[2]))
            bad.play = reject
            bad.cut()
            await until(lambda: len(proxy.addresses) == 3)
            assert sorted((await client.hello())["hosts"]) == addresses(ports, 3)
            await until(lambda: not proxy.metrics.reach.down)


async def test_a_member_with_a_bad_certificate_keeps_no_other_from_being_served(tmp_path: Path) -> None:
    ports = free_ports(2)
    authority = create_authority(tmp_path / "authority")
    stranger = create_authority(tmp_path / "stranger", "another authority")
    with played_set("", "") as played:
        good, bad = sorted(played.members, key=lambda member: member.name)
        good.tls = server_context(authority.issue("good"))
        bad.tls = impostor = server_context(stranger.issue("bad"))
        played.elect(good)
        tls = UpstreamTls(TlsMode.TLS, authority.certificate_file)
        config = replace(following(played, ports, 0.1), upstream_tls=tls, access_control=AccessControl.NONE)
        async with running(make_loaded(config), Session) as proxy, Client(ports[0]) as client:
            assert (await client.hello())["hosts"] == addresses(ports, 1)
            assert proxy.metrics.reach.down == (bad.name,)
            bad.tls = good.tls
            await until(lambda: len(proxy.addresses) == 2)
            assert sorted((await client.hello())["hosts"]) == addresses(ports, 2)
            bad.tls = impostor
            bad.cut()
            await until(lambda: len(proxy.addresses) == 1)
            assert (await client.hello())["hosts"] == addresses(ports, 1)


async def test_a_worker_starts_beside_a_member_that_may_not_be_used() -> None:
    ports = free_ports(3)
    with played_set("", "", "") as played:
        good, bad, late = sorted(played.members, key=lambda member: member.name)
        good.play = reject
        here = [Address(LOOPBACK, port) for port in ports[:2]]
        # of the last one the supervisor does not know yet
        members = tuple(
            Member(at, at, Address(each.host, each.port)) for at, each in zip(here, (good, late), strict=True)
        )
        left_out = (Address(bad.host, bad.port),)
        seat = Seat(1, 1, tuple((at,) for at in here), members=members, left_out=left_out)
        async with running(make_loaded(following(played, ports)), Session, seat) as proxy:
            assert bad.name in proxy.metrics.reach.down
            proxy.members.follow(Members(members[:1], ((here[0],),), (*left_out, members[1].upstream)))
            assert proxy.metrics.reach.down == (bad.name, late.name)
            assert len(proxy.addresses) == 1


async def test_a_worker_starts_while_no_member_may_be_used_and_has_them_once_they_may() -> None:
    ports = free_ports(2)
    with played_set("") as played:
        (member,) = played.members
        member.play = reject
        upstream, here = Address(member.host, member.port), Address(LOOPBACK, ports[0])
        seat = Seat(1, 1, (), left_out=(upstream,))
        async with running(make_loaded(following(played, ports)), Session, seat) as proxy:
            assert (proxy.addresses, proxy.metrics.reach.reach) == ([], Reachable.DOWN)
            assert proxy.metrics.reach.down == (member.name,)
            assert proxy.members.follow(Members((Member(here, here, upstream),), ((here,),)))
            await until(lambda: proxy.metrics.reach.reach is Reachable.UP)
            async with Client(ports[0]) as client:
                assert (await client.hello())["hosts"] == addresses(ports, 1)


async def test_a_reload_with_which_no_member_may_be_used_changes_nothing(tmp_path: Path) -> None:
    ports = free_ports(2)
    authority = create_authority(tmp_path / "authority")
    stranger = create_authority(tmp_path / "stranger", "another authority")
    with played_set("") as played:
        (member,) = played.members
        member.tls = server_context(authority.issue("member"))
        place = Place(replace(following(played, ports, 0.1), policy=policy_file(tmp_path)))
        place.change(
            upstream_tls=UpstreamTls(TlsMode.TLS, authority.certificate_file),
            access_control=AccessControl.NONE,
        )
        loaded = make_loaded(place.config, place.load_keyring, place.reread)
        async with running(loaded, Session) as proxy, Client(ports[0]) as client:
            place.change(upstream_tls=UpstreamTls(TlsMode.TLS, stranger.certificate_file))
            await reloaded(proxy, result="failed")
            assert (await client.hello())["hosts"] == addresses(ports, 1)
            # nobody answers who could speak against it: certificates may be renewed while servers are down
            member.stop()
            await reloaded(proxy)
            assert len(proxy.addresses) == 1


pytestmark = pytest.mark.integration


@asynccontextmanager
async def listener_of(listening: socket.socket) -> AsyncIterator[tuple[Listener, Services]]:
    """A listener that accepts until the end; then nobody may be left whom it let in."""
    services = make_services(Keys(), Metrics())
    with listening, socket.create_server((LOOPBACK, 0)) as server:
        listening.setblocking(False)
        member = Member(*(Address(*each.getsockname()) for each in (listening, listening, server)))
        upstream = Upstream(member.upstream, UpstreamWays(Limits(), UpstreamWay(None)))
        route = Route(upstream, Scripted, ServerReach(str(member.upstream)))
        listener = Listener(services, member, route, [listening], None)
        listener.start()
        yield listener, services
        await listener.close()
        for connection in tuple(services.live):
            connection.abort()
        await until(lambda: not services.live)


async def test_a_client_that_arrives_while_its_listener_closes_is_not_kept() -> None:
    """In whichever turn of the loop that is."""
    made = set[int]()
    for count in range(12):
        listening = socket.create_server((LOOPBACK, 0))
        async with listener_of(listening) as (listener, services):
            with socket.create_connection(listening.getsockname()):
                await turns(count)
                await listener.close()
                made.add(services.numbered)
    assert made == {0, 1}, "closed before a client was let in, and after"


class Exhausted(socket.socket):
    """Has no descriptor left for the first client."""

    failures = 0

    def accept(self) -> tuple[socket.socket, object]:
        if not self.failures:
            self.failures += 1
            raise OSError(errno.EMFILE, "")
        return super().accept()


@pytest.mark.parametrize(("pause_s", "let_in"), [(0.01, 1), (3600.0, 0)])
async def test_a_listener_without_a_descriptor_left_waits_before_it_tries_again(
    pause_s: float, let_in: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrances, "ACCEPT_PAUSE_S", pause_s)
    listening = Exhausted(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind((LOOPBACK, 0))
    listening.listen()
    with caplog.at_level(logging.ERROR, "sealwire.server"):
        async with listener_of(listening) as (_, services):
            with socket.create_connection(listening.getsockname()):
                await until(lambda: (listening.failures, services.numbered) == (1, let_in))
                await turns()
                assert services.numbered == let_in
    assert [record.message for record in caplog.records] == ["cannot accept"]
