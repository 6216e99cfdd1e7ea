"""Servers are found and followed: who comes has a port, who goes loses it, and nobody else is told of."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import dns.asyncresolver
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import AccessControl, Config, Discovery, Limits, Member, Seeds
from sealwire.proxy.server.discovery import finder as finders
from sealwire.proxy.server.discovery.finder import (
    LookUp,
    MemberFinder,
    SrvAnswer,
    Watch,
    foreign_finding,
    is_inside,
    is_own,
    look_up,
    refused,
    require_one_kind,
    resolve,
)
from sealwire.proxy.server.discovery.monitor import Follow, UpstreamMonitor, find_once
from sealwire.proxy.server.discovery.view import Answer, ClusterKind, ClusterView, PortLayout
from sealwire.proxy.server.errors import FileProblem, StartReason, TopologyProblem, UpstreamUnavailable
from sealwire.proxy.server.probe import Hello
from tests.proxy.server.harness import make_config, soon, until
from tests.support.played_set import PlayedServer, play_mongos, played_set
from tests.support.reasons import raising
from tests.support.rows import rows

SETTINGS = Discovery(Seeds(()), "127.0.0.1", "proxy.test", 100, 105)


def following(*seeds: PlayedServer, set_name: str = "", ports: int = 3, file: Path | None = None) -> Config:
    addresses = tuple(address_of(seed) for seed in seeds)
    found = Discovery(
        Seeds(addresses, set_name=set_name), "127.0.0.1", "proxy.test", 100, 99 + ports, 0.05, file
    )
    limits = Limits(connect_s=2.0)
    config = make_config(1, limits=limits, probe=True)
    return replace(config, discovery=found, members=(), access_control=AccessControl.NONE)


def address_of(server: PlayedServer) -> Address:
    return Address(server.host, server.port)


def finder_of(config: Config) -> tuple[MemberFinder, Watch]:
    assert config.discovery is not None
    watch = Watch(config, None)
    return MemberFinder(config.discovery, watch), watch


@contextmanager
def finding(config: Config) -> Iterator[MemberFinder]:
    finder, watch = finder_of(config)
    yield finder
    watch.close()


def ports_of(layout: PortLayout) -> dict[Address, int]:
    return {member.upstream: member.listen.port for member in layout.members}


async def test_one_seed_leads_to_all_members_and_each_has_a_port() -> None:
    with played_set("", "", "") as played, finding(following(played.members[1])) as finder:
        layout = await soon(finder.first())
        assert list(ports_of(layout).values()) == [100, 101, 102]
        assert set(layout.names) == {member.name for member in played.members}
        assert not await soon(finder.round())


async def test_who_comes_has_a_port_and_who_goes_keeps_it_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    with played_set("", "") as played, finding(following(*played.members, file=file)) as finder:
        before = ports_of(await soon(finder.first()))
        new = played.add(PlayedServer())
        assert await soon(finder.round())
        assert ports_of(finder.layout) == before | {address_of(new): 102}
        played.remove(played.members[0])
        played.elect(new)
        await soon(finder.round())
        await soon(finder.round())
        assert len(finder.layout.members) == 2
        assert len(json.loads(file.read_text())["ports"]) == 3


async def test_who_has_not_answered_is_known_until_he_does() -> None:
    with played_set("", "") as played, finding(following(*played.members)) as finder:
        await soon(finder.first())
        other, seen = played.members[1], [finder.unanswered]
        for change in (other.stop, other.start):
            change()
            await soon(finder.round())
            seen.append(finder.unanswered)
        assert seen == [(), (address_of(other),), ()]


async def test_after_a_restart_each_has_the_port_that_it_had(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    with played_set("", "", "") as played:
        config = following(*played.members, file=file)
        finder, watch = finder_of(config)
        last = played.members[2]
        played.remove(last)
        first = ports_of(await soon(finder.first()))
        played.add(last)
        await soon(finder.round())
        again, other = finder_of(config)
        assert ports_of(await soon(again.first())) == first | {address_of(last): 102}
        watch.close()
        other.close()


async def test_a_port_that_cannot_be_written_down_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    with (
        played_set("") as played,
        finding(following(played.members[0], file=folder / "ports.json")) as finder,
    ):
        await soon(finder.first())
        (folder / "ports.json").unlink()
        folder.rmdir()
        played.add(PlayedServer())
        assert not await soon(finder.round())
        assert len(finder.layout.members) == 1


@pytest.mark.parametrize("named", ["other", "rs0"])
async def test_servers_of_another_kind_or_set_are_no_start(named: str) -> None:
    alone = PlayedServer()
    with played_set("") as played:
        seeds = played.members if named == "other" else [alone]
        finder, watch = finder_of(following(*seeds, set_name=named))
        with raising(TopologyProblem, StartReason.UPSTREAM_OTHER_SET):
            await soon(finder.first())
        watch.close()
    alone.stop()


async def test_nobody_who_answers_is_no_start() -> None:
    alone = PlayedServer()
    alone.stop()
    finder, watch = finder_of(following(alone))
    with pytest.raises(UpstreamUnavailable):
        await soon(finder.first())
    watch.close()


async def test_a_standalone_server_and_mongos_servers_are_taken_as_they_are() -> None:
    for seeds in ([PlayedServer()], [play_mongos(), play_mongos()]):
        finder, watch = finder_of(following(*seeds))
        layout = await soon(finder.first())
        assert {member.upstream for member in layout.members} == {address_of(seed) for seed in seeds}
        assert not await soon(finder.round())
        watch.close()
        for seed in seeds:
            seed.stop()


class PlayedWatch(Watch):
    """Everybody whom it is asked about is a mongos."""

    async def ask(self, servers: Iterable[Address]) -> dict[Address, Answer]:
        return dict.fromkeys(servers, Hello("", (), is_mongos=True))


async def test_mongos_servers_come_and_go_with_dns_and_stay_while_dns_is_silent() -> None:
    now, told = 0.0, ["m1"]

    async def ask_dns(_records: str, name: str) -> SrvAnswer:
        if not told:
            raise UpstreamUnavailable(StartReason.UPSTREAM_UNRESOLVED, name)
        return SrvAnswer(tuple((f"{host}.clinic.test", 27017) for host in told))

    settings = replace(SETTINGS, seeds=Seeds((), "mongo.clinic.test"))
    finder = MemberFinder(settings, PlayedWatch(make_config(1), None), ask_dns, lambda: now)
    assert len((await finder.first()).members) == 1
    told.append("m2")
    assert not await finder.round()
    now += 61
    assert await finder.round()
    assert set(finder.layout.names) == {"m1.clinic.test:27017", "m2.clinic.test:27017"}
    told.clear()
    now += 61
    assert not await finder.round()
    assert len(finder.layout.members) == 2


@asynccontextmanager
async def monitoring(config: Config, changed: Follow) -> AsyncIterator[UpstreamMonitor]:
    woken = asyncio.Event()
    assert config.discovery is not None
    monitor = UpstreamMonitor(config, config.discovery, None, woken)
    await soon(monitor.first())
    task = asyncio.get_running_loop().create_task(monitor.run(changed, lambda _silent: None))
    try:
        yield monitor
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_monitor_tells_of_who_comes_and_of_who_is_back_on_another_day() -> None:
    layouts: list[PortLayout] = []

    def changed(layout: PortLayout) -> bool:
        layouts.append(layout)
        return True

    with played_set("", "") as played:
        async with monitoring(following(played.members[0]), changed):
            played.members[1].stop()
            played.add(PlayedServer())
            await until(lambda: bool(layouts))
            played.members[1].start()
            played.elect(played.members[1])
            played.remove(played.members[0])
            await until(lambda: len(layouts) == 2)
        assert [len(layout.members) for layout in layouts] == [3, 2]


async def test_a_check_finds_the_members_and_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    with played_set("", "") as played:
        found, _ = await soon(find_once(following(played.members[0], file=file), None))
        assert len(found.members) == 2
        assert not file.exists()
        file.write_text("{}")
        file.chmod(0o600)
        with pytest.raises(FileProblem):
            await soon(find_once(following(played.members[0], file=file), None))
    assert await find_once(make_config(1), None) == (make_config(1), ())


async def test_a_layout_is_told_of_again_until_all_of_its_listeners_stand() -> None:
    layouts: list[PortLayout] = []

    def changed(layout: PortLayout) -> bool:
        layouts.append(layout)
        if len(layouts) == 1:
            raise RuntimeError
        return len(layouts) > 2

    with played_set("") as played:
        async with monitoring(following(played.members[0]), changed):
            played.add(PlayedServer())
            await until(lambda: len(layouts) == 3)
            await asyncio.sleep(0.2)
    assert [len(layout.members) for layout in layouts] == [2, 2, 2]


async def test_a_frozen_member_keeps_nobody_from_hearing_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finders, "ANSWER_S", 0.5)
    with played_set("", "") as played, finding(following(*played.members)) as finder:
        await soon(finder.first())
        frozen = threading.Event()
        played.members[1].facts = lambda: {"late": frozen.wait(60)}  # longer than `soon` waits
        played.add(PlayedServer())
        assert await soon(finder.round())
        assert len(finder.layout.members) == 3
        frozen.set()


async def test_a_reload_while_servers_are_asked_ends_nothing() -> None:
    layouts: list[PortLayout] = []
    asked, thawed = threading.Event(), threading.Event()

    def freeze() -> dict[str, bool]:
        asked.set()
        return {"late": thawed.wait(3)}

    def changed(layout: PortLayout) -> bool:
        layouts.append(layout)
        return True

    with played_set("", "") as played:
        config = following(*played.members)
        async with monitoring(config, changed) as monitor:
            facts, played.members[1].facts = played.members[1].facts, freeze
            await until(asked.is_set)
            monitor.use(replace(config), None)
            thawed.set()
            played.members[1].facts = facts
            played.add(PlayedServer())
            await until(lambda: bool(layouts))
    assert len(layouts[0].members) == 3


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
async def test_a_name_that_no_host_can_have_keeps_nobody_from_being_followed(host: str) -> None:
    with played_set("") as played, finding(following(*played.members)) as finder:
        await soon(finder.first())
        stranger = PlayedServer()
        stranger.stop()
        stranger.host = host
        played.add(stranger)
        assert await soon(finder.round())
        assert not await soon(finder.round())
        played.remove(stranger)
        assert await soon(finder.round())
        assert len(finder.layout.members) == 1


A, B = Address("m0", 27017), Address("m1", 27017)
MONGOS = Hello("", (), is_mongos=True)
MEMBER = Hello("rs0", ("m0:27017",))
ALONE = Hello("", (), is_standalone=True)
GHOST = Hello("", ())
SET = ClusterView(ClusterKind.REPLICA_SET, (A,), "rs0")
SHARDED = ClusterView(ClusterKind.SHARDED, (A,))
STANDALONE = ClusterView(ClusterKind.STANDALONE, (A,))


def test_mongos_servers_and_members_of_a_set_are_not_mixed() -> None:
    with raising(TopologyProblem, StartReason.UPSTREAM_MIXED) as caught:
        require_one_kind({A: MEMBER, B: MONGOS})
    assert all(str(server) in str(caught.value) for server in (A, B))
    for hellos in ({A: MEMBER, B: GHOST}, {A: MONGOS, B: ALONE}, {}):
        require_one_kind(hellos)


@rows(
    "hello, view",
    (MEMBER, SHARDED),
    (ALONE, SHARDED),
    (MONGOS, SET),
    (replace(MEMBER, set_name="other"), SET),
    (MEMBER, STANDALONE),
)
def test_a_server_that_does_not_belong_to_the_others_is_named(hello: Hello, view: ClusterView) -> None:
    finding = foreign_finding(B, hello, view)
    assert finding is not None
    assert finding.fields == {"upstream": str(B)}


@rows("hello, view", (MONGOS, SHARDED), (MEMBER, SET), (GHOST, SET), (ALONE, STANDALONE), (GHOST, STANDALONE))
def test_one_that_belongs_to_them_is_not(hello: Hello, view: ClusterView) -> None:
    assert foreign_finding(B, hello, view) is None


SEEDS = Seeds((), "mongo.clinic.example")


def answering(*hosts: tuple[str, int], text: str = "", asked: list[str] | None = None) -> LookUp:
    async def ask(records: str, name: str) -> SrvAnswer:
        if asked is not None:
            asked.extend((records, name))
        return SrvAnswer(hosts, text)

    return ask


async def test_hosts_come_sorted_and_the_name_of_the_set_with_them() -> None:
    asked: list[str] = []
    hosts = ("B.clinic.example", 27018), ("a.clinic.example", 27017)
    found = await resolve(SEEDS, answering(*hosts, text="authSource=x&replicaSet=rs0", asked=asked))
    assert found.addresses == (Address("a.clinic.example", 27017), Address("b.clinic.example", 27018))
    assert (found.set_name, found.srv_name) == ("rs0", SEEDS.srv_name)
    assert asked == ["_mongodb._tcp.mongo.clinic.example", "mongo.clinic.example"]


async def test_a_string_that_lists_hosts_asks_nobody() -> None:
    plain = Seeds((Address("a", 1),))
    asked: list[str] = []
    assert await resolve(plain, answering(asked=asked)) == plain
    assert asked == []


async def test_what_the_string_says_of_the_set_counts_and_of_hosts_the_first() -> None:
    hosts = [(f"m{number}.clinic.example", 1) for number in range(60)]
    said = Seeds((), SEEDS.srv_name, "db", 0, "mine")
    found = await resolve(said, answering(*hosts, text="replicaSet=other"))
    assert (found.set_name, len(found.addresses)) == ("mine", 50)
    two = Seeds((), SEEDS.srv_name, srv_most=2)
    assert len((await resolve(two, answering(*hosts))).addresses) == 2


@pytest.mark.parametrize("text", ["", "replicaSet=", "replicaSet=a b", "xreplicaSet=a", "replicaSet=a\nb"])
async def test_a_text_that_names_no_set_names_none(text: str) -> None:
    assert (await resolve(SEEDS, answering(("a.clinic.example", 1), text=text))).set_name == ""


@rows(
    "host", ("a.clinic.example.org", 1), ("clinic.example", 1), ("a.xclinic.example", 1), ("a b", 1), ("x", 1)
)
async def test_a_host_outside_of_the_domain_is_left_out(host: tuple[str, int]) -> None:
    inside = ("a.clinic.example", 1)
    assert (await resolve(SEEDS, answering(inside, host))).addresses == (Address("a.clinic.example", 1),)
    with raising(UpstreamUnavailable, StartReason.UPSTREAM_UNRESOLVED):
        await resolve(SEEDS, answering(host))


def test_a_name_of_two_labels_has_hosts_below_it() -> None:
    assert is_inside("a.clinic.example", "clinic.example")
    assert is_inside("a.clinic.example.", "Mongo.Clinic.example")
    assert not is_inside("other.example", "clinic.example")
    assert not is_inside("clinic.example", "clinic.example")


SERVICE = "_mongodb._tcp.mongo.clinic.example."
RECORDS = {
    (SERVICE, "SRV"): ["0 0 27017 a.clinic.example.", "0 0 27018 b.clinic.example."],
    ("mongo.clinic.example.", "TXT"): ['"replicaSet=" "rs0"'],
}


@contextmanager
def dns_server(records: Mapping[tuple[str, str], list[str]]) -> Iterator[dns.asyncresolver.Resolver]:
    """A resolver whose server knows these records, and says of everything else that there is no such name."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            data, client = listening.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            (question,) = query.question
            kind = dns.rdatatype.to_text(question.rdtype)
            reply = dns.message.make_response(query)
            found = records.get((question.name.to_text(), kind))
            if found is None:
                reply.set_rcode(dns.rcode.NXDOMAIN)
            else:
                reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
            listening.sendto(reply.to_wire(), client)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = listening.getsockname()[1]
    try:
        yield resolver
    finally:
        listening.sendto(b"", listening.getsockname())
        thread.join(5)
        listening.close()


