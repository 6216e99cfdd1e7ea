"""What Sealwire adds to the answers of an API: `python -m bench.api`.

The web service of the FastAPI example stands on the database, and on Sealwire before it. Both are asked in
turns, in this process, without a web server before them: its share would be the same on both ways. Nothing
has TLS.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from sealwire.examples.fastapi_clinic.app import create_app
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess

POLICY = Path(__file__).resolve().parent.parent / "examples" / "policy.yaml"
PURPOSE = {"Purpose": "direct-care"}
DIRECT, THROUGH = "direct", "through Sealwire"
WARM = 10
"""Rounds that are not counted: the first requests of a service open its connections."""


@dataclass(slots=True)
class Timing:
    """How long the answers to one request took, in seconds, for each way."""

    request: str
    seconds: dict[str, list[float]] = field(default_factory=lambda: {DIRECT: [], THROUGH: []})

    def median_ms(self, way: str) -> float:
        return median(self.seconds[way]) * 1e3

    def ratio(self) -> float:
        """How many times as long the median takes through Sealwire."""
        return self.median_ms(THROUGH) / self.median_ms(DIRECT)


def main() -> None:
    """Print a line for each request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300, help="how often each request is made each way")
    rounds = parser.parse_args().rounds
    table = Table("request", f"{DIRECT}, ms", f"{THROUGH}, ms", "ratio")
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as uris:
        for timing in asyncio.run(measure(uris, rounds)):
            shown = (f"{timing.median_ms(way):.2f}" for way in (DIRECT, THROUGH))
            table.add_row(timing.request, *shown, f"{timing.ratio():.2f}")
    Console().print(table)


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """A database with Sealwire before it; the URI of each way, with a database of its own."""
    with DatabaseProcess(DatabaseOptions(folder / "database")) as database:
        options = ProxyOptions(folder / "sealwire", POLICY, database.address, access_control=False)
        with ProxyProcess(options) as proxy:
            # the policy names the database `clinic`
            yield {DIRECT: database.uri(database="plain"), THROUGH: proxy.uri(database="clinic")}


async def measure(uris: dict[str, str], rounds: int) -> list[Timing]:
    """Every request each way in turns. Raises httpx.HTTPStatusError if one is not answered."""
    timings: dict[str, Timing] = {}
    async with _service(uris[DIRECT]) as direct, _service(uris[THROUGH]) as through:
        for number in range(-WARM, rounds):
            ways = [(DIRECT, direct), (THROUGH, through)]
            for way, client in ways if number % 2 else reversed(ways):
                async for request, took_s in _visit(client, number + WARM):
                    if number >= 0:
                        timings.setdefault(request, Timing(request)).seconds[way].append(took_s)
    return list(timings.values())


@asynccontextmanager
async def _service(uri: str) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(uri)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://clinic.example")
    async with app.router.lifespan_context(app), client:
        yield client


async def _visit(client: httpx.AsyncClient, number: int) -> AsyncIterator[tuple[str, float]]:
    """Make the requests of a desk about one new patient; yields the name of each and the seconds it took."""
    nhs_number = _number(number)
    patient = {
        "nhs_number": nhs_number,
        "mrn": f"MRN{number:07d}",
        "name": "Nia Lloyd",
        "date_of_birth": "1948-07-05",
        "address": {"line1": "1 High Street", "city": "Leeds", "postcode": f"ZZ{number % 100} 9AA"},
        "contacts": [{"kind": "mobile", "phone": "07700900001"}],
        "notes": "Allergic to penicillin.",
        "ward": "renal",
    }
    asked: list[tuple[str, str, Any]] = [
        ("POST", "/patients", patient),
        ("POST", "/patients/find", {"nhs_number": nhs_number}),
        ("POST", "/patients/search", {"postcode": f"ZZ{number % 100} 9AA"}),
        (
            "POST",
            "/appointments",
            {"nhs_number": nhs_number, "visit": "imaging", "at": "2026-05-01T10:00:00Z"},
        ),
        ("POST", "/appointments/search", {"nhs_number": nhs_number}),
    ]
    for method, path, body in asked:
        began_s = time.perf_counter()
        said = await client.request(method, path, json=body, headers=PURPOSE)
        took_s = time.perf_counter() - began_s
        said.raise_for_status()
        yield f"{method} {path}", took_s


def _number(number: int) -> str:
    """An NHS number of those that are kept for tests, with its check digit; some numbers have none."""
    for digits in range(999_000_000 + number * 2, 999_000_000 + number * 2 + 2):
        total = sum(int(digit) * weight for digit, weight in zip(str(digits), range(10, 1, -1), strict=True))
        check = (11 - total % 11) % 11
        if check < 10:
            return f"{digits}{check}"
    raise AssertionError("two numbers in a row without a check digit")


if __name__ == "__main__":
    main()
