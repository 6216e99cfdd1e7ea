"""Finds the servers and follows them: from seeds and answers to layouts of listeners.

A round asks everyone who is known to belong to the deployment, and whoever an answer has just named. What
the answers change becomes a new view, and that a new layout. Ports are written down before anybody listens on
them, so a member never comes back on another port; where they cannot be written, the new member has no
listener yet.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, AI_PASSIVE, SOCK_DGRAM, SOCK_STREAM, gaierror, getaddrinfo, socket
from typing import Final

from sealwire.crypto.host_names import as_address
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.seeds import MAX_SEEDS, address_of
from sealwire.proxy.server.config.settings import AccessControl, Config, Discovery, Seeds
from sealwire.proxy.server.discovery.view import (
    Answer,
    ClusterKind,
    ClusterView,
    PortLayout,
    PortMap,
    UnfitMember,
    judged,
    layout_of,
    read_map,
    require_usable,
    require_writable,
    view_of,
    write_map,
)
from sealwire.proxy.server.errors import (
    FileProblem,
    ServerError,
    StartReason,
    TopologyProblem,
    UpstreamUnavailable,
)
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.server.probe import Hello, ProbeProtocol, ask_again, itself, open_probe
from sealwire.proxy.server.upstream import Upstream, ways_of

# How often DNS is asked about mongos servers; members of a set say themselves who they are. And how often a
# seed is looked for that has never answered.
RESOLVE_S: Final = 60.0

_NOBODY: Final = "look at the names in upstream.uri; servers that start for the first time are in no set yet"


# Servers that a seed names and that do not belong to the deployment, or are no longer what they were.

_ONE_KIND: Final = "name mongos servers or members of one replica set in upstream.uri, not both"
_RESTART: Final = "name it as rs.conf() does in upstream.uri, and restart: its set is followed from then on"


# ---------------------------------- which addresses that servers name may be members. Nothing is asked here
#
# A server says who else belongs to it, and each gets a listener: so a wrong name, or a server that lies,
# could lead clients to this machine's own services, or to the proxy itself.

_LOCAL: Final = "localhost"
_EVENT: Final = "named server is no member"


def refused(server: Address, settings: Discovery, seeds: Iterable[Address]) -> Finding | None:
    """Why a server that others name may be no member; None: it may. What is a seed always may.

    Cost: O(seeds + domains).
    """
    known = {Address(host.lower(), port) for host, port in seeds}
    host = server.host.lower()
    fields = {"upstream": str(server)}
    if Address(host, server.port) in known:
        return None
    if _is_here(host) and not any(_is_here(each.host) for each in known):
        problem = f"server {server} is named, and is another machine for everybody who reads that"
        hint = "name it in rs.conf() by a name that all machines know, or in upstream.uri"
        return Finding(_EVENT, problem, hint, fields)
    domains = settings.domains
    if domains and not any(host == domain or host.endswith("." + domain) for domain in domains):
        problem = f"server {server} is named, and is in none of upstream.domains"
        return Finding(_EVENT, problem, "add its domain there, or find out who added the server", fields)
    return None


def is_own(peer: Address, config: Config) -> bool:
    """Whether the numeric address of a connection is one where this proxy listens itself.

    Cost: a look-up of the listening host where that is a name.
    """
    found = config.discovery
    listening = [member.listen for member in config.members] + [config.admin]
    if found is not None:
        listening += [Address(found.listen, port) for port in found.ports if port == peer.port]
    return any(each.port == peer.port and _stands_for(each, peer.host) for each in listening)


def _is_here(host: str) -> bool:
    """Whether a host means whichever machine reads it."""
    numeric = as_address(host)
    if numeric is None:
        return host == _LOCAL or host.endswith("." + _LOCAL)
    numeric = getattr(numeric, "ipv4_mapped", None) or numeric
    return numeric.is_loopback or numeric.is_link_local or numeric.is_unspecified


def _stands_for(listening: Address, host: str) -> bool:
    """Whether a connection to `host` on this port ends at `listening`."""
    try:
        found = getaddrinfo(*listening, type=SOCK_STREAM, flags=AI_PASSIVE)
    except (gaierror, UnicodeError):
        return False
    hosts = {str(where[0]) for *_, where in found}
    if any(ip_address(each.partition("%")[0]).is_unspecified for each in hosts):
        return _is_of_this_machine(host)
    return host in hosts


def _is_of_this_machine(host: str) -> bool:
    """Whether an interface has this address: only then it can be bound."""
    with socket(AF_INET6 if ":" in host else AF_INET, SOCK_DGRAM) as trial:
        try:
            trial.bind((host, 0))
        except OSError:
            return False
        return True


# ------------------ asks servers whether they are there and who they are, each on a connection that is kept

# One that is frozen must not keep the others from being heard for long. The first time there is as much as
# `limits.connect_s`, as for every connection.
ANSWER_S = 3.0


class Watch:
    """One connection to each server that was asked last. For one event loop."""

    def __init__(self, config: Config, context: ssl.SSLContext | None) -> None:
        self._config = config
        self._context = context
        self._longest_s = config.limits.connect_s
        self._probes: dict[Address, ProbeProtocol] = {}

    @property
    def wanted(self) -> AccessControl:
        """What the configuration says of logins."""
        return self._config.access_control

    def use(self, config: Config, context: ssl.SSLContext | None) -> None:
        """Connect in this way from now on."""
        self._config = config
        self._context = context
        self.close()

    def hurry(self) -> None:
        """Wait for no answer longer than ANSWER_S from now on."""
        self._longest_s = ANSWER_S

    async def ask(self, servers: Iterable[Address]) -> dict[Address, Answer]:
        """Ask all of them at once; an answer of each, or why there is none. Raises nothing.

        Connections to other servers are closed. Cost: the longest wait twice, for one that is frozen
        """
        asked = tuple(dict.fromkeys(servers))
        for server in [each for each in self._probes if each not in asked]:
            self._probes.pop(server).close()
        answers = await asyncio.gather(*map(self._ask_one, asked), return_exceptions=True)
        said: dict[Address, Answer] = {}
        for server, answer in zip(asked, answers, strict=True):
            if not isinstance(answer, Hello | UpstreamUnavailable):
                raise answer
            said[server] = answer
        return said

    async def _ask_one(self, server: Address) -> Hello:
        config = self._config
        longest_s = min(self._longest_s, config.limits.connect_s)
        limits = replace(config.limits, connect_s=longest_s)
        upstream = Upstream(server, replace(ways_of(config, self._context), limits=limits))
        kept = self._probes.get(server)
        if kept is not None and not kept.is_closing:
            try:
                return await ask_again(kept, upstream, limits)
            except UpstreamUnavailable:
                kept.close()  # it may have been restarted: one more chance, on a new connection
        self._probes.pop(server, None)
        probe = await open_probe(upstream)
        try:
            if is_own(probe.peer, config):
                raise itself(server)
            hello = await ask_again(probe, upstream, limits)
        except BaseException:
            probe.close()
            raise
        if self._config is config:
            self._probes[server] = probe
        else:
            probe.close()  # a reload came meanwhile, and one connects in another way now
        return hello

    def close(self) -> None:
        """Close all connections; a later question opens them anew."""
        for probe in self._probes.values():
            probe.close()
        self._probes.clear()


# What DNS says of a `mongodb+srv://` name: hosts by SRV records, the set's name by a TXT record.
#
# dnspython asks, which pymongo brings along. A host outside of the name's own domain is left out, as
# drivers do: who can answer one query must not be able to send clients elsewhere. Source: Initial DNS
# Seedlist Discovery, Polling SRV Records (driver specifications), in words of its own.

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


def require_one_kind(hellos: Mapping[Address, Hello]) -> None:
    """Seeds are mongos servers or members of a set. Raises TopologyProblem where they are mixed."""
    routers = [server for server, hello in hellos.items() if hello.is_mongos]
    members = [server for server, hello in hellos.items() if hello.set_name]
    if routers and members:
        raise TopologyProblem(
            StartReason.UPSTREAM_MIXED,
            f"server {routers[0]} is a mongos, and server {members[0]} a member of a replica set",
            _ONE_KIND,
        )


def foreign_finding(server: Address, hello: Hello, view: ClusterView) -> Finding | None:
    """What is wrong with an answer of a seed for a deployment as `view` has it; None: nothing."""
    match view.kind:
        case ClusterKind.SHARDED if hello.is_mongos:
            return None
        case ClusterKind.SHARDED:
            problem = f"server {server} is no mongos, as the others are: it has no listener"
        case ClusterKind.STANDALONE if hello.set_name:
            problem = (
                f"server {server} was a standalone one, and is a member of a replica set by another name"
            )
            return Finding("server has joined a replica set", problem, _RESTART, {"upstream": str(server)})
        case ClusterKind.REPLICA_SET if hello.is_mongos:
            problem = f"server {server} is a mongos, and the others are members of a replica set"
        case ClusterKind.REPLICA_SET if hello.set_name not in ("", view.set_name):
            problem = f"server {server} is a member of another replica set: it has no listener"
        case _:
            return None
    return Finding("server does not belong to the others", problem, _ONE_KIND, {"upstream": str(server)})


class MemberFinder:
    """One for each set of listeners. For one event loop."""

    def __init__(
        self,
        settings: Discovery,
        watch: Watch,
        ask_dns: LookUp = look_up,
        clock: Callable[[], float] = time.monotonic,
        *,
        keeps_ports: bool = True,
    ) -> None:
        """Without `keeps_ports` the file of ports is read, and never written."""
        self._settings = settings
        self._watch = watch
        self._ask_dns = ask_dns
        self._clock = clock
        self._keeps_ports = keeps_ports
        self._seeds: Seeds = settings.seeds
        self._resolved_at = -RESOLVE_S
        self._looked_at = clock()
        """When seeds that are silent were looked for."""
        self._silent: set[Address] = set()
        self._view: ClusterView | None = None
        self._ports = PortMap()
        self._unfit: dict[Address, ServerError] = {}
        self._heard: set[Address] = set()
        """Members that have answered."""
        self._silences: dict[Address, UpstreamUnavailable] = {}
        """Why those that never have did not the last time."""
        self._refused: dict[str, Finding] = {}
        """Whom servers have named last, and who may be no member."""
        self._foreign: dict[Address, Finding] = {}
        self._troubles: dict[str, Finding] = {}
        """What else went wrong in the last round, by event."""
        self.layout = PortLayout(())
        """What the last round found."""
        self.unanswered: tuple[Address, ...] = ()
        """Who was asked last and has not answered."""

    @property
    def members(self) -> tuple[Address, ...]:
        """Who belongs to the deployment, with a listener or without."""
        return () if self._view is None else self._view.members

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What an operator should know of the last round."""
        others = (*self._refused.values(), *self._foreign.values(), *self._troubles.values())
        return (*self.layout.findings, *others)

    @property
    def is_lacking(self) -> bool:
        """Whether servers go on to name somebody who has no listener, and is known."""
        layout = self.layout
        return bool(layout.withheld or layout.unfit or self._refused or self._troubles)

    async def first(self) -> PortLayout:
        """Look for the servers. Raises UpstreamUnavailable, TopologyProblem, AccessProblem, FileProblem."""
        self._ports = read_map(self._settings.ports_file)
        require_writable(self._settings.ports_file)
        await self._resolve()
        self._silent = set(self._seeds.addresses)
        answers = await self._ask()
        require_one_kind(_hellos(answers))
        if self._view is None:
            raise self._nobody(answers)
        require_usable(self._view.members, answers, self._unfit)
        self._keep(self._given(self._view))
        self.layout = self._laid_out(self._view)
        return self.layout

    async def round(self) -> bool:
        """Ask once more; whether there is another layout now. Raises nothing."""
        self._troubles.clear()
        if self._clock() - self._resolved_at >= RESOLVE_S and not self._is_set:
            await self._resolve_again()
        if not _hellos(await self._ask()) and self._is_set:
            await self._resolve_again()
        if self._view is None:
            return False
        try:
            self._keep(self._given(self._view))
        except FileProblem as error:
            self._trouble("ports of members cannot be kept", error)
        layout = self._laid_out(self._view)
        is_new, self.layout = layout != self.layout, layout
        return is_new

    @property
    def _is_set(self) -> bool:
        return self._view is not None and self._view.kind is ClusterKind.REPLICA_SET

    async def _ask(self) -> dict[Address, Answer]:
        """Who answers what: those that are known, and those that were just named."""
        answers = await self._ask_known()
        hellos = self._admitted(_hellos(answers))
        self._view = view = view_of(self._seeds.addresses, self._seeds.set_name, hellos, self._view)
        if view is not None:
            self._judge_seeds(view, hellos)
            self._watch.hurry()
            if not answers.keys() >= set(view.members):
                # nobody is told of a member before it was asked; what it says of others is for the next round
                answers |= await self._watch.ask(view.members)
        self._unfit = judged(self._unfit, answers, self._watch.wanted)
        self._note_heard(answers)
        self.unanswered = tuple(each for each, answer in answers.items() if not isinstance(answer, Hello))
        return answers

    def _admitted(self, hellos: Mapping[Address, Hello]) -> dict[Address, Hello]:
        """The answers without the names of servers that may be no members."""
        named = {name for hello in hellos.values() for name in hello.members}
        seeds = self._seeds.addresses
        found = {
            name: finding
            for name in sorted(named)
            if (server := address_of(name)) is not None
            and (finding := refused(server, self._settings, seeds)) is not None
        }
        if hellos:
            self._refused = dict(sorted(found.items()))
        kept = {
            server: replace(hello, members=tuple(name for name in hello.members if name not in found))
            for server, hello in hellos.items()
        }
        return kept if found else dict(hellos)

    def _note_heard(self, answers: Mapping[Address, Answer]) -> None:
        members = () if self._view is None else self._view.members
        self._heard = self._heard.union(_hellos(answers)).intersection(members)
        for server, answer in answers.items():
            if isinstance(answer, UpstreamUnavailable):
                self._silences[server] = answer
        silent = set(members) - self._heard
        self._silences = {server: why for server, why in self._silences.items() if server in silent}

    async def _ask_known(self) -> dict[Address, Answer]:
        # of mongos servers all seeds are asked: what is found to be something else has to stay known as that
        seeds = self._seeds.addresses
        members = self._view.members if self._view is not None and self._is_set else ()
        if not members:
            return await self._watch.ask(seeds)
        answers = await self._watch.ask(dict.fromkeys((*members, *self._silent_seeds())))
        if not _hellos(answers):
            # all have gone from where they were: seeds may know where to
            answers = await self._watch.ask(dict.fromkeys((*members, *seeds)))
        return answers

    def _silent_seeds(self) -> tuple[Address, ...]:
        """Seeds of a set that have never answered, now and then: they may not belong to it."""
        if self._clock() - self._looked_at < RESOLVE_S:
            return ()
        self._looked_at = self._clock()
        return tuple(each for each in self._seeds.addresses if each in self._silent)

    def _judge_seeds(self, view: ClusterView, hellos: Mapping[Address, Hello]) -> None:
        seeds = set(self._seeds.addresses)
        self._silent.difference_update(hellos)
        self._foreign = {server: found for server, found in self._foreign.items() if server in seeds}
        for server in seeds.intersection(hellos):
            self._foreign.pop(server, None)
            if (found := foreign_finding(server, hellos[server], view)) is not None:
                self._foreign[server] = found

    def _nobody(self, answers: Mapping[Address, Answer]) -> ServerError:
        """Why there is no deployment."""
        if down := [answer for answer in answers.values() if isinstance(answer, UpstreamUnavailable)]:
            return down[-1]
        if self._refused:
            finding = next(iter(self._refused.values()))
            return TopologyProblem(StartReason.UPSTREAM_OTHER_SET, finding.problem, finding.hint)
        name = self._seeds.set_name
        wanted = f"replica set {name}" if name else "replica set or mongos"
        return TopologyProblem(
            StartReason.UPSTREAM_OTHER_SET, f"{self._seeds}: none answers as a {wanted}", _NOBODY
        )

    async def _resolve(self) -> None:
        self._resolved_at = self._clock()
        self._seeds = await resolve(self._settings.seeds, self._ask_dns)

    async def _resolve_again(self) -> None:
        try:
            await self._resolve()
        except UpstreamUnavailable as error:
            # who is known stays known
            self._trouble("names of servers not found", error)

    def _trouble(self, event: str, error: ServerError) -> None:
        self._troubles[event] = Finding(event, str(error), error.hint, {"reason": error.reason.value})

    def _given(self, view: ClusterView) -> PortMap:
        return self._ports.with_members(view.members, self._settings.ports)

    def _keep(self, ports: PortMap) -> None:
        """Raises FileProblem; the ports are not given then."""
        if ports != self._ports:
            if self._keeps_ports:
                write_map(self._settings.ports_file, ports)
            self._ports = ports

    def _laid_out(self, view: ClusterView) -> PortLayout:
        unfit = [
            UnfitMember(member, error.reason, str(error), error.hint)
            for member in view.members
            if (error := self._unfit.get(member) or self._silences.get(member)) is not None
        ]
        # a port that could not be written down is not given, and that is said: the range has it nevertheless
        unwritten = self._given(view).ports.keys() - self._ports.ports.keys()
        placed = [member for member in view.members if member not in unwritten]
        return layout_of(self._settings, placed, self._ports, unfit)


def _hellos(answers: Mapping[Address, Answer]) -> dict[Address, Hello]:
    """The answers of those that are there."""
    return {server: answer for server, answer in answers.items() if isinstance(answer, Hello)}
