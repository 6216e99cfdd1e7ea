"""`python -m bench.profile WORKLOAD`: where the proxy's time goes, as a flame graph (py-spy, SVG).

The canned backend and the load generator drive Sealwire while py-spy samples its process.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

from bench.parts.canned import prepare, start_canned
from bench.report.extents import CONNECTIONS, QUICK
from bench.report.report import RESULTS
from bench.routes.load import Load
from bench.routes.routes import SEALWIRE, start_routes
from bench.workloads import CORE_WORKLOADS

_RATE_HZ = 500
_WARM_UP_S = 1.0
# py-spy needs a moment to attach, and the load must not end before the sampling does.
_MARGIN_S = 3.0

# py-spy puts its own command line and that of each process into the picture, paths of the machine included.
_TITLE = re.compile(r'(<text id="title"[^>]*>)[^<]*')
_PROCESS = re.compile(r"process \d+:&quot;.*?&quot;")


def main() -> None:
    """Parse, drive, record."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("workload", choices=CORE_WORKLOADS)
    parser.add_argument("--seconds", type=int, default=8, help="how long to sample (default 8)")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="default 16")
    parser.add_argument("--tls", action="store_true", help="TLS on both sides")
    parser.add_argument("--native", action="store_true", help="frames of compiled code too; slower")
    parser.add_argument("--out", type=Path, help="default bench/results/profile-WORKLOAD.svg")
    arguments = parser.parse_args()
    out = arguments.out or RESULTS / f"profile-{arguments.workload}{'-tls' if arguments.tls else ''}.svg"
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sealwire-bench-") as name, ExitStack() as stack:
        prepared = prepare(Path(name) / "recorded", QUICK)
        ground = start_canned(stack, prepared, tls=arguments.tls)
        route = start_routes(stack, ground, (SEALWIRE,))[0][SEALWIRE]
        load = stack.enter_context(Load())
        load.open(route, arguments.connections)
        requests = prepared.recording.file(arguments.workload)
        load.run(route, requests, _WARM_UP_S)
        driving = Thread(target=load.run, args=(route, requests, arguments.seconds + _MARGIN_S))
        driving.start()
        record(route.between or 0, out, arguments.seconds, native=arguments.native)
        driving.join()
    out.write_text(without_paths(out.read_text(encoding="utf-8"), arguments.workload), encoding="utf-8")
    sys.stdout.write(f"written to {out}\n")


def record(pid: int, out: Path, seconds: int, *, native: bool = False) -> None:
    """Sample a process and its children.

    Raises:  CalledProcessError where py-spy may not look into it (it needs root, or ptrace to be allowed)
    """
    py_spy = Path(sys.executable).with_name("py-spy")
    command: list[str | Path] = [py_spy, "record", "--pid", str(pid), "--output", out, "--subprocesses"]
    command += ["--duration", str(seconds), "--rate", str(_RATE_HZ), "--format", "flamegraph"]
    command += ["--native"] if native else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def without_paths(picture: str, title: str) -> str:
    """A flame graph under another title, with processes called Sealwire instead of by their command lines."""
    return _PROCESS.sub("sealwire", _TITLE.sub(rf"\g<1>{title}", picture))


if __name__ == "__main__":
    main()
