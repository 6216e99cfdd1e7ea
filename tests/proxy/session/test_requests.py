"""Pairing replies with requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.proxy.session.requests import MAX_AWAITED, AwaitedRequests, Request, RequestKind


def request(kind: RequestKind = RequestKind.COMMAND) -> Request:
    return Request(kind, "find", "clinic.patients")


def awaiting(*ids: int) -> tuple[AwaitedRequests, dict[int, Request]]:
    awaited, requests = AwaitedRequests(), {number: request() for number in ids}
    for number, made in requests.items():
        awaited.add(number, made)
    return awaited, requests


def test_each_reply_finds_its_own_request_in_any_order() -> None:
    awaited, requests = awaiting(1, 2, 3)
    for number in (2, 3, 1):
        assert awaited.answer(number, 90, more_to_come=False) is requests[number]
        assert awaited.answer(number, 90, more_to_come=False) is None
    assert awaited.idle


def test_requests_that_look_alike_are_answered_apart() -> None:
    awaited, _ = awaiting(1, 2)
    awaited.answer(1, 90, more_to_come=False)
    assert not awaited.idle
    assert awaited.has_room_for(1)
    assert not awaited.has_room_for(2)


def test_a_reply_to_nobody_leaves_what_is_awaited() -> None:
    awaited, requests = awaiting(1)
    assert awaited.answer(2, 1, more_to_come=True) is None
    assert awaited.answer(1, 90, more_to_come=False) is requests[1]


def test_a_stream_takes_no_id_of_another_request() -> None:
    awaited, requests = awaiting(1, 2)
    assert awaited.answer(1, 2, more_to_come=True) is None
    assert awaited.find(2) is requests[2]


@pytest.mark.parametrize("chained", [True, False])
def test_a_stream_remembers_two_ids_at_most_and_forgets_both_at_its_end(chained: bool) -> None:
    awaited, requests = awaiting(1, 2)
    answered = 1
    for number in range(100, 100 + 2 * MAX_AWAITED):
        assert awaited.answer(answered, number, more_to_come=True) is requests[1]
        answered = number if chained else 1
    assert not awaited.has_room_for(number)
    assert awaited.has_room_for(number - 2)
    assert awaited.answer(answered, 90, more_to_come=False) is requests[1]
    assert awaited.has_room_for(1)
    assert awaited.has_room_for(number)
    assert not awaited.has_room_for(2)


def test_the_oldest_is_the_one_that_waits_longest_and_no_stream() -> None:
    awaited, _ = awaiting(7, 2, 5)
    seen = [awaited.oldest]
    awaited.answer(7, 90, more_to_come=False)
    seen.append(awaited.oldest)
    awaited.answer(2, 91, more_to_come=True)
    seen.append(awaited.oldest)
    awaited.answer(5, 92, more_to_come=False)
    assert [*seen, awaited.oldest] == [7, 2, 5, None]


@pytest.mark.parametrize("kind", RequestKind)
def test_only_commands_make_it_busy(kind: RequestKind) -> None:
    awaited = AwaitedRequests()
    awaited.add(1, request(kind))
    assert awaited.idle is (kind in (RequestKind.HELLO, RequestKind.LEGACY_HELLO))


def test_the_number_of_open_requests_is_bounded() -> None:
    awaited, _ = awaiting(*range(MAX_AWAITED - 1))
    assert not awaited.full
    assert awaited.has_room_for(MAX_AWAITED)
    awaited.add(MAX_AWAITED, request())
    assert awaited.full
    assert not awaited.has_room_for(MAX_AWAITED + 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4)), max_size=30))
def test_keeps_what_a_table_would_keep(steps: list[tuple[bool, int]]) -> None:
    awaited, table = AwaitedRequests(), dict[int, Request]()
    for is_added, number in steps:
        assert awaited.has_room_for(number) is (number not in table)
        assert awaited.find(number) is table.get(number)
        if not is_added:
            assert awaited.answer(number, 90, more_to_come=False) is table.pop(number, None)
        elif number not in table:
            table[number] = request()
            awaited.add(number, table[number])
        assert awaited.idle is (not table)


def test_a_command_with_more_to_come_is_a_stream_and_a_handshake_is_none() -> None:
    awaited = AwaitedRequests()
    awaited.add(1, request(RequestKind.HELLO))
    awaited.add(2, request())
    awaited.answer(1, 50, more_to_come=True)
    assert not awaited.streaming
    awaited.answer(2, 60, more_to_come=True)
    assert awaited.streaming
    awaited.answer(60, 61, more_to_come=False)
    assert not awaited.streaming
