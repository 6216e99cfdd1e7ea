"""Asks servers whether they are there and who they are, each on a connection that is kept."""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import replace

from sealwire.proxy.server.config.settings import Address, Config
from sealwire.proxy.server.errors import UpstreamUnavailable
from sealwire.proxy.server.probe import Hello, ProbeProtocol, ask_again, open_probe
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
        self.last_error: UpstreamUnavailable | None = None
        """Why a server did not answer in the last round; None: all did."""

    def use(self, config: Config, context: ssl.SSLContext | None) -> None:
        """Connect in this way from now on."""
        self._config = config
        self._context = context
        self.close()

    def hurry(self) -> None:
        """Wait for no answer longer than ANSWER_S from now on."""
        self._longest_s = ANSWER_S

    async def ask(self, servers: Iterable[Address]) -> dict[Address, Hello]:
        """Ask all of them at once; the answers of those that are there. Raises nothing.

        Connections to other servers are closed. Cost: the longest wait twice, for one that is frozen
        """
        asked = tuple(dict.fromkeys(servers))
        for server in [each for each in self._probes if each not in asked]:
            self._probes.pop(server).close()
        answers = await asyncio.gather(*map(self._ask_one, asked), return_exceptions=True)
        self.last_error = None
        hellos: dict[Address, Hello] = {}
        for server, answer in zip(asked, answers, strict=True):
            match answer:
                case Hello():
                    hellos[server] = answer
                case UpstreamUnavailable():
                    self.last_error = answer
                case _:
                    raise answer
        return hellos

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
