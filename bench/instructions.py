"""`python -m bench.instructions WORKLOAD`: how many instructions the compiled core takes for one operation.

Processor time differs from run to run by more than most changes save; the number of instructions does not.
The session is driven in process, below valgrind, and only what happens inside of its two entries is counted,
once for few operations and once for more: the difference is that of the operations alone. With commands on
record, what puts them there is counted as well. With --connected, so is the connection around the session,
between two transports that only take what they are given.
"""

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bench.dataset import DATABASE, GROUP, Document, documents
from bench.parts.core import encrypted_reply
from bench.recording import load_bench_policy, make_keyring, make_session
from bench.workloads import (
    BATCH,
    FIND_100,
    FIND_ONE,
    INSERT_MANY,
    INSERT_ONE,
    REQUEST_ID,
    UNPROTECTED,
    UPDATE_ONE,
    Pool,
    message,
)
from bench.workloads import workloads as all_workloads
from sealwire import core_is_compiled
from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.keys.keyring.data_key import KeyState, generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.audit_writer.records import RingEnds
from sealwire.proxy.server.audit_writer.ring import make_memory
from sealwire.proxy.server.audit_writer.sink import RingAudit, Shell
from sealwire.proxy.server.config.settings import Limits
from sealwire.proxy.server.connections.connection import Connection
from sealwire.proxy.server.connections.recorder import FailedLogins, LineRecorder
from sealwire.proxy.server.connections.services import Route, Services
from sealwire.proxy.server.frontiers.feed import steady_clock
from sealwire.proxy.server.observability.audit import LogAudit
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.reach import ServerReach
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.choices import CommandScope
from sealwire.proxy.session.effects import Begun, Done
from sealwire.proxy.session.login.caller import Caller
from sealwire.proxy.session.session import Session

COUNTS = {UNPROTECTED: 500, FIND_ONE: 500, INSERT_ONE: 500, UPDATE_ONE: 500, FIND_100: 10, INSERT_MANY: 2}
"""Operations that are counted: enough that what happens now and then does not show."""
MOST = {UNPROTECTED: 19_150, FIND_ONE: 106_700, INSERT_ONE: 116_050, UPDATE_ONE: 110_400, FIND_100: 2_113_500}
"""Instructions an operation may take with its connection: 3 % more than were counted on `_COUNTED_ON`.

Lower a figure when an operation takes fewer. Another compiler or Python counts some percent more or less.
"""
_COUNTED_ON = ("3.13", "12")
"""Python and the major version of gcc."""
_POOL = Pool(singles=1, groups=1, batches=1)
_ENTRIES = tuple(f"CPyPy_session___Session___{side}_data" for side in ("client", "server"))
_CONNECTED = tuple(f"CPyPy_carrying___Carrier___{side}_data" for side in ("client", "server"))
_RECORDING = "CPyPy_recorder___LineRecorder___report"
_COLLECTED = re.compile(r"Collected : (\d+)")
_NO_TOOL = 78
"""Exit status, as sysexits.h has it for a machine that is not set up."""


def main() -> int:
    """Parse, count, print; the workload itself runs in a process of its own."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions",
        description="Instructions that the compiled core takes for one operation, request and reply.",
        epilog="python tools/compiled_tree.py --run bench.instructions find-one --keep /tmp/find-one.out",
    )
    parser.add_argument("workload", choices=COUNTS)
    parser.add_argument("--check", action="store_true", help="exit status 1 if it takes more than MOST says")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the counts, for callgrind_annotate")
    parser.add_argument("--audit", action="store_true", help="with commands on record, as by audit.commands")
    parser.add_argument("--connected", action="store_true", help="with the connection around the session")
    parser.add_argument("--leased", action="store_true", help="with frontiers followed, while nothing moves")
    parser.add_argument(
        "--older", action="store_true", help="with an older version of each class in the keyring"
    )
    parser.add_argument("--drive", type=int, metavar="N", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.drive:
        _drive(arguments.workload, arguments.drive, arguments)
        return 0
    if arguments.check and arguments.workload not in MOST:
        parser.error(f"MOST has no figure for {arguments.workload}")
    problem = _missing() or (_other_tools() if arguments.check else "")
    if problem:
        sys.stderr.write(f"instructions: error: {problem}\n")
        return _NO_TOOL
    if arguments.check:
        return _check(arguments)
    sys.stdout.write(f"{arguments.workload}: {_taken(arguments):,} instructions an operation\n")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    arguments.connected = True
    taken, most = _taken(arguments), MOST[arguments.workload]
    sys.stdout.write(f"{arguments.workload}: {taken:,} instructions an operation, {most:,} at most\n")
    return int(taken > most)


def _taken(arguments: argparse.Namespace) -> int:
    count = COUNTS[arguments.workload]
    with tempfile.TemporaryDirectory() as folder:
        kept = arguments.keep or Path(folder) / "counts"
        more = tuple(
            f"--{name}" for name in ("audit", "connected", "leased", "older") if getattr(arguments, name)
        )
        few = _counted(arguments.workload, 1, Path(folder) / "few", more)
        return (_counted(arguments.workload, 1 + count, kept, more) - few) // count


def _missing() -> str:
    if not core_is_compiled():
        return "the core is plain; run it with: python tools/compiled_tree.py --run bench.instructions"
    if shutil.which("valgrind") is None:
        return "there is no valgrind; on Debian or Ubuntu: apt-get install valgrind"
    return ""


def _other_tools() -> str:
    """Why figures of this machine cannot be held against MOST; empty where they can."""
    command = [os.environ.get("CC", "cc"), "-dumpversion"]
    compiler = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = (f"{sys.version_info.major}.{sys.version_info.minor}", compiler.strip().partition(".")[0])
    return "" if found == _COUNTED_ON else f"MOST is for Python and gcc {_COUNTED_ON}, and here are {found}"


def _counted(workload: str, count: int, out: Path, more: tuple[str, ...]) -> int:
    """Instructions of `count` operations and of what comes before them. Cost: some seconds."""
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    entries = _CONNECTED if "--connected" in more else (*_ENTRIES, _RECORDING)
    command += [f"--toggle-collect={entry}" for entry in entries]
    command += [sys.executable, "-m", "bench.instructions", workload, "--drive", str(count), *more]
    # texts are hashed by one seed, so that runs can be compared: otherwise counts differ by up to 1 %
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found = _COLLECTED.search(done.stderr)
    if found is None:
        raise RuntimeError("valgrind printed no count")
    return int(found[1])


def _drive(workload: str, count: int, options: argparse.Namespace) -> None:
    """One conversation of `count` operations, after what has to be known before the first one."""
    if options.older:
        keyring = _rotated()
    else:
        with tempfile.TemporaryDirectory() as folder:
            keyring = make_keyring(Path(folder), generate_encoded_kek())
    audit = CommandAudit(CommandScope.PROTECTED) if options.audit else None
    session = make_session(keyring, load_bench_policy(), audit)
    if options.leased:
        session.shared.moves.is_leased = True
        valid_until_s = steady_clock() + 3600
        session.shared.moves.is_current = lambda: steady_clock() < valid_until_s
    request = all_workloads(_POOL)[workload].requests[0]
    reply = _replies(keyring)[workload]()
    if options.connected:
        asyncio.run(_drive_connection(session, [request, reply], 1 + count))
        return
    with _recording() as record:
        for _ in range(1 + count):
            for effects in (session.client_data(request), session.server_data(reply)):
                for effect in effects:
                    if isinstance(effect, Begun | Done):
                        record(effect, session.caller)


class _Sink:
    """A transport that takes what it is given, and has a socket that takes any option."""

    def write(self, data: bytes) -> None:
        """Nothing keeps it."""

    def get_extra_info(self, name: str) -> object:
        return SimpleNamespace(setsockopt=lambda *_: None) if name == "socket" else None

    def set_write_buffer_limits(self, high: int) -> None:
        """There is no buffer."""

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing is read."""

    resume_reading = pause_reading


