"""Which listener stands for which member, and what clients are told of each: what a finder decides."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sealwire.proxy.server.config.settings import Address, Discovery, Member
from sealwire.proxy.server.discovery.port_map import PortMap


@dataclass(frozen=True, slots=True)
class PortLayout:
    """All members that have a listener, in the order of their ports, and those that have none."""

    members: tuple[Member, ...]
    withheld: tuple[Address, ...] = ()
    """Members for which the range has no port: no client is told of them."""
    names: Mapping[str, str] = field(init=False)
    """What clients are told, by the member's own name in lower case."""

    def __post_init__(self) -> None:
        names = {str(member.upstream).lower(): str(member.advertise) for member in self.members}
        object.__setattr__(self, "names", names)


def layout_of(settings: Discovery, members: Iterable[Address], ports: PortMap) -> PortLayout:
    """Listeners for `members` on their ports of `ports`."""
    known = sorted(set(members))
    placed = sorted((ports.ports[member], member) for member in known if member in ports.ports)
    return PortLayout(
        tuple(
            Member(Address(settings.listen, port), Address(settings.advertise, port), member)
            for port, member in placed
        ),
        tuple(member for member in known if member not in ports.ports),
    )
