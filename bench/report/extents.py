"""How much is measured: the whole, what a change is judged by, or the least that runs everything.

The lesser ones name what they have otherwise than the whole.
"""

from dataclasses import dataclass, replace

from bench.routes.routes import CLIENT_SIDE, DIRECT, FORWARDER, NGINX, SEALWIRE
from bench.workloads import (
    CORE_WORKLOADS,
    FIND_100,
    FIND_ONE,
    GROUPING,
    INSERT_MANY,
    INSERT_ONE,
    MIXES,
    PING,
    UNPROTECTED,
    UPDATE_ONE,
    Pool,
)

CONNECTIONS = 16
END_TO_END = (FIND_ONE, INSERT_ONE, FIND_100, UPDATE_ONE, *MIXES)
"""Operations whose overhead over a real server has a target."""
FEW, MANY = 10, 1_000
_REAL_ROUTES = (DIRECT, FORWARDER, NGINX, CLIENT_SIDE, SEALWIRE)


@dataclass(frozen=True, slots=True)
class Extent:
    """Rounds, and seconds a slice; what is measured over which routes.

    Slices are short: a shared machine is twice as fast in one second as in the next, but two neighbouring
    slices of 0.1 s differ by an eighth. So many short rounds decide what few long ones leave undecided.
    """

    name: str
    pool: Pool
    rounds: int
    slice_s: float
    canned: tuple[str, ...]
    canned_tls: tuple[str, ...]
    connections: tuple[int, ...]
    core_pool: int
    """Different replies of 100 documents, and as many values in the other works."""
    core_rounds: int
    core_slice_s: float
    real_routes: tuple[str, ...]
    real_busy_routes: tuple[str, ...]
    """The routes that are also asked with several threads."""
    real: tuple[str, ...]
    real_documents: int
    real_rounds: int
    real_slice_s: float
    memory_routes: tuple[str, ...]
    """The routes whose idle connections are weighed. All other figures of memory are Sealwire's."""
    memory_rounds: int
    idle_connections: int
    batch_mb: int
    result_mb: int
    quiet_s: float
    """How long memory must not have grown to count as settled."""
    workers: tuple[int, ...]
    """How many workers proxies have; the others are compared with the first."""
    idle_s: float
    """For how long a supervisor without clients is watched."""


FULL = Extent(
    name="full",
    pool=Pool(singles=4096, groups=64, batches=24),
    rounds=15,
    slice_s=0.25,
    canned=CORE_WORKLOADS,
    canned_tls=(UNPROTECTED, FIND_ONE, INSERT_ONE, FIND_100),
    connections=(1, FEW, 100, MANY),
    core_pool=100,
    core_rounds=15,
    core_slice_s=0.25,
    real_routes=_REAL_ROUTES,
    real_busy_routes=_REAL_ROUTES,
    real=(PING, UNPROTECTED, *END_TO_END, INSERT_MANY, GROUPING),
    real_documents=3_000,
    real_rounds=15,
    real_slice_s=0.2,
    memory_routes=(SEALWIRE, FORWARDER, NGINX),
    memory_rounds=2,
    idle_connections=1_000,
    batch_mb=48,
    result_mb=100,
    quiet_s=1.0,
    workers=(1, 2, 4, 8),
    idle_s=5.0,
)

QUICK = replace(
    FULL,
    name="quick",
    pool=Pool(singles=4096, groups=32, batches=8),
    rounds=11,
    slice_s=0.15,
    canned=(UNPROTECTED, FIND_ONE, INSERT_ONE, FIND_100),
    canned_tls=(FIND_ONE,),
    connections=(FEW, MANY),
    core_pool=50,
    core_rounds=11,
    core_slice_s=0.1,
    real_routes=(DIRECT, FORWARDER, NGINX, SEALWIRE),
    real_busy_routes=(DIRECT, FORWARDER, SEALWIRE),
    real=END_TO_END,
    real_documents=2_000,
    real_rounds=15,
    real_slice_s=0.1,
    memory_routes=(SEALWIRE,),
    memory_rounds=1,
    idle_connections=500,
    workers=(1, 2),
)

TINY = replace(
    FULL,
    name="tiny",
    pool=Pool(singles=64, groups=2, batches=1),
    rounds=1,
    slice_s=0.02,
    canned_tls=(FIND_ONE,),
    connections=(FEW, MANY),
    core_pool=4,
    core_rounds=1,
    core_slice_s=0.02,
    real_documents=200,
    real_rounds=1,
    real_slice_s=0.05,
    memory_rounds=1,
    idle_connections=20,
    batch_mb=2,
    result_mb=40,
    quiet_s=0.2,
    workers=(1, 2),
    idle_s=0.2,
)

EXTENTS = {extent.name: extent for extent in (FULL, QUICK, TINY)}
