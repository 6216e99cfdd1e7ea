"""`python -m bench.process_instructions WORKLOAD`: the user instructions of a whole proxy for one operation.

The proxy runs below callgrind between one connection and recorded replies, as `bench.profile` has it; what it
took is read before and after some thousand operations. The event loop, TLS and what runs now and then are in
it, the kernel is not. Less what `bench.instructions` counts for the session, it is what stands around it.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.parts.canned import prepare, start_canned
from bench.report.extents import TINY
from bench.routes.routes import SEALWIRE, Route, connected, start_sealwire
from bench.workloads import CORE_WORKLOADS, ask, split_messages
from sealwire.testbed.child import Arguments
from sealwire.testbed.proxy_process import ProxyProcess

_WARM_UP = 300
_COUNT = 2_000
_TOTAL = re.compile(r"Th +1 +([\d,]+)")


class _Counted(ProxyProcess):
    """The proxy below callgrind. It starts some twenty times as slowly."""

    def arguments(self) -> Arguments:
        out = f"--callgrind-out-file={self.options.folder / 'callgrind.out'}"
        return ["valgrind", "-q", "--tool=callgrind", out, *super().arguments()]


def main() -> None:
    """Parse, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.process_instructions", description=__doc__)
    parser.add_argument("workload", choices=CORE_WORKLOADS)
    parser.add_argument("--tls", action="store_true", help="TLS on both sides")
    parser.add_argument("--count", type=int, default=_COUNT, help=f"operations (default {_COUNT:,})")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sealwire-bench-") as name, ExitStack() as stack:
        prepared = prepare(Path(name) / "recorded", TINY)
        ground = start_canned(stack, prepared, tls=arguments.tls)
        server = start_sealwire(stack, ground, _Counted)
        route = Route(SEALWIRE, server.port, server.pid, ground.encrypted.pid, ground.trusted)
        requests = list(split_messages(prepared.recording.file(arguments.workload).read_bytes()))
        taken = counted(route, server.pid, requests, arguments.count)
    sys.stdout.write(f"{arguments.workload}: {taken:,} user instructions an operation in the whole proxy\n")


def counted(route: Route, pid: int, requests: list[bytes], count: int) -> int:
    """The user instructions of process `pid` an operation, over `count` of them on one connection."""
    with connected(route) as connection:
        for number in range(_WARM_UP):
            ask(connection, requests[number % len(requests)])
        before = _total(pid)
        for number in range(count):
            ask(connection, requests[number % len(requests)])
        return (_total(pid) - before) // count


def _total(pid: int) -> int:
    """Callgrind's count so far for the event loop's thread. Raises RuntimeError if it prints none."""
    command = ["callgrind_control", "-e", "-b", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = _TOTAL.search(done.stdout)
    if found is None:
        raise RuntimeError(f"callgrind_control said: {done.stdout[-200:]}")
    return int(found[1].replace(",", ""))


if __name__ == "__main__":
    main()
