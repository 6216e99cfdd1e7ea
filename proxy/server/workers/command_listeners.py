"""Who hears of commands that were answered: the log of slow ones, and traces."""

import asyncio
import time
from typing import final

from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.connections.services import Services
from sealwire.proxy.server.observability.finished import CommandListener
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.slow_commands import SlowLog
from sealwire.proxy.server.observability.traces import Tracer, open_tracer
from sealwire.proxy.session.shared import Shared
from sealwire.proxy.session.watch import CommandWatch


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
