"""Which listener stands for which member, and what clients are told of each: what a finder decides."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sealwire.proxy.server.config.settings import Address, Discovery, Member
from sealwire.proxy.server.discovery.fitness import UnfitMember
from sealwire.proxy.server.discovery.port_map import PortMap
from sealwire.proxy.server.findings import Finding


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
