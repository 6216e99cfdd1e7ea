"""Finds the servers and follows them: from seeds and answers to layouts of listeners.

A round asks everyone who is known to belong to the deployment, and whoever an answer has just named. What
the answers change becomes a new view, and that a new layout. Ports are written down before anybody listens on
them, so a member never comes back on another port; where they cannot be written, the new member has no
listener yet.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from sealwire.proxy.server.config.seeds import address_of
from sealwire.proxy.server.config.settings import Address, Discovery, Seeds
from sealwire.proxy.server.discovery.admission import refused
from sealwire.proxy.server.discovery.fitness import Answer, UnfitMember, judged, require_usable
from sealwire.proxy.server.discovery.port_map import PortMap, read_map, require_writable, write_map
from sealwire.proxy.server.discovery.srv import LookUp, look_up, resolve
from sealwire.proxy.server.discovery.view import ClusterKind, ClusterView, PortLayout, layout_of, view_of
from sealwire.proxy.server.discovery.watch import Watch
from sealwire.proxy.server.errors import (
    FileProblem,
    ServerError,
    StartReason,
    TopologyProblem,
    UpstreamUnavailable,
)
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.server.probe import Hello

# How often DNS is asked about mongos servers; members of a set say themselves who they are. And how often a
# seed is looked for that has never answered.
RESOLVE_S: Final = 60.0

_NOBODY: Final = "look at the names in upstream.uri; servers that start for the first time are in no set yet"


# Servers that a seed names and that do not belong to the deployment, or are no longer what they were.

_ONE_KIND: Final = "name mongos servers or members of one replica set in upstream.uri, not both"
_RESTART: Final = "name it as rs.conf() does in upstream.uri, and restart: its set is followed from then on"


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
