"""Slow commands and traces, as the configuration says, from one reload to the next."""

from pathlib import Path

import pytest

from sealwire.proxy.server.config.settings import TraceSettings
from sealwire.proxy.server.observability.slow_commands import SlowLog
from sealwire.proxy.server.observability.traces import Tracer
from tests.proxy.server.fake_session import FakeSessions
from tests.proxy.server.observability.collector import collector
from tests.proxy.server.reload_place import place_for, reloaded

pytestmark = pytest.mark.integration


async def test_slow_commands_are_noted_as_long_as_the_configuration_says(tmp_path: Path) -> None:
    place = place_for(1, tmp_path)
    async with place.proxy(FakeSessions()) as proxy:
        assert (proxy.services.listeners, proxy.services.watch, proxy.shared.watch) == ((), None, None)
        place.change(slow_ms=5.0)
        await reloaded(proxy)
        (slow,) = proxy.services.listeners
        assert isinstance(slow, SlowLog)
        assert proxy.shared.watch is proxy.services.watch is not None


async def test_traces_go_on_over_a_reload_and_end_with_the_proxy(tmp_path: Path) -> None:
    with collector() as collected:
        place = place_for(1, tmp_path)
        place.change(traces=TraceSettings(collected.endpoint), slow_ms=5.0)
        async with place.proxy(FakeSessions()) as proxy:
            _, tracer = proxy.services.listeners
            assert isinstance(tracer, Tracer)
            place.change(slow_ms=None)
            await reloaded(proxy)
            assert proxy.services.listeners == (tracer,)
