"""Each room says at its door what it may not import, and keeps to it; walks and data path exist."""

import ast
import asyncio
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from graphlib import CycleError
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest

from sealwire.proxy.server.config.settings import Limits
from sealwire.proxy.server.connections.connection import Connection
from sealwire.proxy.server.connections.services import Route, Services
from sealwire.proxy.server.observability.audit import LogAudit
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.reach import ServerReach
from sealwire.proxy.server.transports import ClientProtocol, ServerProtocol
from sealwire.proxy.server.upstream import Upstream, UpstreamWay
from tests.build_context import ROOT
from tests.proxy.session.world import command, reply, sealed, session
from tools import rooms
from tools.rooms import floors_of, reduced

ROOMS = (
    *(
        "wire",
        "crypto",
        "audit",
        "files",
        "keys",
        "keys/keyring",
        "keys/kek",
        "keys/vault",
        "policies",
        "proxy/session",
        "proxy/server",
        "sidecars",
    ),
    *(
        f"policies/{name}"
        for name in ("file", "planning", "expressions", "filters", "updates", "aggregation")
    ),
    *("policies/commands", "sealwire/testbed"),
    *(f"proxy/session/{name}" for name in ("sides", "login", "revealing")),
    *(
        f"proxy/server/{name}"
        for name in ("audit_writer", "config", "observability", "connections", "workers")
    ),
    *(
        f"sidecars/backup/{name}"
        for name in ("stores", "sealed", "archive", "dumping", "keeping", "restoring")
    ),
    *(f"sidecars/{name}" for name in ("luks", "tls_check", "vault_setup")),
)
WALKED = (*ROOMS, "sidecars/backup", "sealwire/demo")
FIRST_NAMES = {"cli", "demo", *(room.split("/")[0] for room in ROOMS)}
ARCHITECTURE = ROOT / "docs" / "ENCRYPTION_ARCHITECTURE.md"
DOCSTRING_LINES = 25


def room_docstring(room: str) -> str:
    tree = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    return ast.get_docstring(tree) or ""


def module_name(room: str) -> str:
    return "sealwire." + room.removeprefix("sealwire/").replace("/", ".")


def forbidden_by(docstring: str, room: str) -> set[str]:
    """The modules that the sentence `May not import: a, b, any other room.` names, with rooms spelt in full.

    An item of several words that is not `any other room` (such as a reason) names no module and is passed
    over.
    """
    sentence = re.search(r"May not import: (.+?)\.(?:\s|$)", docstring, re.DOTALL)
    if sentence is None:
        return set()
    own = module_name(room)
    rooms = {module_name(other) for other in ROOMS}
    modules: set[str] = set()
    for item in re.split(r",?\s+(?:and|or)\s+|,\s*", sentence.group(1)):
        if item.strip() == "any other room":
            modules |= rooms - {own}
        elif re.fullmatch(r"[a-z_][a-z0-9_.]*", item.strip()):
            name = item.strip()
            modules.add(f"sealwire.{name}" if name.partition(".")[0] in FIRST_NAMES else name)
    return modules


def imports_of(source: str) -> Iterator[str]:
    """Every module that `source` imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def broken_promises(source: str, forbidden: set[str]) -> set[str]:
    return {
        module
        for module in imports_of(source)
        if any(module == banned or module.startswith(banned + ".") for banned in forbidden)
    }


def data_path_steps(document: str) -> list[tuple[str, str]]:
    """The `path/file.py:function` lines of the fenced blocks named data-path, as (path, function)."""
    steps = []
    for block in re.findall(r"^```data-path\n(.*?)^```", document, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            step = re.search(r"([\w/]+\.py):([\w.]+)", line)
            if step is not None:
                steps.append((step.group(1), step.group(2)))
            elif line.strip():
                raise ValueError(f"not a step of the form path/file.py:function: {line.strip()}")
    return steps


def definitions(source: str) -> set[str]:
    """What a module defines at its top, and methods, both bare and as `Class.method`."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = {
                item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            names |= {node.name} | methods | {f"{node.name}.{method}" for method in methods}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def walk_steps(docstring: str, room: str) -> list[tuple[str, str]]:
    """The names `module.name` of a docstring as steps: of the room itself, or of one that they begin with.

    Passed over: classes with a method, files beside the docstring, and modules of Python's own library.
    """
    steps = []
    for dotted in re.findall(r"`([a-z_]\w*(?:\.\w+)+)[`(]", docstring):
        parts = dotted.removeprefix("sealwire.").split(".")
        if parts[0] in sys.stdlib_module_names or (ROOT / room / dotted).is_file():
            continue
        folder = ROOT if (ROOT / parts[0]).is_dir() else ROOT / room
        while len(parts) > 1 and (folder / parts[0]).is_dir():
            folder, parts = folder / parts[0], parts[1:]
        if len(parts) > 1 or not (folder / f"{parts[0]}.py").is_file():
            module, *names = parts
            steps.append((f"{folder.relative_to(ROOT)}/{module}.py", ".".join(names)))
    return steps


