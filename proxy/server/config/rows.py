"""Rows of the configuration: their form, how they read a section, and those of the section `admin`.

`settings` has all rows. `healthcheck`, which the image runs every 15 seconds, reads those of `admin` alone,
and starts in half the time. Therefore nothing is imported here that only other rows need.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple

from sealwire.files.errors import Complaints
from sealwire.files.yaml_source import Node, parse_yaml
from sealwire.proxy.server.errors import read_named_file

_MANUAL: Final = "docs/configuration.md"


class Address(NamedTuple):
    """A TCP address; `str` gives `host:port` as MongoDB writes it, with brackets around IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


ToPath = Callable[[Node], Path]
"""Makes the path in a node absolute."""


@dataclass(frozen=True, slots=True)
class Value:
    """A type of values: how one is read, and how the reference describes it."""

    shown: str
    read: Callable[[Node, ToPath], Any] | None = None
    """Without it the reader of the section judges the value, together with others."""
    is_text: bool = True
    """Whether an environment variable is the text itself; else it is read as YAML."""


def whole(low: int, high: int) -> Value:
    return Value(f"{low} to {high}", lambda node, _: node.integer(low, high), is_text=False)


def number(low: float, high: float, unit: str = "seconds") -> Value:
    return Value(f"{low:g} to {high:.0f} {unit}", lambda node, _: node.number(low, high), is_text=False)


def choice(choices: Mapping[str, object]) -> Value:
    shown = ", ".join(f"`{word}`" for word in choices)
    return Value(shown, lambda node, _: choices[node.choice(list(choices))])


def member_of(kind: type[Enum]) -> Value:
    return choice({member.value: member for member in kind})


def read_address(node: Node) -> Address:
    """`host:port` or `[IPv6]:port`. Raises SourceError."""
    host, colon, port = node.text().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise node.error("an IPv6 address needs brackets", 'write "[::1]:27018"')
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or not host:
        raise node.error("expected an address", 'write "host:port", for example "127.0.0.1:27018"')
    return Address(host, int(port))


def _host_name(node: Node, _: ToPath) -> str:
    name = node.text()
    if _HOST_NAME.fullmatch(name) is None:
        raise node.error("no host name", "write the name in the browser's address, without a port")
    return name.lower()


_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)

ADDRESS = Value("`host:port`", lambda node, _: read_address(node))
TEXT = Value("text", lambda node, _: node.text())
NAME = replace(TEXT, shown="name")
PATH = Value("path", lambda node, path: path(node))
FLAG = Value("boolean", lambda node, _: node.boolean(), is_text=False)
SEVERAL = Value("")
"""Read by its section, and described by the page: what it may be depends on other settings."""


class Setting(NamedTuple):
    """One key of the configuration."""

    name: str
    value: Value
    default: object = None
    """If this is None there is no default, or the page says on what it depends."""
    field: str = ""
    """The field of `Config` that holds the value as it is read; empty: the reader of the section makes it."""
    restart: str = ""
    """The name in the warning that a change needs a restart; empty: a reload is enough."""
    has_variable: bool = True
    """Whether an environment variable overrides it."""

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return "SEALWIRE_" + self.name.replace(".", "_").upper()


Rows = Mapping[str, Setting]

ADMIN_ADDRESS: Final = Address("127.0.0.1", 9464)
ADMIN_ROWS: Final[Rows] = {
    row.name: row
    for row in (
        Setting("admin.address", ADDRESS, ADMIN_ADDRESS, "admin", "admin.address"),
        Setting("admin.tls.certificate", PATH, restart="admin.tls"),
        Setting("admin.tls.key", PATH, restart="admin.tls"),
        Setting("admin.tls.client_ca", PATH, restart="admin.tls"),
        Setting("admin.page.token_file", PATH, restart="admin.page"),
        Setting("admin.page.watch", PATH, restart="admin.page"),
        Setting("admin.page.name", Value("host name", _host_name), restart="admin.page"),
    )
}


def parse_overridden(source: bytes, path: Path, environ: Mapping[str, str], rows: Rows) -> Node:
    """The document in `source`, with what `environ` says of the keys of `rows`. Raises SourceError."""
    root = parse_yaml(source, str(path), _MANUAL)
    for setting in rows.values():
        # An empty variable is an unset one: compose files write `${NAME:-}`.
        if setting.has_variable and (text := environ.get(setting.variable)):
            root = _overlaid(root, tuple(setting.name.split(".")), _override(setting, text))
    return root


def _override(setting: Setting, text: str) -> Node:
    if setting.value.is_text:
        return Node(setting.variable, 1, 1, text)
    return parse_yaml(text.encode(), setting.variable, _MANUAL)


def _overlaid(node: Node, path: tuple[str, ...], leaf: Node) -> Node:
    if not path:
        return leaf
    entries = dict(node.mapping())
    below = entries.get(path[0], Node(leaf.filename, leaf.line, leaf.column, {}))
    entries[path[0]] = _overlaid(below, path[1:], leaf)
    return Node(node.filename, node.line, node.column, entries)


@dataclass(frozen=True, slots=True)
class Section:
    """One section: what stands at each of its keys, and the values of those that could be read."""

    name: str
    nodes: Mapping[str, Node]
    values: Mapping[str, Any]


def read_rows(
    rows: Rows, node: Node, name: str, path: ToPath, complaints: Complaints, required: Collection[str] = ()
) -> Section:
    """The section `name`, whose keys are those of `rows` below it; the whole file, if the name is empty.

    Errors of single keys are kept in `complaints`. Raises SourceError if the section is no mapping.
    """
    above = f"{name}." if name else ""
    known = dict.fromkeys(row.removeprefix(above).partition(".")[0] for row in rows if row.startswith(above))
    nodes = node.entries(required, [key for key in known if key not in required], complaints)
    values: dict[str, Any] = {}
    for key, each in nodes.items():
        row = rows.get(f"{above}{key}")
        if row is not None and row.value.read is not None:
            with complaints.gathered():
                values[key] = row.value.read(each, path)
    return Section(name, nodes, values)


def admin_tls_part(node: Node, path: ToPath) -> Section:
    """The section `admin.tls`. Raises SourceError."""
    complaints = Complaints()
    part = read_rows(ADMIN_ROWS, node, "admin.tls", path, complaints, required=("certificate",))
    complaints.check()
    return part


def to_path(folder: Path) -> ToPath:
    """A function that makes relative paths start at `folder`."""
    return lambda node: folder / Path(node.text()).expanduser()


class AdminDoor(NamedTuple):
    """Where a running proxy is asked, and the certificate that it shows there; None: without TLS."""

    address: Address
    certificate: Path | None


def load_admin_door(path: Path, environ: Mapping[str, str]) -> AdminDoor:
    """Read it from the file at `path` and the overrides in `environ`; other sections are not looked at.

    Raises SourceError, FileProblem, PermissionProblem.
    """
    source = read_named_file(path, "the configuration")
    root = parse_overridden(source, path, environ, ADMIN_ROWS).mapping()
    if "admin" not in root:
        return AdminDoor(ADMIN_ADDRESS, None)
    resolve, complaints = to_path(path.absolute().parent), Complaints()
    admin = read_rows(ADMIN_ROWS, root["admin"], "admin", resolve, complaints)
    complaints.check()
    tls = admin_tls_part(admin.nodes["tls"], resolve).values if "tls" in admin.nodes else {}
    return AdminDoor(admin.values.get("address", ADMIN_ADDRESS), tls.get("certificate"))
