"""Part `scale`: a proxy with several workers, and two proxies behind HAProxy, against one with one worker.

A find-one with recorded replies. Where there are more workers than cores the figures show what more processes
cost, not what they could do. A connection stays with the worker that it had when the case began.
"""

import time
from contextlib import ExitStack
from functools import partial
from typing import Final

from bench.parts.canned import Prepared, measure_case, start_canned
from bench.report.extents import Extent
from bench.report.figures import Case, Metric, Results, Sample, Tell, take_turns
from bench.routes.load import Load
from bench.routes.processes import cpu_of, resident_of
from bench.routes.routes import SEALWIRE, Ground, Route, haproxy, start_sealwire
from bench.workloads import FIND_ONE

PART: Final = "scale"
SUPERVISOR: Final = "idle-supervisor"
BALANCED: Final = "haproxy-x2"
CONNECTIONS: Final = 64


def measure_scale(prepared: Prepared, extent: Extent, results: Results, tell: Tell, *, tls: bool) -> None:
    """Every route under load, and supervisors without any; adds to `results`."""
    with ExitStack() as stack:
        load = stack.enter_context(Load())
        ground = start_canned(stack, prepared, tls=tls)
        routes = {each.name: each for each in (_proxy(stack, ground, count) for count in extent.workers)}
        supervised = [each for each in routes.values() if each.apart]
        balanced = _balanced(stack, ground)
        if isinstance(balanced, Route):
            routes[BALANCED] = balanced
        else:
            results.not_measured[f"{PART} {BALANCED}"] = balanced
        case = Case(PART, FIND_ONE, CONNECTIONS, tls)
        tell(str(case))
        measure_case(load, case, routes, prepared.recording, extent, results)
        case = Case(PART, SUPERVISOR, tls=tls)
        tell(str(case))
        idle = {each.name: partial(_idle, each, extent.idle_s) for each in supervised}
        results.series += take_turns(case, idle, extent.memory_rounds)


def _idle(route: Route, seconds: float) -> Sample:
    """The processor time and memory of a supervisor alone, while no client asks."""
    assert route.between is not None
    before, began = cpu_of(route.between), time.monotonic()
    time.sleep(seconds)
    used = (cpu_of(route.between) - before) / (time.monotonic() - began)
    return {Metric.IDLE_CPU: used * 1e6, Metric.RESIDENT: resident_of(route.between)}


def _proxy(stack: ExitStack, ground: Ground, workers: int) -> Route:
    name = SEALWIRE if workers == 1 else f"{SEALWIRE}-x{workers}"
    proxy = start_sealwire(stack, ground, name=name, workers=workers)
    return Route(name, proxy.port, proxy.pid, ground.encrypted.pid, ground.trusted, apart=workers > 1)


def _balanced(stack: ExitStack, ground: Ground) -> Route | str:
    """Two proxies of one worker, and HAProxy before them; or the reason why there is none."""
    members = [start_sealwire(stack, ground, name=f"{BALANCED}-{number}") for number in (1, 2)]
    folder = ground.folder / BALANCED
    folder.mkdir()
    before = stack.enter_context(haproxy(folder, [each.port for each in members]))
    if isinstance(before, str):
        return before
    behind = tuple(each.pid for each in members)
    return Route(BALANCED, before.port, before.pid, ground.encrypted.pid, ground.trusted, behind, apart=True)
