"""What comes compressed comes out in steps: no read of a client or a server is in memory inflated at once."""

from typing import Any

import pytest
from bson import Int64

from sealwire.proxy.session.compression import MAX_STEP_BYTES
from sealwire.proxy.session.conversation import MAX_BYTES_BEFORE_LOGIN
from sealwire.proxy.session.effects import Effect, GoOn, LongToClient, NeedKeys, ToClient, ToServer
from sealwire.proxy.session.login.handshake import ACCEPTED_CLIENT_MESSAGE_BYTES
from sealwire.wire.long_message import LONG_BYTES
from tests.compressed_messages import NUMBERS, packed, unpacked
from tests.proxy.session.compressing import (
    ALL,
    EXHAUST_ALLOWED,
    FIND,
    MORE_TO_COME,
    NHS,
    SEALED,
    STORED,
    TEXT,
    ZLIB,
    batch,
    data_of,
    steps,
    talking,
)
from tests.proxy.session.world import KEYRING, body_of, command, data_key, load_keys, reply, sealed


@pytest.mark.parametrize("login_required", [True, False])
def test_many_bombs_in_one_read_are_not_in_memory_at_once(login_required: bool) -> None:
    talk = talking(ALL, login_required=login_required)
    size = MAX_BYTES_BEFORE_LOGIN if login_required else ACCEPTED_CLIENT_MESSAGE_BYTES
    body: dict[str, Any] = {"ping": 1, "x": "x" * (size - 100), "$db": "admin"}
    bomb = packed(command(body), NUMBERS["zstd"])
    amount = 200 if login_required else 6
    read = b"".join(bomb[:4] + number.to_bytes(4, "little") + bomb[8:] for number in range(1, amount + 1))
    assert len(read) < 50_000
    found = steps(talk, talk.client_data(read))
    for each in found:
        assert sum(len(data) for data in data_of(each, ToServer)) <= MAX_STEP_BYTES + size
    assert [len(data) for each in found for data in data_of(each, ToServer)] == [len(command(body))] * amount
    assert talk.go_on(from_client=True) == []


def test_what_comes_meanwhile_comes_later() -> None:
    talk = talking(ALL, (ZLIB,))
    long = [packed(command({"ping": 1, "x": "x" * 900_000, "$db": "x"}, number), 2) for number in range(1, 5)]
    first = talk.client_data(b"".join(long))
    assert first[-1] == GoOn(True)
    assert not talk.idle
    later = talk.client_data(command(FIND, 9))
    assert later[-1] == GoOn(True)
    rest = talk.go_on(from_client=True)
    sent = [*data_of(first, ToServer), *data_of(later, ToServer), *data_of(rest, ToServer)]
    assert [int.from_bytes(data[4:8], "little") for data in sent] == [1, 2, 3, 4, 9]
    assert unpacked(sent[-1]) == command(STORED, 9)


def test_a_stream_of_replies_is_not_in_memory_at_once() -> None:
    talk = talking(ALL, ALL)
    more = command({"getMore": Int64(5), "collection": "patients", "$db": "clinic"}, 1, flags=EXHAUST_ALLOWED)
    talk.client_data(more)
    stream = b"".join(
        packed(reply(batch(SEALED) | {"x": "x" * 5_000_000}, before, before + 1, flags=MORE_TO_COME), 3)
        for before in (1, *range(51, 60))
        if before != 1
    )
    first = packed(reply(batch(SEALED), 1, 51, flags=MORE_TO_COME), 3)
    assert len(stream) < 50_000
    found = steps(talk, talk.server_data(first + stream))
    for each in found:
        assert sum(len(data) for data in data_of(each, ToClient)) < 12_000_000
    told = [data for each in found for data in data_of(each, ToClient)]
    assert [body_of(data)["cursor"]["firstBatch"][0]["n"] for data in told] == [NHS] * 10


def test_a_long_reply_that_waits_is_not_taken_for_the_one_that_arrives() -> None:
    talk = talking((), ALL)
    for number in range(1, 5):
        talk.client_data(command(FIND, number))
    # two that are compressed take a step each; two that are not follow, and the last one is not whole
    first, second = (packed(reply(batch(f"{'x' * 1_200_000}"), number), 2) for number in (1, 2))
    third, fourth = (
        reply({"cursor": {"firstBatch": [{"n": sealed("nhs", str(n)), "t": TEXT}] * 2500}, "ok": 1.0}, n)
        for n in (3, 4)
    )
    assert min(len(third), len(fourth)) > LONG_BYTES
    effects: list[Effect] = []
    for read in (first + second + third[:150_000], third[150_000:], fourth[:300_000], fourth[300_000:]):
        effects += talk.server_data(read)
    effects += [more for step in steps(talk, effects)[1:] for more in step]
    told = [
        b"".join(each.pieces) if isinstance(each, LongToClient) else each.data
        for each in effects
        if isinstance(each, ToClient | LongToClient)
    ]
    assert [int.from_bytes(data[8:12], "little") for data in told] == [1, 2, 3, 4]
    assert [body_of(data)["cursor"]["firstBatch"][0]["n"] for data in told[2:]] == ["3", "4"]


def test_what_waited_for_a_key_is_not_in_memory_at_once() -> None:
    talk = talking(ALL, ALL)
    talk.client_data(command(FIND, 1))
    inserts = [
        packed(command({"insert": "wards", "$db": "x", "documents": [{"t": "x" * 900_000}]}, number), 2)
        for number in range(2, 8)
    ]
    assert talk.server_data(packed(reply(batch(sealed("nhs", NHS, 2))), 2))[-1] == NeedKeys(((1, 2),))
    assert talk.client_data(b"".join(inserts)) == []
    keyring = type(KEYRING)([data_key("nhs", 2)])
    effects = load_keys(talk, keyring)
    found = steps(talk, effects)
    assert len(found) > 2
    assert [len(data_of(each, ToServer)) <= 2 for each in found] == [True] * len(found)
    assert sum(len(data_of(each, ToServer)) for each in found) == 6
    assert len([data for each in found for data in data_of(each, ToClient)]) == 1


def test_the_end_forgets_what_was_not_handled() -> None:
    talk = talking(ALL)
    bomb = packed(command({"ping": 1, "x": "x" * 2_000_000, "$db": "x"}), 2)
    assert talk.client_data(bomb + packed(command(FIND, 2), 2))[-1] == GoOn(True)
    talk.client_eof()
    assert talk.go_on(from_client=True) == []
