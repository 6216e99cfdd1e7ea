"""What a worker makes of its seat, and of a configuration that was changed since the proxy's start."""

from dataclasses import replace

import pytest

from sealwire.proxy.server.config.settings import Address, Discovery, Limits, Seeds
from sealwire.proxy.server.errors import StartReason, WorkersFailed
from sealwire.proxy.server.workers.start import Probed, probe
from sealwire.proxy.server.workers.worker import expect_members, share_of
from sealwire.proxy.server.workers.worker_channel import Seat
from tests.proxy.server.harness import make_config, with_members

LISTENER = (Address("127.0.0.1", 27018),)


def test_workers_share_the_connections_rounded_up() -> None:
    config = make_config(1, limits=Limits(10))
    assert share_of(config, Seat(1, 3, (LISTENER,))).limits == Limits(4)


def test_members_that_nobody_holds_ports_for_cannot_be_served() -> None:
    seat = Seat(1, 2, (LISTENER, LISTENER))
    expect_members(with_members(make_config(1), ("a", 1), ("b", 2)), seat)
    with pytest.raises(WorkersFailed) as caught:
        expect_members(make_config(1), seat)
    assert caught.value.reason is StartReason.WORKERS_FAILED
    assert caught.value.hint


async def test_a_worker_that_starts_while_no_member_has_a_port_waits_for_one() -> None:
    found = Discovery(Seeds((Address("a", 1),)), "127.0.0.1", "proxy.test", 100, 101)
    assert await probe(replace(make_config(1, probe=True), discovery=found, members=()), []) == Probed(())
