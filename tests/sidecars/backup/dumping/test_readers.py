"""Several producers and one consumer: everything arrives, errors arrive, and nobody is left waiting."""

import threading
from collections.abc import Iterator

import pytest

from sealwire.sidecars.backup.dumping.readers import produced


def numbers(job: int) -> Iterator[tuple[int, int]]:
    for number in range(50):
        yield job, number


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_everything_arrives_and_the_order_within_a_job_is_kept(threads: int) -> None:
    with produced(range(6), numbers, threads=threads, waiting=2) as items:
        found = list(items)
    assert sorted(found) == [(job, number) for job in range(6) for number in range(50)]
    for job in range(6):
        assert [number for one, number in found if one == job] == list(range(50))


def failing(job: int) -> Iterator[int]:
    yield job
    if job == 2:
        raise KeyError("broken")
    yield job


@pytest.mark.parametrize("threads", [1, 3])
def test_the_error_of_a_producer_is_raised_where_its_items_are_taken(threads: int) -> None:
    with pytest.raises(KeyError), produced(range(9), failing, threads=threads, waiting=1) as items:
        list(items)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("producer-")]


def test_a_consumer_that_goes_leaves_no_thread_behind() -> None:
    with produced(range(9), numbers, threads=4, waiting=1) as items:
        assert next(items)[1] == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("producer-")]


def test_nothing_to_do_is_done_at_once() -> None:
    jobs: list[int] = []
    with produced(jobs, numbers, threads=2, waiting=1) as items:
        assert list(items) == []
