"""Which port of the range stands for which member, over restarts and for every process that reads the file.

A member keeps its port for as long as the file knows it, also while it is away. New members come in the order
of their names and take the lowest free port: proxies that see the same members come, in whichever order they
answer, give them the same ports.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sealwire.keys.errors import KeysError
from sealwire.keys.private_file import read_trusted, replace_private
from sealwire.proxy.server.config.seeds import address_of
from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.errors import FileProblem, StartReason

_VERSION = 1
_MAX_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class PortMap:
    """Ports by member, of those that are there and of those that were."""

    ports: Mapping[Address, int] = field(default_factory=dict)

    def with_members(self, members: Iterable[Address], usable: range) -> "PortMap":
        """Give each of `members` a port of `usable`, where there are enough of them.

        One whose range has changed gets another port. When none is left the ports of members that went are
        given away, the lowest first; a member for which there is none is not in the result.
        """
        wanted = sorted(set(members))
        ports = {member: port for member, port in self.ports.items() if port in usable}
        for member in wanted:
            if member in ports:
                continue
            free = next((port for port in usable if port not in ports.values()), None)
            if free is None:
                gone = sorted((port, each) for each, port in ports.items() if each not in wanted)
                if not gone:
                    break
                free, given_up = gone[0]
                del ports[given_up]
            ports[member] = free
        return PortMap(ports)

    def written(self) -> bytes:
        """As a file has it."""
        ports = {str(member): port for member, port in sorted(self.ports.items())}
        return json.dumps({"version": _VERSION, "ports": ports}, indent=1).encode() + b"\n"


def read_map(path: Path | None) -> PortMap:
    """What the file says; empty where there is none yet. Raises FileProblem."""
    if path is None or not _is_there(path):
        return PortMap()
    try:
        source = read_trusted(path, _MAX_BYTES)
    except KeysError as error:
        raise FileProblem(StartReason.FILE_FORBIDDEN, str(error), error.hint) from None
    ports: dict[Address, int] = {}
    try:
        document = json.loads(source)
        if document["version"] != _VERSION:
            raise ValueError
        for name, port in document["ports"].items():
            member = address_of(name)
            if member is None or not isinstance(port, int) or member in ports or port in ports.values():
                raise ValueError
            ports[member] = port
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FileProblem(
            StartReason.FILE_MISSING,
            f"{path}: this is no file of ports, or two members have the same one",
            "restore it, or remove it: members then get their ports anew, in the order of their names",
        ) from None
    return PortMap(ports)


def _is_there(path: Path) -> bool:
    """Raises FileProblem where that cannot be seen."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        problem = f"{path}: cannot be looked for: {os.strerror(error.errno or 0)}"
        hint = f"let user id {os.geteuid()} enter its folder, or correct listen.ports_file"
        raise FileProblem(StartReason.FILE_FORBIDDEN, problem, hint) from None
    return True


def require_writable(path: Path | None) -> None:
    """The file can be put in place, as far as its folder tells; nothing is written. Raises FileProblem."""
    if path is None:
        return
    folder = Path(os.path.realpath(path)).parent
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        problem = f"{path}: cannot be written: its folder is missing, or user id {os.geteuid()} may not"
        hint = f"let that user write in {folder}: each member's port is kept there over restarts"
        raise FileProblem(StartReason.FILE_UNWRITABLE, problem, hint)


def write_map(path: Path | None, ports: PortMap) -> None:
    """Put it in place, whole. Raises FileProblem."""
    if path is None:
        return
    try:
        replace_private(path, ports.written())
    except KeysError as error:
        raise FileProblem(StartReason.FILE_UNWRITABLE, str(error), error.hint) from None
