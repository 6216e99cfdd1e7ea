"""Asks servers whether they are there and who they are, each on a connection that is kept."""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import replace

from sealwire.proxy.server.config.settings import AccessControl, Address, Config
from sealwire.proxy.server.discovery.admission import is_own
from sealwire.proxy.server.discovery.fitness import Answer
from sealwire.proxy.server.errors import UpstreamUnavailable
from sealwire.proxy.server.probe import Hello, ProbeProtocol, ask_again, itself, open_probe
from sealwire.proxy.server.upstream import Upstream

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
        upstream = Upstream(server, limits, self._context, config.upstream_tls.server_name)
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