class _AtOnce:
    """A server that is there at once."""

    def way_for(self, _names: tuple[str, ...], _issuer: str) -> None:
        """There is one way."""

    async def connect_for(self, events: Connection, _failed: object, _way: object) -> None:
        events.server_connected(cast(Any, _Sink()))


async def _drive_connection(session: Session, messages: list[bytes], count: int) -> None:
    """As `_drive`, through a connection, which hears one message of the client and one of the server."""
    services = Services(cast(Any, None), Metrics(), LogAudit(), Limits())
    route = Route(cast(Any, _AtOnce()), lambda: session, ServerReach("a:1"))
    connection = Connection(services, route, cast(Any, _Sink()))
    connection.client_data(messages[0])  # the server connection is opened for it
    while connection.server is None:
        await asyncio.sleep(0)
    connection.server_data(messages[1])
    for _ in range(count):
        connection.client_data(messages[0])
        connection.server_data(messages[1])


def _rotated() -> Keyring:
    """Two versions of each class, of which the first only decrypts."""
    states = ((1, KeyState.DECRYPT_ONLY), (2, KeyState.ACTIVE))
    return Keyring(
        generate_data_key(name, class_id, version, datetime.now(UTC), state)
        for class_id, name in enumerate(load_bench_policy().class_names, 1)
        for version, state in states
    )


@contextmanager
def _recording() -> Iterator[Callable[[Begun | Done, Caller], None]]:
    """What puts on record, with a ring that nobody empties: it holds ten thousand."""
    memory, (sleeper, waker) = make_memory(), os.pipe()
    shell = Shell(lambda _after_s, _look: None, lambda: None)
    sink = RingAudit(RingEnds(memory, waker), Metrics(), shell)
    transport = SimpleNamespace(get_extra_info=_address.get)
    failed_logins = FailedLogins(lambda _record, _origin: True, steady_clock)
    yield LineRecorder(sink, failed_logins, cast(Any, None), cast(Any, transport), 1).report
    for descriptor in (memory, sleeper, waker):
        os.close(descriptor)


_address: Mapping[str, object] = {"peername": ("10.0.0.7", 4711)}


def _replies(keyring: Keyring) -> Mapping[str, Callable[[], bytes]]:
    ward = {"firstBatch": [{"_id": 1, "beds": 3}], "id": 0, "ns": f"{DATABASE}.wards"}
    return {
        UNPROTECTED: lambda: _answer({"cursor": ward, "ok": 1.0}),
        FIND_ONE: lambda: encrypted_reply(keyring, "patients", list(islice(documents(1), 1))),
        FIND_100: lambda: encrypted_reply(keyring, "cohorts", list(islice(documents(2), GROUP))),
        INSERT_ONE: lambda: _answer({"n": 1, "ok": 1.0}),
        UPDATE_ONE: lambda: _answer({"n": 1, "nModified": 1, "ok": 1.0}),
        INSERT_MANY: lambda: _answer({"n": BATCH, "ok": 1.0}),
    }


def _answer(body: Document) -> bytes:
    return message(body, REQUEST_ID)


if __name__ == "__main__":
    sys.exit(main())
