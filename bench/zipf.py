"""Keys as YCSB draws them: a few are asked for often, most hardly ever."""

import random
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate

SKEW = 0.99
"""YCSB's constant."""


def zipfian(count: int, seed: int) -> Iterator[int]:
    """Numbers below `count` without end; the n-th most frequent comes 1/n**0.99 as often as the first.

    Which number is how frequent is shuffled, so that neighbours are not alike.
    """
    source = random.Random(seed)  # noqa: S311 - keys to measure with, not secrets
    ranks = list(range(count))
    source.shuffle(ranks)
    sums = list(accumulate(1 / (rank + 1) ** SKEW for rank in range(count)))
    while True:
        yield ranks[min(count - 1, bisect(sums, source.random() * sums[-1]))]
