"""What DNS says of a `mongodb+srv://` name: hosts by SRV records, the set's name by a TXT record.

dnspython asks, which pymongo brings along. A host outside of the name's own domain is left out, as drivers
do: who can answer one query must not be able to send clients elsewhere.
Source: Initial DNS Seedlist Discovery, Polling SRV Records (driver specifications), in words of its own.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from sealwire.proxy.server.config.seeds import MAX_SEEDS, address_of
from sealwire.proxy.server.config.settings import Address, Seeds
from sealwire.proxy.server.errors import StartReason, UpstreamUnavailable

LOOK_UP_S: Final = 5.0
_SET_NAME: Final = re.compile(r"(?:^|&)replicaSet=([A-Za-z0-9._-]{1,128})(?:&|$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class SrvAnswer:
    """What the records say, as they say it."""

    hosts: tuple[tuple[str, int], ...]
    text: str = ""
    """The one TXT record; empty: there is none, or there are several."""


LookUp = Callable[[str, str], Awaitable[SrvAnswer]]
"""From the name of SRV records and the name of a TXT record. Raises UpstreamUnavailable."""


async def look_up(records: str, name: str) -> SrvAnswer:
    """Ask the system's resolvers. Raises UpstreamUnavailable UPSTREAM_UNRESOLVED."""
    # 4 MB of code, for those who use it
    import dns.asyncresolver  # noqa: PLC0415
    import dns.exception  # noqa: PLC0415
    import dns.resolver  # noqa: PLC0415

    try:
        found = await dns.asyncresolver.resolve(records, "SRV", lifetime=LOOK_UP_S)
    except (dns.exception.DNSException, OSError):
        raise _unresolved(name) from None
    hosts = tuple((each.target.to_text(omit_final_dot=True), int(each.port)) for each in found)
    try:
        texts = list(await dns.asyncresolver.resolve(name, "TXT", lifetime=LOOK_UP_S))
    except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
        texts = []
    except (dns.exception.DNSException, OSError):
        raise _unresolved(name) from None
    text = b"".join(texts[0].strings).decode("ascii", "replace") if len(texts) == 1 else ""
    return SrvAnswer(hosts, text)


async def resolve(seeds: Seeds, ask: LookUp) -> Seeds:
    """The same with the addresses that DNS gives now, sorted. Raises UpstreamUnavailable.

    Cost: two queries; none for a string that lists its hosts
    """
    if not seeds.srv_name:
        return seeds
    answer = await ask(f"_{seeds.srv_service}._tcp.{seeds.srv_name}", seeds.srv_name)
    inside = [host for host in answer.hosts if is_inside(host[0], seeds.srv_name)]
    found = [address_of(f"{host}:{port}") for host, port in inside]
    known = sorted({Address(each.host.lower(), each.port) for each in found if each is not None})
    if not known:
        raise _unresolved(seeds.srv_name)
    most = min(seeds.srv_most or MAX_SEEDS, MAX_SEEDS)
    said = _SET_NAME.search(answer.text)
    set_name = seeds.set_name or ("" if said is None else said[1])
    return replace(seeds, addresses=tuple(known[:most]), set_name=set_name)


def is_inside(host: str, name: str) -> bool:
    """Whether a host belongs to the domain of a name: what is behind its first label, if two are left of it.

    For a name of two labels, which has no domain of its own but a registry's, the host lies below it.
    """
    labels = name.lower().rstrip(".").split(".")
    domain = labels[1:] if len(labels) > 2 else labels
    return host.lower().rstrip(".").endswith("." + ".".join(domain))


def _unresolved(name: str) -> UpstreamUnavailable:
    return UpstreamUnavailable(
        StartReason.UPSTREAM_UNRESOLVED,
        f"mongodb+srv://{name}: DNS gives no server of that domain",
        "look at its SRV records: dig +short SRV _mongodb._tcp." + name,
    )