def unresolved(steps: list[tuple[str, str]], root: Path) -> list[str]:
    return [
        f"{path}:{function}"
        for path, function in steps
        if not (root / path).is_file()
        or function not in definitions((root / path).read_text(encoding="utf-8"))
    ]


EXCEPTED = {ROOT / "keys/kek/kek.py": {"logging"}}
"""What its room's docstring says of it: it turns off what libraries log."""


def _exempt() -> set[Path]:
    """Commands, which know more than the room beside which they stand: import contracts say how much."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    lines = next(each["ignore_imports"] for each in contracts if each["name"].startswith("of a sidecar only"))
    patterns = (line.partition(" ->")[0].removeprefix("sealwire.").replace(".", "/") for line in lines)
    return {path for pattern in patterns for path in ROOT.glob(f"{pattern}.py")}


EXEMPT = _exempt()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_may_not_import_in_few_lines(room: str) -> None:
    docstring = room_docstring(room)
    assert len(docstring.splitlines()) <= DOCSTRING_LINES
    assert forbidden_by(docstring, room)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_nothing_that_its_docstring_rules_out(room: str) -> None:
    forbidden = forbidden_by(room_docstring(room), room)
    files = set((ROOT / room).rglob("*.py")) - EXEMPT
    assert files
    broken = {
        str(path.relative_to(ROOT)): modules
        for path in files
        if (
            modules := broken_promises(
                path.read_text(encoding="utf-8"), forbidden - EXCEPTED.get(path, set())
            )
        )
    }
    assert broken == {}


@pytest.mark.parametrize("room", WALKED)
def test_the_walk_through_a_room_exists_step_by_step(room: str) -> None:
    assert unresolved(walk_steps(room_docstring(room), room), ROOT) == []


def test_a_name_that_a_walk_no_longer_finds_is_reported() -> None:
    there = "`framing.Framer.feed` `policies.commands.planner.plan_command` `wire.kinds` `os.urandom`"
    found = unresolved(walk_steps(f"{there} `framing.gone` `none.f`", "wire"), ROOT)
    assert found == ["wire/framing.py:gone", "wire/none.py:f"]


def test_the_data_path_of_the_architecture_page_exists_step_by_step() -> None:
    steps = data_path_steps(ARCHITECTURE.read_text(encoding="utf-8"))
    assert len(steps) > 1
    assert unresolved(steps, ROOT) == []


def test_forbidden_modules_are_read_from_the_sentence() -> None:
    docstring = "Owns x.\n\nMay not import: keys, asyncio, os.path,\nanything that logs, and hvac.\nMore."
    assert forbidden_by(docstring, "crypto") == {"sealwire.keys", "asyncio", "os.path", "hvac"}
    everything = forbidden_by("May not import: any other room, socket.", "wire")
    assert "sealwire.proxy.session" in everything
    assert "sealwire.wire" not in everything


def test_a_forbidden_import_is_found_wherever_it_stands() -> None:
    source = textwrap.dedent(
        """
        from sealwire.keys import keyring
        def late():
            import asyncio.events
        """
    )
    assert broken_promises(source, {"asyncio", "sealwire.keys.keyring"}) == {
        "asyncio.events",
        "sealwire.keys.keyring",
    }
    assert broken_promises("import asyncio_like", {"asyncio"}) == set()


def test_a_step_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    (tmp_path / "wire").mkdir()
    (tmp_path / "wire" / "framing.py").write_text(
        "class Framer:\n    def feed(self): ...\n", encoding="utf-8"
    )
    document = (
        "text\n```data-path\nwire/framing.py:Framer.feed\n-> wire/framing.py:gone\n-> wire/none.py:f\n```\n"
    )
    assert unresolved(data_path_steps(document), tmp_path) == ["wire/framing.py:gone", "wire/none.py:f"]


def test_a_line_of_the_data_path_that_is_no_step_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a step"):
        data_path_steps("```data-path\nand then magic\n```\n")


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    edges = {"cli": {"server", "keys", "crypto"}, "server": {"keys"}, "keys": {"crypto"}, "crypto": set()}
    assert reduced(edges) == {"cli": {"server"}, "server": {"keys"}, "keys": {"crypto"}, "crypto": set()}


def test_a_room_stands_below_the_lowest_that_imports_it() -> None:
    edges: dict[str, set[str]] = {"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": {"c"}}
    assert floors_of(edges) == [["a", "d"], ["b"], ["c"]]


def test_rooms_in_a_circle_are_an_error() -> None:
    with pytest.raises(CycleError):
        reduced({"a": {"b"}, "b": {"a"}})


def test_the_committed_diagram_has_a_box_for_each_room() -> None:
    text = (ROOT / "docs" / "ENCRYPTION_ARCHITECTURE.md").read_text(encoding="utf-8")
    boxes = re.findall(r'^  (\S+)\["<b>([^<]+)</b>', text, re.MULTILINE)
    assert boxes == [(name, name.replace(".", "/")) for name in rooms.ROOMS]
    arrows = re.findall(r"^  (\S+) --> (\S+)$", text.partition("<!-- end of rooms -->")[0], re.MULTILINE)
    assert {name for arrow in arrows for name in arrow} == set(rooms.ROOMS)
    shown = {name.partition(".")[0] for name in rooms.ROOMS}
    packages = {path.parent.name for path in (ROOT / "sealwire").glob("*/__init__.py")}
    assert packages == shown


# The data path of the architecture page is what a real find and its reply go through, in that order.


MOST_FILES = 28
"""So many files does a find pass through with its reply. Who makes them fewer lowers this."""

NUMBER = "943 476 5919"
FIND = command({"find": "patients", "filter": {"nhs_number": NUMBER}, "$db": "clinic"})
FOUND = reply(
    {
        "cursor": {
            "id": 0,
            "ns": "clinic.patients",
            "firstBatch": [{"_id": 1, "nhs_number": sealed("nhs", NUMBER)}],
        },
        "ok": 1.0,
    }
)


class Transport:
    """What the shell asks of a transport; it keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int) -> None:
        """Its buffer never fills."""

    def get_extra_info(self, name: str) -> object:
        """It is its own socket, and has no peer."""
        return self if name == "socket" else None

    def setsockopt(self, *_options: int) -> None:
        """The socket's options mean nothing here."""

    def pause_reading(self) -> None:
        """Nothing reads by itself."""

    def resume_reading(self) -> None:
        """As above."""

    def is_closing(self) -> bool:
        return False


