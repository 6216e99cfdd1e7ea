"""Processes tell each other what they have granted of the limits of roles."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.server.frontiers.store import Granted, StoreProblem
from sealwire.proxy.server.limit_feed import BUCKET_S, LimitFeed
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.replies import TooManyDocuments
from sealwire.proxy.session.shared import SessionSettings, Shared
from tests.proxy.session.world import POLICY_TEXT

LIMITED = POLICY_TEXT + (
    b"roles: {desk: {users: [ann@admin], documents_per_hour: 10, classes: {'*': {read: clear}}}}\n"
)
ANN = "ann@admin"


@dataclass
class Server:
    """The collection of what was granted, in memory, and its clock."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    found: dict[tuple[str, str, int], Granted] = field(default_factory=dict)
    is_down: bool = False
    asked: list[datetime | None] = field(default_factory=list)
    """Since when each question was."""

    async def report(self, grants: Sequence[Granted]) -> None:
        if self.is_down:
            raise StoreProblem("no answer")
        for each in grants:
            self.found[each.process, each.who, each.bucket] = each._replace(changed=self.now)

    async def granted(self, besides: str, since: datetime | None) -> list[Granted]:
        self.asked.append(since)
        if self.is_down:
            raise StoreProblem("no answer")
        return [
            each
            for each in self.found.values()
            if each.process != besides and (since is None or (each.changed or self.now) >= since)
        ]


class Process:
    """One process that shares limits."""

    def __init__(self, server: Server, text: bytes = LIMITED) -> None:
        self.server = server
        self.now_s = 1_000_000.0 - 1_000_000 % BUCKET_S
        self.shared = Shared(SessionSettings(load_policy(text, "policy.yaml")), Keyring([]))
        self.feed = LimitFeed(self.shared, server, Metrics(), lambda: self.now_s)

    async def begin(self) -> "Process":
        await self.feed.__aenter__()
        return self

    async def round(self) -> None:
        await self.feed.round(self.server)

    async def end(self) -> None:
        await self.feed.__aexit__()

    def left(self, client: str = ANN) -> int:
        return self.shared.reads.left(client, 10)

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.server.now += timedelta(seconds=seconds)
        for _ in range(int(seconds)):
            self.shared.reads.next_second()


async def test_what_one_process_granted_counts_for_the_other() -> None:
    server = Server()
    one, other = await Process(server).begin(), await Process(server).begin()
    one.shared.reads.take(ANN, 7, 10)
    assert (one.left(), other.left()) == (3, 10)
    for process in (one, other, one):
        await process.round()
    assert (one.left(), other.left(), other.left("bob@admin")) == (3, 3, 10)
    with pytest.raises(TooManyDocuments):
        other.shared.reads.take(ANN, 4, 10)
    other.shared.reads.take(ANN, 3, 10)
    for process in (other, one):
        await process.round()
        assert process.left() == 0
    await one.end()
    await other.end()


async def test_each_kind_of_limit_and_each_user_counts_apart_and_no_name_is_written() -> None:
    server = Server()
    one, other = await Process(server).begin(), await Process(server).begin()
    one.shared.comparisons.take(ANN, 4, 10)
    one.shared.reads.take("bob@admin", 1, 10)
    await one.round()
    await other.round()
    assert other.left() == 10
    assert other.shared.comparisons.left(ANN, 10) == 6
    assert len(server.found) == 2
    assert "ann" not in str(server.found)
    await one.end()
    await other.end()


async def test_what_was_granted_before_a_restart_counts_afterwards() -> None:
    server = Server()
    before = await Process(server).begin()
    before.shared.reads.take(ANN, 7, 10)
    await before.end()
    after = await Process(server).begin()
    assert after.left() == 3
    await after.end()


async def test_what_others_granted_an_hour_ago_counts_no_more() -> None:
    server = Server()
    one, other = await Process(server).begin(), await Process(server).begin()
    one.shared.reads.take(ANN, 7, 10)
    await one.round()
    other.later(BUCKET_S)
    await other.round()
    server.found.clear()
    other.later(3600 - 1)
    await other.round()
    assert other.left() == 3
    other.later(1)
    await other.round()
    assert other.left() == 10
    await one.end()
    await other.end()


async def test_what_the_store_kept_of_an_earlier_hour_does_not_count() -> None:
    server = Server()
    one, other = await Process(server).begin(), Process(server)
    one.shared.reads.take(ANN, 7, 10)
    await one.round()
    other.later(3600 + BUCKET_S)
    await other.begin()
    assert other.left() == 10
    await one.end()
    await other.end()


async def test_a_round_reads_what_is_new_and_everything_in_each_new_bucket() -> None:
    server = Server()
    one, other = await Process(server).begin(), await Process(server).begin()
    one.shared.reads.take(ANN, 2, 10)
    await one.round()
    server.asked.clear()
    for _ in range(2):
        await other.round()
    other.later(BUCKET_S)
    await other.round()
    assert server.asked == [None, datetime(2025, 12, 31, 23, 59, 55, tzinfo=UTC), None]
    assert other.left() == 8
    await one.end()
    await other.end()


async def test_while_the_store_is_away_each_goes_on_and_reports_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    server = Server()
    one, other = await Process(server).begin(), await Process(server).begin()
    one.shared.reads.take(ANN, 2, 10)
    await one.round()
    await other.round()
    server.is_down = True
    other.shared.reads.take(ANN, 3, 10)
    for _ in range(3):
        await other.round()
    assert other.left() == 5
    server.is_down = False
    other.shared.reads.take(ANN, 1, 10)
    await other.round()
    await one.round()
    assert (one.left(), other.left()) == (4, 4)
    events = [record.message for record in caplog.records if "shared" in record.message]
    assert events == ["limits of roles are not shared", "limits of roles are shared again"]
    await one.end()
    await other.end()


async def test_nothing_is_asked_if_no_role_has_a_limit() -> None:
    server = Server()
    process = await Process(server, POLICY_TEXT).begin()
    await process.round()
    assert server.asked == []
    policy = load_policy(LIMITED, "policy.yaml")
    process.shared.use_settings(replace(process.shared.settings, policy=policy))
    await process.round()
    assert server.asked == [None]
    await process.end()


async def test_without_a_store_a_process_counts_alone() -> None:
    shared = Shared(SessionSettings(load_policy(LIMITED, "policy.yaml")), Keyring([]))
    async with LimitFeed(shared, None, Metrics()):
        shared.reads.take(ANN, 2, 10)
    assert shared.reads.unreported is None
