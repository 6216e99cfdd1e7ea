"""Who hears of commands that were answered: the log of slow ones, and traces."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, final

from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.connections.services import Services
from sealwire.proxy.server.observability.logs import LogGate
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.traces import CommandListener, FinishedCommand, Tracer, open_tracer
from sealwire.proxy.session.shared import Shared
from sealwire.proxy.session.watch import CommandWatch

# --------------------------- a line for each command that took long, with where its time went, and no value
#
# slow command command=find namespace=clinic.patients total_us=81234 planning_us=74 encrypting_us=51
# server_us=80790 decrypting_us=212 waiting_us=107 values=1 decrypted=12 client=10.0.0.7:51402 connection=8

_log = logging.getLogger("sealwire.commands")

EVERY_S: Final = 0.05
"""There are 20 lines a second at most; the next line says how many were left out."""


@final
class SlowLog:
    """Hears of every command, and logs those that took `slow_ms` or longer."""

    def __init__(self, slow_ms: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._slow_s = slow_ms / 1000
        self._gate = LogGate(EVERY_S, clock)

    def finished(self, command: FinishedCommand) -> None:
        """Log it where it was slow."""
        if command.total_s < self._slow_s:
            return
        note = command.note
        named = {"command": note.command, "namespace": note.namespace, "reason": note.reason}
        fields: dict[str, str | int | float | bool] = {key: value for key, value in named.items() if value}
        for name, seconds in (
            ("total", command.total_s),
            ("planning", note.planning_s),
            ("encrypting", note.encrypting_s),
            ("server", command.server_s),
            ("decrypting", command.decrypting_s),
            ("waiting", command.waiting_s),
        ):
            fields[f"{name}_us"] = round(seconds * 1e6)
        fields |= {"values": note.values, "decrypted": command.decrypted}
        fields |= {"client": command.client, "connection": command.connection}
        self._gate.note(_log, logging.WARNING, "slow command", "slow", **fields)


@final
class CommandListeners:
    """Has them as the configuration says. For one event loop."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._tracer: Tracer | None = None

    def use(self, config: Config, shared: Shared, services: Services) -> None:
        """Let slow commands be logged, and traces be kept, as `config` says from now on."""
        listeners = list[CommandListener]()
        if config.slow_ms is not None:
            listeners.append(SlowLog(config.slow_ms))
        if config.traces is not None and self._tracer is None:
            self._tracer = open_tracer(config.traces.endpoint, self._metrics.traced)
            self._tracer.start()
        if self._tracer is not None:
            listeners.append(self._tracer)
        has_traces = self._tracer is not None
        watch = CommandWatch(time.perf_counter, reads_parents=has_traces) if listeners else None
        shared.watch = watch
        services.listen(watch, tuple(listeners))

    async def close(self) -> None:
        """Send the last traces."""
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.close)
