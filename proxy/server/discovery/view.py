"""What the answers of several servers say together: who belongs to the deployment. Nothing is asked here.

The rules are those by which drivers follow a deployment: the primary with the newest election is believed in
all; without one, members are only added. A server of another set, or of another kind, is left out.
Source: Server Discovery and Monitoring (driver specifications), in words of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from sealwire.proxy.server.config.seeds import address_of
from sealwire.proxy.server.config.settings import Address, Discovery, Member
from sealwire.proxy.server.discovery.fitness import UnfitMember
from sealwire.proxy.server.discovery.port_map import PortMap
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.server.probe import Hello

MAX_MEMBERS = 50
"""A replica set has no more, by MongoDB's rules. A server that names more is not believed in the rest."""


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
