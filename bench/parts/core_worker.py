"""One library of the in-process works, by itself: python -m bench.parts.core_worker LIBRARY POOL

It reads and answers lines (`bench.routes.talker`).
"""

import sys
from collections.abc import Mapping, Sequence

from bench.parts.core_works import Work, inputs, libmongocrypt, pymongocrypt_works, sealwire_works
from bench.routes.talker import Answer, serve

WORKS_OF = {"sealwire": sealwire_works, "pymongocrypt": pymongocrypt_works}


def run(work: Work, seconds: float) -> tuple[int, float]:
    """Do `work` again and again until it has taken `seconds`; how often, and how long. At least twice."""
    count, taken = 0, 0.0
    while taken < seconds or count < 2:
        taken += work()
        count += 1
    return count, taken


def main(arguments: Sequence[str]) -> None:
    """Prepare the works of one library, then serve lines until the input ends."""
    library, pool = arguments
    works: Mapping[str, Work] = WORKS_OF[library](inputs(int(pool)))

    def tell() -> Answer:
        return {"works": list(works), "libmongocrypt": libmongocrypt()}

    def work(work: str, seconds: float) -> Answer:
        count, taken = run(works[work], seconds)
        return {"count": count, "seconds": taken}

    serve(sys.stdin, sys.stdout, {"tell": tell, "run": work})


if __name__ == "__main__":
    main(sys.argv[1:])
