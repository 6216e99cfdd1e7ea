"""Part `canned`: recorded replies and raw sockets. Server and client cost next to nothing here, so what
stands between them weighs as heavily as it can: an upper bound for the relative overhead.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bson import decode

from bench.recording import ENCRYPTED, PLAIN, Recording, make_keyring, record
from bench.report.extents import CONNECTIONS, Extent
from bench.report.figures import Case, Results, Tell, take_slices
from bench.report.goals import decided
from bench.routes.load import Load
from bench.routes.routes import (
    DIRECT,
    FORWARDER,
    ROUTES,
    SEALWIRE,
    Ground,
    Route,
    connected,
    module_server,
    start_routes,
)
from bench.workloads import BODY, FIND_ONE, GROUPING, UNPROTECTED, ask, split_messages
from sealwire.crypto.envelope import MARKER
from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.keys.keyring.keyring import Keyring
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.child import Started

PART = "canned"
_COUNTED_ROUTES = (DIRECT, FORWARDER, SEALWIRE)
"""The routes that are measured at other numbers of connections too."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A recording, and the keys that it was made with."""

    folder: Path
    recording: Recording
    keys: Keyring
    keyring: Path
    """Where the keys lie, for the proxies."""
    kek: str = field(repr=False)


def prepare(folder: Path, extent: Extent) -> Prepared:
    """Record what the canned servers play."""
    kek = generate_encoded_kek()
    keyring = make_keyring(folder, kek)
    recording = record(folder / "recording", keyring, extent.pool)
    return Prepared(folder, recording, keyring, folder / "keyring.json", kek)


def measure_canned(prepared: Prepared, extent: Extent, results: Results, tell: Tell, *, tls: bool) -> None:
    """All cases with or without TLS on both sides; adds to `results`."""
    with ExitStack() as stack:
        load = stack.enter_context(Load())
        ground = start_canned(stack, prepared, tls=tls)
        routes, missing = start_routes(stack, ground, ROUTES)
        results.not_measured |= {f"{PART} {name}": reason for name, reason in missing.items()}
        for case, names in _cases(extent, tls=tls):
            tell(str(case))
            chosen = {name: route for name, route in routes.items() if name in names}
            measure_case(load, case, chosen, prepared.recording, extent, results)


def start_canned(stack: ExitStack, prepared: Prepared, *, tls: bool) -> Ground:
    """Two canned servers: one plays what the plain server answered, one what it answered Sealwire."""
    folder = Path(stack.enter_context(TemporaryDirectory(dir=prepared.folder)))
    authority = create_authority(folder / "authority") if tls else None
    running: list[Started] = []
    for kind in (PLAIN, ENCRYPTED):
        arguments: list[str | Path] = [prepared.recording.folder, kind]
        if authority is not None:
            issued = authority.issue(f"canned-{kind}")
            arguments += [issued.certificate, issued.key]
        running.append(stack.enter_context(module_server("bench.routes.canned_server", folder, arguments)))
    return Ground(folder, running[0], running[1], prepared.keyring, prepared.kek, authority)


def verify(route: Route, recording: Recording, workload: str) -> None:
    """Ask once and look into the answer: it is ok, in clear, and has as many documents as the plain one.

    Raises:  ValueError where it is not
    """
    request = next(split_messages(recording.file(workload).read_bytes()))
    expected = decode(next(split_messages(recording.file(workload, PLAIN).read_bytes()))[BODY:])
    with connected(route) as connection:
        reply = ask(connection, request)
    found = decode(reply[BODY:])
    count, wanted = (len(each.get("cursor", {}).get("firstBatch", ())) for each in (found, expected))
    # groups by postcode differ in number from reply to reply, and so may be those of another one
    same = count == wanted or (workload == GROUPING and count > 0)
    if found.get("ok") != 1 or MARKER in reply or not same:
        raise ValueError(f"{route.name} answers {workload} with something else than the server")


def _cases(extent: Extent, *, tls: bool) -> Iterator[tuple[Case, tuple[str, ...]]]:
    """What is measured, and over which routes."""
    if tls:
        for name in extent.canned_tls:
            yield Case(PART, name, CONNECTIONS, tls=True), ROUTES
        return
    for name in extent.canned:
        yield Case(PART, name, CONNECTIONS), ROUTES
    for name in (UNPROTECTED, FIND_ONE):
        for connections in extent.connections:
            yield Case(PART, name, connections), _COUNTED_ROUTES


def measure_case(
    load: Load,
    case: Case,
    routes: Mapping[str, Route],
    recording: Recording,
    extent: Extent,
    results: Results,
) -> None:
    """All rounds of one case, with connections of its own and after a look at one answer of each route."""
    requests = recording.file(case.workload)
    for route in routes.values():
        verify(route, recording, case.workload)
        load.open(route, case.connections)
    runs = {name: partial(load.run, route, requests) for name, route in routes.items()}
    results.series += take_slices(case, runs, extent.slice_s, extent.rounds, decided)
    for route in routes.values():
        load.close(route)
