"""Follows the servers for one process that has listeners, or reserves their ports for others."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import replace

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config, Discovery
from sealwire.proxy.server.discovery.finder import LookUp, MemberFinder, Watch, look_up
from sealwire.proxy.server.discovery.view import PortLayout, judged, require_usable
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.tasks import within

_log = logging.getLogger("sealwire.server")

# However often somebody asks for a round: a client that is told of a stranger again and again must not make
# the servers work.
LEAST_PAUSE_S = 0.5

# As long as somebody is left out, every answer that names him wakes: those who come are then found later.
LACKING_PAUSE_S = 10.0

Follow = Callable[[PortLayout], bool]
"""Have listeners as a layout says; whether all of them stand."""

Doubt = Callable[[tuple[Address, ...]], None]
"""These have not answered: they may be down, or frozen."""


class UpstreamMonitor:
    """Begins with `first`, then `run` as a task. For one event loop."""

    def __init__(
        self,
        config: Config,
        settings: Discovery,
        context: ssl.SSLContext | None,
        woken: asyncio.Event,
        ask_dns: LookUp = look_up,
    ) -> None:
        """Who sets `woken` has a round at once: a server has named somebody who has no listener."""
        self._heartbeat_s = settings.heartbeat_s
        self._watch = Watch(config, context)
        self._woken = woken
        self._finder = MemberFinder(settings, self._watch, ask_dns)
        self._is_owed = False
        """Whether a member of the last layout has no listener yet: its port may come free."""
        self._told: tuple[Finding, ...] = ()
        """What has been logged, and still holds."""

    async def first(self) -> PortLayout:
        """Who has to have listeners. Raises as `MemberFinder.first`."""
        layout = await self._finder.first()
        self._tell()
        return layout

    async def require_usable(self, config: Config, context: ssl.SSLContext | None) -> None:
        """Ask in the way of a reload, before that counts: with it not all listeners may close.

        Raises UpstreamUnavailable or AccessProblem where members may not be used then, and no other answers.
        Cost: ANSWER_S twice at most
        """
        members, watch = self._finder.members, Watch(config, context)
        watch.hurry()
        try:
            answers = await watch.ask(members)
        finally:
            watch.close()
        require_usable(members, answers, judged({}, answers, config.access_control))

    def use(self, config: Config, context: ssl.SSLContext | None) -> None:
        """A reload: connect in this way from now on."""
        self._watch.use(config, context)

    async def run(self, changed: Follow, doubt: Doubt) -> None:
        """Ask every `upstream.heartbeat_s`, forever; tell `changed` of every other layout.

        `doubt` is told after each round of those that have not answered, where there are any.

        The first round is at once, for whoever the first answers have named.
        """
        self._woken.set()
        try:
            while True:
                await within(self._woken.wait(), self._heartbeat_s)
                self._woken.clear()
                await self._round(changed, doubt)
                await asyncio.sleep(self._pause_s)
        finally:
            self.close()

    @property
    def _pause_s(self) -> float:
        if not self._finder.is_lacking:
            return LEAST_PAUSE_S
        return max(LEAST_PAUSE_S, min(self._heartbeat_s, LACKING_PAUSE_S))

    async def _round(self, changed: Follow, doubt: Doubt) -> None:
        try:
            is_new = await self._finder.round()
            self._tell()
            if is_new or self._is_owed:
                self._is_owed = True
                self._is_owed = not changed(self._finder.layout)
            if self._finder.unanswered:
                doubt(self._finder.unanswered)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next round may go well
            note(_log, logging.CRITICAL, "bug: servers are not followed", error)

    def _tell(self) -> None:
        """Log what is to be known of the servers, once for as long as it holds."""
        before, self._told = self._told, self._finder.findings
        for finding in self._told:
            if finding not in before:
                said = {"problem": finding.problem, "hint": finding.hint}
                note(_log, logging.ERROR, finding.event, **finding.fields, **said)

    def close(self) -> None:
        """Close the connections to the servers."""
        self._watch.close()


async def find_once(config: Config, context: ssl.SSLContext | None) -> tuple[Config, tuple[Finding, ...]]:
    """The configuration with the members that a start would find now, and what it would log of them.

    Nothing is written, and nobody is followed. Raises as `MemberFinder.first` does.
    """
    if config.discovery is None:
        return config, ()
    watch = Watch(config, context)
    finder = MemberFinder(config.discovery, watch, keeps_ports=False)
    try:
        layout = await finder.first()
    finally:
        watch.close()
    return replace(config, members=layout.members), finder.findings