async def test_a_name_is_looked_up_by_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    with dns_server(RECORDS) as resolver:
        monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
        found = await resolve(SEEDS, look_up)
        assert found.addresses == (Address("a.clinic.example", 27017), Address("b.clinic.example", 27018))
        assert found.set_name == "rs0"
        with raising(UpstreamUnavailable, StartReason.UPSTREAM_UNRESOLVED):
            await resolve(Seeds((), "other.clinic.example"), look_up)


async def test_without_a_text_record_no_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with dns_server({(SERVICE, "SRV"): RECORDS[SERVICE, "SRV"]}) as resolver:
        monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
        assert (await resolve(SEEDS, look_up)).set_name == ""


# ----------------------------------------------------------------------------------------------------
# Which named servers may be members: never this machine by a name of its own, nor the proxy itself.

SEED = Address("db1.example.org", 27017)


def is_refused(host: str, *seeds: Address, domains: tuple[str, ...] = ()) -> bool:
    settings = Discovery(Seeds(seeds), "127.0.0.1", "proxy.test", 100, 105, domains=domains)
    return refused(Address(host, 27017), settings, seeds) is not None


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.9.9.9", "::1", "localhost", "a.localhost", "LOCALHOST"),
        *("169.254.169.254", "fe80::1", "0.0.0.0", "::", "::ffff:127.0.0.1"),  # noqa: S104 - compared with
    ],
)
def test_a_name_that_means_the_readers_own_machine_is_no_member_unless_a_seed_is_one(host: str) -> None:
    assert is_refused(host, SEED)
    assert not is_refused(host, Address("127.0.0.1", 1))


