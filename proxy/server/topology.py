"""Which address stands for which: what the servers call themselves, and what clients are told instead.

A member that drivers would be told of without a listener here could be reached only around the proxy: they
would connect to it directly and read and write ciphertext and plaintext side by side. So the proxy does not
start.
"""

from collections.abc import Sequence

from sealwire.proxy.server.config.settings import Member
from sealwire.proxy.server.errors import StartReason, TopologyProblem
from sealwire.proxy.server.probe import Hello
from sealwire.proxy.session.login.handshake import Topology


def topologies(members: Sequence[Member], hellos: Sequence[Hello]) -> list[Topology]:
    """What the sessions of each member's listener tell drivers, in order. Raises TopologyProblem.

    One upstream and one host in its set are the same server, whatever that calls itself: a container names
    itself by its own host name, which need not be the one we connect to.
    """
    named = list(dict.fromkeys(name for hello in hellos for name in hello.members))
    if len(members) == 1 and len(named) <= 1:
        return [Topology(str(members[0].advertise))]
    # Host names are compared without case; the session looks up what the server says, as it says it.
    advertised = {str(member.upstream).lower(): str(member.advertise) for member in members}
    uncovered = [name for name in named if name.lower() not in advertised]
    if uncovered:
        raise TopologyProblem(
            StartReason.MEMBER_WITHOUT_LISTENER,
            f"no listener stands for the replica set members {', '.join(uncovered)}",
            "list every member under `members:`, by the name that rs.conf() gives it",
        )
    names = {str(member.upstream): str(member.advertise) for member in members}
    names |= {name: advertised[name.lower()] for name in named}
    return [Topology(str(member.advertise), names) for member in members]
