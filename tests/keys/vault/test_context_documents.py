"""Several things at once: answers in order, and the first error ends it."""

import threading

import pytest

from sealwire.keys.vault.context_documents import THREADS, at_once


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_answers_come_in_the_order_of_the_items(count: int) -> None:
    assert at_once(lambda number: number * 2, range(count)) == [number * 2 for number in range(count)]


def test_so_many_run_at_once() -> None:
    together = threading.Barrier(THREADS, timeout=10)
    assert at_once(lambda number: together.wait() >= 0 and number, range(THREADS)) == list(range(THREADS))


def test_after_an_error_nothing_is_begun() -> None:
    begun: list[int] = []

    def fail(number: int) -> int:
        begun.append(number)
        raise KeyError(number)

    with pytest.raises(KeyError):
        at_once(fail, range(1000))
    assert len(begun) <= THREADS
