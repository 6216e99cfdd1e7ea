"""Members that may not be used, foreign seeds, ports that cannot be kept: the others are served."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import AccessControl, Config, Discovery, Seeds
from sealwire.proxy.server.discovery import monitor as monitor_module
from sealwire.proxy.server.discovery.finder import RESOLVE_S, MemberFinder, Watch
from sealwire.proxy.server.discovery.monitor import UpstreamMonitor, find_once
from sealwire.proxy.server.discovery.view import Answer, PortLayout, PortMap, read_map, write_map
from sealwire.proxy.server.errors import (
    AccessProblem,
    FileProblem,
    StartReason,
    TopologyProblem,
    UpstreamUnavailable,
)
from sealwire.proxy.server.probe import Hello, itself
from tests.proxy.server.harness import make_config, soon, until
from tests.support.reasons import raising

A, B, C = (Address(f"m{number}", 27017) for number in range(3))
NAMES = tuple(map(str, (A, B, C)))
PRIMARY = Hello("rs0", NAMES, AccessControl.REQUIRED, is_primary=True)
SECONDARY = replace(PRIMARY, is_primary=False)
OPEN = replace(SECONDARY, access=AccessControl.NONE)
MONGOS = Hello("", (), AccessControl.REQUIRED, is_mongos=True)
ALONE = Hello("", (), AccessControl.REQUIRED, is_standalone=True)
IMPOSTOR = UpstreamUnavailable(StartReason.UPSTREAM_TLS_VERIFY, "its certificate is not accepted")
DOWN = UpstreamUnavailable(StartReason.UPSTREAM_REFUSED, "connection refused")


class PlayedAnswers(Watch):
    """Everybody answers what the test says, or is down."""

    def __init__(self, answers: dict[Address, Answer], config: Config | None = None) -> None:
        super().__init__(config or make_config(1), None)
        self.answers = answers
        self.asked: list[tuple[Address, ...]] = []

    async def ask(self, servers: Iterable[Address]) -> dict[Address, Answer]:
        self.asked.append(tuple(servers))
        return {server: self.answers.get(server, DOWN) for server in self.asked[-1]}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def settings_of(*seeds: Address, file: Path | None = None) -> Discovery:
    return Discovery(Seeds(seeds), "127.0.0.1", "proxy.test", 100, 104, 0.05, file)


def finder_of(
    answers: dict[Address, Answer], *seeds: Address, file: Path | None = None
) -> tuple[MemberFinder, PlayedAnswers, Clock]:
    watch, clock = PlayedAnswers(answers), Clock()
    return MemberFinder(settings_of(*seeds, file=file), watch, clock=clock), watch, clock


def events_of(finder: MemberFinder) -> list[str]:
    return [finding.event for finding in finder.findings]


@pytest.mark.parametrize("bad", [IMPOSTOR, OPEN])
async def test_a_member_that_may_not_be_used_is_left_out_until_it_answers_as_it_should(bad: Answer) -> None:
    finder, watch, _ = finder_of({A: PRIMARY, B: bad, C: SECONDARY}, A)
    layout = await finder.first()
    assert set(layout.names) == {str(A), str(C)}
    assert layout.left_out == (B,)
    assert events_of(finder) == ["member is left out"]
    watch.answers[B] = DOWN
    assert not await finder.round()
    watch.answers[B] = SECONDARY
    assert await finder.round()
    assert set(finder.layout.names) == set(NAMES)
    assert [member.listen.port for member in finder.layout.members] == [100, 101, 102]
    assert events_of(finder) == []
    watch.answers[C] = bad
    assert await finder.round()
    assert set(finder.layout.names) == {str(A), str(B)}


async def test_a_member_that_is_just_named_is_asked_before_clients_are_told_of_it() -> None:
    finder, watch, _ = finder_of({A: replace(PRIMARY, members=NAMES[:1])}, A)
    await finder.first()
    watch.answers = {A: PRIMARY, B: OPEN, C: DOWN}
    assert await finder.round()
    assert (set(finder.layout.names), finder.layout.left_out) == ({str(A)}, (B, C))


async def test_a_member_has_no_listener_before_its_first_answer_and_keeps_it_without_another() -> None:
    finder, watch, _ = finder_of({A: PRIMARY, B: DOWN, C: SECONDARY}, A)
    layout = await finder.first()
    assert (set(layout.names), layout.left_out) == ({str(A), str(C)}, (B,))
    assert events_of(finder) == ["member is left out"]
    watch.answers[B] = SECONDARY
    assert await finder.round()
    assert [member.listen.port for member in finder.layout.members] == [100, 101, 102]
    watch.answers[B] = DOWN
    assert not await finder.round()
    assert set(finder.layout.names) == set(NAMES)


async def test_a_member_that_is_the_proxy_itself_is_left_out() -> None:
    finder, watch, _ = finder_of({A: PRIMARY, B: SECONDARY, C: SECONDARY}, A)
    await finder.first()
    watch.answers[B] = itself(B)
    assert await finder.round()
    assert finder.layout.left_out == (B,)
    assert [finding.fields["reason"] for finding in finder.findings] == ["upstream-itself"]
    watch.answers[B] = DOWN
    assert not await finder.round()


async def test_a_name_that_may_be_no_member_is_told_of_and_asked_nothing() -> None:
    here = Address("127.0.0.1", 9216)
    finder, watch, _ = finder_of({A: replace(PRIMARY, members=(*NAMES, str(here))), B: SECONDARY}, A)
    await finder.first()
    assert finder.members == (A, B, C)
    assert events_of(finder) == ["member is left out", "named server is no member"]
    assert finder.is_lacking
    assert not any(here in asked for asked in watch.asked)
    finder, *_ = finder_of({A: replace(PRIMARY, members=(str(here),))}, A)
    with raising(TopologyProblem, StartReason.UPSTREAM_OTHER_SET) as caught:
        await finder.first()
    assert str(here) in str(caught.value)


async def test_without_a_member_that_may_be_used_there_is_no_start() -> None:
    finder, *_ = finder_of({A: replace(OPEN, is_primary=True), B: DOWN, C: IMPOSTOR}, A)
    with raising(AccessProblem, StartReason.ACCESS_CONTROL_MISSING):
        await finder.first()
    finder, *_ = finder_of({A: IMPOSTOR}, A, B)
    with pytest.raises(UpstreamUnavailable):
        await finder.first()


async def test_while_nobody_may_be_used_nobody_is_told_of() -> None:
    finder, watch, _ = finder_of({A: PRIMARY, B: DOWN, C: DOWN}, A)
    await finder.first()
    watch.answers = dict.fromkeys((A, B, C), IMPOSTOR)
    assert await finder.round()
    assert (finder.layout.names, finder.layout.left_out) == ({}, (A, B, C))


@pytest.mark.parametrize("bad", [IMPOSTOR, replace(MONGOS, access=AccessControl.NONE)])
async def test_a_mongos_that_may_not_be_used_is_left_out(bad: Answer) -> None:
    finder, *_ = finder_of({A: MONGOS, B: bad}, A, B)
    layout = await finder.first()
    assert (set(layout.names), layout.left_out) == ({str(A)}, (B,))


async def test_mongos_servers_and_members_are_no_start_and_said_of_those_that_come_later() -> None:
    finder, watch, clock = finder_of({A: PRIMARY, B: SECONDARY, C: MONGOS}, A, C)
    with raising(TopologyProblem, StartReason.UPSTREAM_MIXED):
        await finder.first()
    other = Address("router", 27017)
    for first, later in (({A: PRIMARY, B: SECONDARY, C: SECONDARY}, MONGOS), ({A: MONGOS}, SECONDARY)):
        finder, watch, clock = finder_of(dict(first), A, other)
        await finder.first()
        watch.answers[other] = later
        clock.now += RESOLVE_S
        for _ in range(2):
            await finder.round()
            assert str(other) not in finder.layout.names
            assert events_of(finder) == ["server does not belong to the others"]


async def test_seeds_of_a_set_that_are_silent_are_looked_for_once_a_minute() -> None:
    other = Address("router", 27017)
    finder, watch, clock = finder_of({A: PRIMARY, B: SECONDARY, C: SECONDARY}, A, other)
    await finder.first()
    del watch.asked[:]
    for _ in range(3):
        await finder.round()
    clock.now += RESOLVE_S
    for _ in range(3):
        await finder.round()
    assert [other in asked for asked in watch.asked] == [False, False, False, True, False, False]


async def test_a_standalone_server_that_becomes_a_set_is_followed_or_a_restart_is_asked_for() -> None:
    finder, watch, _ = finder_of({A: ALONE}, A)
    await finder.first()
    watch.answers = {A: PRIMARY, B: SECONDARY, C: OPEN}
    assert await finder.round()
    assert (set(finder.layout.names), finder.layout.left_out) == ({str(A), str(B)}, (C,))
    elsewhere = Address("localhost", 27017)
    finder, watch, _ = finder_of({elsewhere: ALONE}, elsewhere)
    await finder.first()
    watch.answers = {elsewhere: PRIMARY}
    assert not await finder.round()
    assert events_of(finder) == ["server has joined a replica set"]


@pytest.mark.parametrize("keeps_ports", [True, False])
async def test_a_file_of_ports_that_cannot_be_written_is_no_start(tmp_path: Path, keeps_ports: bool) -> None:
    settings = settings_of(A, file=tmp_path / "missing" / "ports.json")
    finder = MemberFinder(settings, PlayedAnswers({A: ALONE}), keeps_ports=keeps_ports)
    with raising(FileProblem, StartReason.FILE_UNWRITABLE):
        await finder.first()


async def test_ports_that_cannot_be_written_later_keep_nothing_else_from_being_done(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    finder, watch, _ = finder_of(
        {A: replace(PRIMARY, members=NAMES[:2]), B: SECONDARY}, A, file=folder / "ports.json"
    )
    await finder.first()
    (folder / "ports.json").unlink()
    folder.rmdir()
    watch.answers = {A: PRIMARY, B: IMPOSTOR, C: SECONDARY}
    assert await finder.round()
    assert (set(finder.layout.names), finder.layout.left_out) == ({str(A)}, (B,))
    assert sorted(events_of(finder)) == ["member is left out", "ports of members cannot be kept"]
    folder.mkdir()
    assert await finder.round()
    assert set(finder.layout.names) == {str(A), str(C)}
    assert read_map(folder / "ports.json").ports == {A: 100, B: 101, C: 102}


async def test_a_check_gives_the_ports_of_the_file_and_leaves_it_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ports.json"
    write_map(file, PortMap({B: 100, Address("gone", 1): 101}))
    before = file.read_bytes()
    answers: dict[Address, Answer] = {A: PRIMARY, B: SECONDARY, C: OPEN}
    monkeypatch.setattr(monitor_module, "Watch", lambda config, _context: PlayedAnswers(answers, config))
    config = replace(make_config(1), discovery=settings_of(A, file=file), members=())
    found, findings = await find_once(config, None)
    assert file.read_bytes() == before
    assert [finding.event for finding in findings] == ["member is left out"]
    finder, *_ = finder_of(answers, A, file=file)
    assert (await finder.first()).members == found.members


async def test_what_is_wrong_is_logged_once_and_servers_are_asked_at_the_usual_pace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = PlayedAnswers({A: PRIMARY, B: IMPOSTOR, C: SECONDARY})
    monkeypatch.setattr(monitor_module, "Watch", lambda _config, _context: watch)
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(delay_s: float) -> None:
        pauses.append(delay_s)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pause)
    layouts: list[PortLayout] = []
    woken = asyncio.Event()
    settings = replace(settings_of(A), heartbeat_s=7.0)
    monitor = UpstreamMonitor(make_config(1), settings, None, woken)
    await soon(monitor.first())

    def changed(layout: PortLayout) -> bool:
        layouts.append(layout)
        return True

    task = asyncio.get_running_loop().create_task(monitor.run(changed, lambda _silent: None))
    asked = len(watch.asked)

    def goes_on() -> bool:
        woken.set()  # as every answer does that names who is left out
        return len(watch.asked) >= asked + 4

    await until(goes_on)
    assert pauses.count(7.0) >= 3
    assert monitor_module.LEAST_PAUSE_S not in pauses
    watch.answers[B] = SECONDARY
    await until(lambda: goes_on() and bool(layouts))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    told = [record for record in caplog.records if record.getMessage() == "member is left out"]
    assert [record.levelno for record in told] == [logging.ERROR]