class Server(Upstream):
    """A server that is reached at once."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.protocol: ServerProtocol

    def way_for(self, _names: tuple[str, ...], _issuer: str) -> UpstreamWay:
        return UpstreamWay(None)

    async def connect_for(self, events: Any, _failed: object, way: UpstreamWay | None = None) -> None:
        del way
        self.protocol = ServerProtocol(events)
        self.protocol.connection_made(cast(asyncio.BaseTransport, self.transport))


Step = tuple[str, str]


def traced(work: Callable[[], object]) -> list[Step]:
    """The functions of the product that `work` calls, as (path, function), in the order of their calls."""
    steps: list[Step] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(f"{ROOT}/") and "/tests/" not in path:
            inside = path.removeprefix(f"{ROOT}/").removeprefix("sealwire/")
            steps.append((inside, frame.f_code.co_qualname))

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return steps


def first_missing(named: list[Step], called: list[Step]) -> Step | None:
    """The first of `named` that is not called after those before it; None where all are, in order."""
    calls = iter(called)
    return next((step for step in named if step not in calls), None)


async def find_and_reply() -> tuple[list[Step], Transport, Transport]:
    """The calls that a find and its reply lead to, and both transports with what was written to them."""
    server, client = Server(), Transport()
    metrics = Metrics()
    services = Services(cast(Any, None), metrics, LogAudit(), Limits())
    route = Route(server, session, ServerReach("a:1"))
    protocol = ClientProtocol(lambda transport: Connection(services, route, transport))
    protocol.connection_made(cast(asyncio.BaseTransport, client))
    protocol.data_received(command({"ping": 1, "$db": "admin"}, 99))
    await asyncio.sleep(0)  # what is sent first opens the connection to the server, in a task
    called = traced(lambda: protocol.data_received(FIND))
    called += traced(lambda: server.protocol.data_received(FOUND))
    return called, client, server.transport


@pytest.mark.plain_core(reason="compiled functions are not seen by a profiler")
async def test_a_find_and_its_reply_take_the_path_of_the_architecture_page() -> None:
    called, client, server = await find_and_reply()
    assert server.written
    assert NUMBER.encode() not in server.written
    assert NUMBER.encode() in client.written
    named = data_path_steps(ARCHITECTURE.read_text(encoding="utf-8"))
    assert named[0] == called[0]
    assert first_missing(named, called) is None


@pytest.mark.plain_core(reason="compiled functions are not seen by a profiler")
async def test_the_architecture_page_names_every_file_that_a_find_and_its_reply_pass_through() -> None:
    called, _, _ = await find_and_reply()
    named = data_path_steps(ARCHITECTURE.read_text(encoding="utf-8"))
    files = {path for path, _ in called}
    assert {path for path, _ in named} == files
    assert len(files) <= MOST_FILES


@pytest.mark.plain_core(reason="compiled functions are not seen by a profiler")
async def test_another_order_and_a_function_that_is_not_called_are_noticed() -> None:
    called, _, _ = await find_and_reply()
    named = data_path_steps(ARCHITECTURE.read_text(encoding="utf-8"))
    assert first_missing(named[::-1], called) is not None
    gone = ("wire/framing.py", "Framer.feed")
    assert first_missing([*named[:3], gone, *named[3:]], called) == gone