@pytest.mark.parametrize("host", ["db2.example.org", "other.example.net", "10.0.0.7", "fd00::7"])
def test_without_domains_every_other_name_may_be_one(host: str) -> None:
    assert not is_refused(host, SEED)


@rows(
    "host, expected",
    ("db2.example.org", False),
    ("DB2.Example.Org", False),
    ("example.org", False),
    ("badexample.org", True),
    ("db2.example.net", True),
    ("10.0.0.7", False),
    ("10.0.0.8", True),
    ("seed.example.net", False),
)
def test_with_domains_members_that_are_no_seeds_have_to_be_of_one(host: str, *, expected: bool) -> None:
    seed = Address("Seed.example.net", 27017)
    assert is_refused(host, seed, domains=("example.org", "10.0.0.7")) is expected


def admission_following(listen: str) -> Config:
    found = Discovery(Seeds((SEED,)), listen, "proxy.test", 100, 105)
    return replace(make_config(1), members=(), discovery=found, admin=Address("127.0.0.1", 9216))


@rows(
    "listen, peer, expected",
    ("127.0.0.1", Address("127.0.0.1", 105), True),
    ("127.0.0.1", Address("127.0.0.1", 106), False),
    ("127.0.0.1", Address("127.0.0.2", 105), False),
    ("0.0.0.0", Address("127.0.0.2", 100), True),  # noqa: S104 - compared with
    ("0.0.0.0", Address("192.0.2.1", 100), False),  # noqa: S104 - compared with
    ("localhost", Address("127.0.0.1", 100), True),
    ("192.0.2.1", Address("127.0.0.1", 9216), True),
)
def test_where_the_proxy_listens_is_known_by_numeric_address_and_port(
    listen: str, peer: Address, *, expected: bool
) -> None:
    assert is_own(peer, admission_following(listen)) is expected


def test_listed_members_listeners_are_the_proxys_own_too() -> None:
    here = Address("127.0.0.1", 27018)
    config = replace(make_config(1), members=(Member(here, here, SEED),))
    assert is_own(here, config)
    assert not is_own(SEED, config)
