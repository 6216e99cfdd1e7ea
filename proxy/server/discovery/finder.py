"""Finds the servers and follows them: from seeds and answers to layouts of listeners.

A round asks everyone who is known to belong to the deployment. What the answers change becomes a new view,
and that a new layout. Ports are written down before anybody listens on them, so a member never comes back on
another port; where they cannot be written, the layout stays and the new member has no listener yet.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from sealwire.proxy.server.config.settings import Discovery, Seeds
from sealwire.proxy.server.discovery.layout import PortLayout, layout_of
from sealwire.proxy.server.discovery.port_map import PortMap, read_map, write_map
from sealwire.proxy.server.discovery.srv import LookUp, look_up, resolve
from sealwire.proxy.server.discovery.view import ClusterKind, ClusterView, view_of
from sealwire.proxy.server.discovery.watch import Watch
from sealwire.proxy.server.errors import FileProblem, StartReason, TopologyProblem, UpstreamUnavailable
from sealwire.proxy.server.observability.logs import note

_log = logging.getLogger("sealwire.server")

# How often DNS is asked about mongos servers; members of a set say themselves who they are.
RESOLVE_S: Final = 60.0

_NOBODY: Final = "look at the names in upstream.uri; servers that start for the first time are in no set yet"


class MemberFinder:
    """One for each set of listeners. For one event loop."""

    def __init__(
        self,
        settings: Discovery,
        watch: Watch,
        ask_dns: LookUp = look_up,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._ask_dns = ask_dns
        self._clock = clock
        self._seeds: Seeds = settings.seeds
        self._resolved_at = -RESOLVE_S
        self._view: ClusterView | None = None
        self._ports = PortMap()
        self.layout = PortLayout(())
        """What the last round found."""

    async def first(self) -> PortLayout:
        """Look for the servers. Raises UpstreamUnavailable, TopologyProblem, FileProblem."""
        self._ports = read_map(self._settings.ports_file)
        await self._resolve()
        await self._ask()
        if self._view is None and self._watch.last_error is not None:
            raise self._watch.last_error
        if self._view is None:
            wanted = (
                f"replica set {self._seeds.set_name}" if self._seeds.set_name else "replica set or mongos"
            )
            raise TopologyProblem(
                StartReason.UPSTREAM_OTHER_SET, f"{self._seeds}: none answers as a {wanted}", _NOBODY
            )
        self.layout = self._placed(self._view)
        self._watch.hurry()
        return self.layout

    async def round(self) -> bool:
        """Ask once more; whether there is another layout now. Raises nothing."""
        if self._clock() - self._resolved_at >= RESOLVE_S and not self._is_set:
            await self._resolve_again()
        if not await self._ask() and self._is_set:
            await self._resolve_again()
        if self._view is None:
            return False
        try:
            layout = self._placed(self._view)
        except FileProblem as error:
            note(_log, logging.ERROR, "ports of members cannot be kept", problem=str(error), hint=error.hint)
            return False
        is_new, self.layout = layout != self.layout, layout
        return is_new

    @property
    def _is_set(self) -> bool:
        return self._view is not None and self._view.kind is ClusterKind.REPLICA_SET

    async def _ask(self) -> int:
        """How many answered."""
        # of mongos servers all seeds are asked: what is found to be something else has to stay known as that
        members = self._view.members if self._view is not None and self._is_set else ()
        hellos = await self._watch.ask(members or self._seeds.addresses)
        if not hellos and members:
            # all have gone from where they were: seeds may know where to
            hellos = await self._watch.ask(dict.fromkeys((*members, *self._seeds.addresses)))
        self._view = view_of(self._seeds.addresses, self._seeds.set_name, hellos, self._view)
        return len(hellos)

    async def _resolve(self) -> None:
        self._resolved_at = self._clock()
        self._seeds = await resolve(self._settings.seeds, self._ask_dns)

    async def _resolve_again(self) -> None:
        try:
            await self._resolve()
        except UpstreamUnavailable as error:
            # who is known stays known
            note(_log, logging.WARNING, "names of servers not found", problem=str(error), hint=error.hint)

    def _placed(self, view: ClusterView) -> PortLayout:
        """Raises FileProblem."""
        ports = self._ports.with_members(view.members, self._settings.ports)
        if ports != self._ports:
            write_map(self._settings.ports_file, ports)
            self._ports = ports
        layout = layout_of(self._settings, view.members, ports)
        if layout.withheld and layout.withheld != self.layout.withheld:
            names = ", ".join(map(str, layout.withheld))
            hint = "give listen.ports a longer range, and restart; until then no client is told of them"
            note(_log, logging.ERROR, "no port left for members", members=names, hint=hint)
        return layout
