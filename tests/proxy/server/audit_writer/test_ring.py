"""The queue in shared memory: order, room, and what a reader makes of bytes that it must not trust."""

import fcntl
import mmap
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.proxy.server.audit_writer import ring
from sealwire.proxy.server.audit_writer.ring import MAX_RECORD_BYTES, RingInput, RingOutput, make_memory
from tests.proxy.server.audit_writer.rings import ring_ends


def test_records_come_out_as_they_went_in_around_the_end_of_the_memory() -> None:
    with ring_ends(1000) as (writes, reads):
        for number in range(100):
            records = [bytes([number]) * size for size in (0, 1, 97, 250)]
            assert all(writes.put(record) for record in records)
            assert reads.count() == 4
            assert reads.look(3) == records[:3]
            assert reads.look(3) == records[3:]
            assert reads.look(3) == []
            reads.taken()
            assert reads.waiting_bytes == writes.waiting_bytes == 0


@given(st.lists(st.one_of(st.binary(max_size=300), st.none()), max_size=60))
def test_a_ring_is_a_queue(moves: list[bytes | None]) -> None:
    waiting: list[bytes] = []
    with ring_ends(701) as (writes, reads):
        for move in moves:
            if move is None:
                assert reads.look(2) == waiting[:2]
                reads.taken()
                del waiting[:2]
            elif writes.put(move):
                waiting.append(move)
            else:
                assert sum(16 + len(each) for each in [*waiting, move]) > 701
        assert reads.look(100) == waiting


def test_room_is_given_back_only_for_what_was_taken() -> None:
    with ring_ends(1000) as (writes, reads):
        assert writes.put(bytes(400))
        assert not writes.put(bytes(400), spare=200)
        assert writes.put(bytes(400))
        assert not writes.put(bytes(200))
        assert reads.look(1) == [bytes(400)]
        assert not writes.put(bytes(200))
        reads.put_back()
        assert len(reads.look(5)) == 2
        reads.taken()
        assert writes.put(bytes(200))


def test_a_process_that_comes_after_another_goes_on_with_what_lies_there() -> None:
    memory = make_memory(1000)
    first = RingInput(memory)
    assert first.put(b"one")
    second = RingInput(memory)
    assert second.put(b"two")
    reader, next_reader = RingOutput(memory), RingOutput(memory)
    assert reader.look(1) == [b"one"]
    assert next_reader.look(9) == [b"one", b"two"]
    for end in (first, second, reader, next_reader):
        end.close()
    os.close(memory)


@pytest.mark.parametrize("place", [0, 4, 8, 16, 18])
def test_a_record_whose_bytes_are_not_all_there_is_none_yet(place: int) -> None:
    memory = make_memory(1000)
    writes, reads = RingInput(memory), RingOutput(memory)
    writes.put(b"one")
    writes.put(b"two")
    with mmap.mmap(memory, 0) as content:
        content[ring._START + place] ^= 1
        assert reads.look(9) == []
        content[ring._START + place] ^= 1
    assert reads.look(9) == [b"one", b"two"]
    writes.close()
    reads.close()
    os.close(memory)


def test_the_ends_tell_each_other_how_it_goes() -> None:
    with ring_ends() as (writes, reads):
        assert not writes.wants_waking()
        reads.sleep()
        assert [writes.wants_waking() for _ in range(2)] == [True, False]
        reads.sleep()
        reads.wake()
        assert not writes.wants_waking()
        reads.beat(123)
        reads.tell(3)
        assert (writes.beat_ns, writes.trouble, writes.failures) == (123, 3, 0)
        writes.put(b"waits")
        reads.tell(3)
        assert writes.failures == 1
        assert writes.has_room()
        assert 0 < writes.filled < 0.001


def test_a_record_that_no_line_can_hold_is_refused() -> None:
    with ring_ends(100_000) as (writes, _):
        with pytest.raises(ValueError, match="60001"):
            writes.put(bytes(MAX_RECORD_BYTES + 1))
        assert writes.put(bytes(MAX_RECORD_BYTES))
        assert not writes.has_room()


def test_nobody_can_make_the_memory_shorter() -> None:
    memory = make_memory(1000)
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 10)
    with pytest.raises(PermissionError):
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    os.close(memory)
