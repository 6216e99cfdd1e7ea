"""What the answers of several servers say together: who belongs to the deployment. Nothing is asked here.

The rules are those by which drivers follow a deployment: the primary with the newest election is believed in
all; without one, members are only added. A server of another set, or of another kind, is left out.
Source: Server Discovery and Monitoring (driver specifications), in words of its own.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Final

from sealwire.keys.errors import KeysError
from sealwire.keys.private_file import read_trusted, replace_private
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.seeds import address_of
from sealwire.proxy.server.config.settings import AccessControl, Discovery, Member
from sealwire.proxy.server.errors import (
    AccessProblem,
    FileProblem,
    ServerError,
    StartReason,
    UpstreamUnavailable,
)
from sealwire.proxy.server.findings import Finding, compare_access
from sealwire.proxy.server.probe import Hello

MAX_MEMBERS = 50
"""A replica set has no more, by MongoDB's rules. A server that names more is not believed in the rest."""


# Which port of the range stands for which member, over restarts and for every process that reads the
# file.
#
# A member keeps its port for as long as the file knows it, also while it is away. New members come in the
# order of their names and take the lowest free port: proxies that see the same members come, in whichever
# order they answer, give them the same ports.

_VERSION = 1
_MAX_BYTES = 65_536


# Which servers may be used: their certificates are accepted, and they ask for a login where they should.
#
# One that may not be used is left out until it answers as it should: no listener, no client is told of
# it, and nothing is sent there but the next question. It does not keep the others from being served. One
# that does not answer at all is another matter: it may be restarting, and what was known of it before
# still counts. One that has never answered is left out too, since anybody's address may have been named.

Answer = Hello | UpstreamUnavailable
"""What a server said, or why it said nothing."""


_SPEAKS_AGAINST: Final = (StartReason.UPSTREAM_TLS_VERIFY, StartReason.UPSTREAM_ITSELF)
"""Why there was no answer, if that says that the server may not be used."""


@dataclass(frozen=True, slots=True)
class UnfitMember:
    """A server that may not be used, and why. `reason` is that of the error."""

    member: Address
    reason: StartReason
    problem: str
    hint: str

    @property
    def finding(self) -> Finding:
        """What an operator is told."""
        fields = {"upstream": str(self.member), "reason": self.reason.value}
        return Finding("member is left out", self.problem, self.hint, fields)


def unfit_of(server: Address, answer: Answer, wanted: AccessControl) -> ServerError | None:
    """Why `server` may not be used, as its `answer` shows; `wanted` is what the configuration says of logins.

    Without an answer there is nothing that speaks against it: None.
    """
    if isinstance(answer, UpstreamUnavailable):
        return answer if answer.reason in _SPEAKS_AGAINST else None
    try:
        compare_access(wanted, [answer.access], f"server {server}")
    except AccessProblem as error:
        return error
    return None


def judged(
    before: Mapping[Address, ServerError], answers: Mapping[Address, Answer], wanted: AccessControl
) -> dict[Address, ServerError]:
    """Who may not be used after these answers, of those that were asked. Cost: O(answers)."""
    unfit: dict[Address, ServerError] = {}
    for server, answer in answers.items():
        error = unfit_of(server, answer, wanted)
        if error is None and _tells_nothing(before.get(server), answer, wanted):
            error = before[server]
        if error is not None:
            unfit[server] = error
    return unfit


def require_usable(
    members: Iterable[Address], answers: Mapping[Address, Answer], unfit: Mapping[Address, ServerError]
) -> None:
    """Where members may not be used, another one has to be there. Raises why the first of them may not."""
    known = tuple(members)
    errors = [unfit[member] for member in known if member in unfit]
    if errors and not any(isinstance(answers.get(member), Hello) and member not in unfit for member in known):
        raise errors[0]


def _tells_nothing(known: ServerError | None, answer: Answer, wanted: AccessControl) -> bool:
    """Whether the answer leaves open what was known against its server."""
    if known is None:
        return False
    if isinstance(answer, UpstreamUnavailable):
        return True
    # a certificate was accepted, or there would be no answer
    return isinstance(known, AccessProblem) and answer.access is None and wanted is AccessControl.REQUIRED


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


# Which listener stands for which member, and what clients are told of each: what a finder decides.


@dataclass(frozen=True, slots=True)
class PortLayout:
    """All members that have a listener, in the order of their ports, and those that have none, and why."""

    members: tuple[Member, ...]
    withheld: tuple[Address, ...] = ()
    """Members for which the range has no port: no client is told of them."""
    unfit: tuple[UnfitMember, ...] = ()
    """Members that may not be used: no client is told of them either."""
    names: Mapping[str, str] = field(init=False)
    """What clients are told, by the member's own name in lower case."""

    def __post_init__(self) -> None:
        names = {str(member.upstream).lower(): str(member.advertise) for member in self.members}
        object.__setattr__(self, "names", names)

    @property
    def left_out(self) -> tuple[Address, ...]:
        """Who is known and may not be used."""
        return tuple(each.member for each in self.unfit)

    @property
    def findings(self) -> list[Finding]:
        """What an operator should know of it."""
        found = [each.finding for each in self.unfit]
        if self.withheld:
            names = ", ".join(map(str, self.withheld))
            hint = "give listen.ports a longer range, and restart; until then no client is told of them"
            problem = f"listen.ports has no port for {names}"
            found.append(Finding("no port left for members", problem, hint, {"members": names}))
        return found


