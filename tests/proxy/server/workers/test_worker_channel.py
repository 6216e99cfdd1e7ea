"""The messages between supervisor and workers: what is sent arrives, what is no message is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Discovery, Limits, Member, Seeds
from sealwire.proxy.server.errors import StartReason, WorkersFailed
from sealwire.proxy.server.health import Beat, Following, Freshness, Keeping, ProxyPhase, StoreReach
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.page.facts import PageFacts
from sealwire.proxy.server.workers.joint_metrics import families_of
from sealwire.proxy.server.workers.start import Probed, probe
from sealwire.proxy.server.workers.worker_channel import (
    LENGTH,
    MAX_PAYLOAD_BYTES,
    Ask,
    ChannelError,
    Family,
    Figures,
    Members,
    Message,
    Sample,
    Seat,
    Silent,
    bounded,
    decode,
    encode,
    expect_members,
    share_of,
)
from tests.proxy.server.harness import make_config, with_members
from tests.proxy.server.page.pages import some_facts
from tests.support.reasons import raising
from tests.support.rows import rows

addresses = st.builds(Address, st.text(), st.integers(0, 65535))
samples = st.builds(Sample, st.text(), st.dictionaries(st.text(), st.text()), st.floats(allow_nan=False))
families = st.builds(
    Family, st.text(), st.text(), st.sampled_from(("counter", "gauge")), st.lists(samples).map(tuple)
)
messages = st.one_of(
    st.builds(
        Seat,
        st.integers(),
        st.integers(),
        st.lists(st.lists(addresses).map(tuple)).map(tuple),
        left_out=st.lists(addresses).map(tuple),
        is_successor=st.booleans(),
    ),
    st.builds(
        Members,
        st.lists(st.builds(Member, addresses, addresses, addresses)).map(tuple),
        st.lists(st.lists(addresses).map(tuple)).map(tuple),
        st.lists(addresses).map(tuple),
    ),
    st.builds(Silent, st.lists(addresses).map(tuple)),
    st.builds(Ask, st.integers()),
    st.builds(
        Beat,
        st.sampled_from(ProxyPhase),
        st.sampled_from(Freshness),
        st.lists(st.text()).map(tuple),
        st.sampled_from(Following),
        st.lists(st.tuples(st.text(), st.text())).map(tuple),
        st.lists(st.text()).map(tuple),
        st.sampled_from(Keeping),
        st.sampled_from(StoreReach),
    ),
    st.builds(
        Figures,
        st.integers(),
        st.lists(families).map(tuple),
        st.sampled_from((None, PageFacts(), some_facts())),
    ),
)


@given(messages)
def test_what_is_sent_arrives(message: Message) -> None:
    data = encode(message)
    (length,) = LENGTH.unpack(data[: LENGTH.size])
    assert len(data) == LENGTH.size + length
    assert decode(data[LENGTH.size :]) == message


@given(st.binary())
def test_bytes_that_are_no_message_are_refused(payload: bytes) -> None:
    with pytest.raises(ChannelError):
        decode(payload)


@rows(
    "said",
    [],
    ["Ask"],
    ["Ask", []],
    ["Ask", [{}]],
    ["Beat", ["ready", "fresh as a daisy", ""]],
    ["Beat", ["ready", "ok"]],
    ["Beat", ["ready", "ok", "new"]],
    ["Figures", [1, [], [[], [["a", "1", "active", "m", "", False, False]], [], 0]]],
    ["Figures", [1, [], [[["a"]], [], [], 0]]],
    ["Figures", [1, [["name", "text", "counter", [["name", [], 1]]]]]],
    ["Seat", [1, 2, [["127.0.0.1:5"]]]],
    ["Shutdown", []],
    {"Ask": [1]},
    1,
)
def test_json_of_another_shape_is_refused_without_quoting_it(said: object) -> None:
    with pytest.raises(ChannelError) as caught:
        decode(json.dumps(said).encode())
    assert "daisy" not in str(caught.value)


def test_json_without_end_is_refused() -> None:
    with pytest.raises(ChannelError):
        decode(b"[" * 100_000)


def test_lengths_are_bounded_before_anything_is_read() -> None:
    assert bounded(MAX_PAYLOAD_BYTES) == MAX_PAYLOAD_BYTES
    with pytest.raises(ChannelError):
        bounded(MAX_PAYLOAD_BYTES + 1)
    with pytest.raises(ChannelError):
        encode(Figures(1, (Family("x" * MAX_PAYLOAD_BYTES, "", "counter", ()),)))


def test_a_workers_real_figures_are_far_below_the_bound() -> None:
    assert len(encode(Figures(1, families_of(Metrics().registry)))) < MAX_PAYLOAD_BYTES / 40


# ----------------------------------------------------------------------------------------------------
# What a worker makes of its seat, and of a configuration that was changed since the proxy's start.

LISTENER = (Address("127.0.0.1", 27018),)


def test_workers_share_the_connections_rounded_up() -> None:
    config = make_config(1, limits=Limits(10))
    assert share_of(config, Seat(1, 3, (LISTENER,))).limits == Limits(4)


def test_members_that_nobody_holds_ports_for_cannot_be_served() -> None:
    seat = Seat(1, 2, (LISTENER, LISTENER))
    expect_members(with_members(make_config(1), ("a", 1), ("b", 2)), seat)
    with raising(WorkersFailed, StartReason.WORKERS_FAILED) as caught:
        expect_members(make_config(1), seat)
    assert caught.value.hint


async def test_a_worker_that_starts_while_no_member_has_a_port_waits_for_one() -> None:
    found = Discovery(Seeds((Address("a", 1),)), "127.0.0.1", "proxy.test", 100, 101)
    assert await probe(replace(make_config(1, probe=True), discovery=found, members=()), []) == Probed(())