def layout_of(
    settings: Discovery, members: Iterable[Address], ports: PortMap, unfit: Iterable[UnfitMember] = ()
) -> PortLayout:
    """Listeners for `members` on their ports of `ports`, but for those that are `unfit`."""
    unfit = tuple(unfit)
    known = sorted(set(members).difference(each.member for each in unfit))
    placed = sorted((ports.ports[member], member) for member in known if member in ports.ports)
    return PortLayout(
        tuple(
            Member(Address(settings.listen, port), Address(settings.advertise, port), member)
            for port, member in placed
        ),
        tuple(member for member in known if member not in ports.ports),
        unfit,
    )


class ClusterKind(Enum):
    """What the servers are together."""

    STANDALONE = "standalone"
    REPLICA_SET = "replica set"
    SHARDED = "sharded"


@dataclass(frozen=True, slots=True)
class ClusterView:
    """Who belongs to it, sorted."""

    kind: ClusterKind
    members: tuple[Address, ...]
    set_name: str = ""
    election: tuple[bytes, int] = (b"", 0)
    """Election id and version of the set's configuration, of the primary that was believed last."""


def view_of(
    seeds: Sequence[Address], set_name: str, hellos: Mapping[Address, Hello], before: ClusterView | None
) -> ClusterView | None:
    """What is known with these answers, after what was known `before`; None: nothing yet.

    `seeds` are where one looks first, `set_name` is the set that is wanted; "": the first that is met.
    Cost: O(answers x members).
    """
    if before is None:
        return _first_view(seeds, set_name, hellos)
    match before.kind:
        case ClusterKind.STANDALONE:
            return _grown(before, hellos)
        case ClusterKind.SHARDED:
            return _sharded(seeds, hellos) or before
        case ClusterKind.REPLICA_SET:
            return _replica_set(before, hellos)


def _first_view(
    seeds: Sequence[Address], set_name: str, hellos: Mapping[Address, Hello]
) -> ClusterView | None:
    named = set_name or next((each.set_name for each in hellos.values() if each.set_name), "")
    if named:
        found = _replica_set(ClusterView(ClusterKind.REPLICA_SET, (), named), hellos)
        return found if found.members else None
    if any(each.is_mongos for each in hellos.values()):
        return _sharded(seeds, hellos)
    if len(seeds) == 1 and any(each.is_standalone for each in hellos.values()):
        return ClusterView(ClusterKind.STANDALONE, tuple(seeds))
    return None


def _grown(before: ClusterView, hellos: Mapping[Address, Hello]) -> ClusterView:
    """A standalone server that has become a set, if it is a member by the name that it has here.

    By another name it would lose the port that clients connect to: that is a matter for a restart.
    """
    (server,) = before.members
    hello = hellos.get(server)
    if hello is None or not hello.set_name:
        return before
    found = _replica_set(ClusterView(ClusterKind.REPLICA_SET, (), hello.set_name), hellos)
    return found if server in found.members else before


def _sharded(seeds: Sequence[Address], hellos: Mapping[Address, Hello]) -> ClusterView | None:
    """Every seed that is not known to be something else; one that is down may come back."""
    members = [seed for seed in seeds if seed not in hellos or hellos[seed].is_mongos]
    return ClusterView(ClusterKind.SHARDED, _ordered(members)) if members else None


def _replica_set(before: ClusterView, hellos: Mapping[Address, Hello]) -> ClusterView:
    ours = [each for each in hellos.values() if each.set_name == before.set_name]
    primaries = [each for each in ours if each.is_primary and _election(each) >= before.election]
    if primaries:
        primary = max(primaries, key=_election)
        # one that names nobody cannot mean that its set has no members
        return replace(before, members=_named(primary.members) or before.members, election=_election(primary))
    added = [name for each in ours for name in each.members]
    members = _ordered([*before.members, *_named(added)])
    return replace(before, members=members if len(members) <= MAX_MEMBERS else before.members)


def _election(hello: Hello) -> tuple[bytes, int]:
    return hello.election_id, hello.set_version


def _named(names: Iterable[str]) -> tuple[Address, ...]:
    """The names that are addresses; whoever has another one gets no listener."""
    found = [address for name in names if (address := address_of(name)) is not None]
    return _ordered(found)[:MAX_MEMBERS]


def _ordered(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Each once, as host names are the same in any case."""
    return tuple(sorted({Address(host.lower(), port) for host, port in addresses}))
