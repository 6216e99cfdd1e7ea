"""What connections are doing, as it was when somebody last looked."""

from prometheus_client import CollectorRegistry

from sealwire.proxy.server.connections.pipe import Hold
from sealwire.proxy.server.observability.holding import HOLDS, ConnectionFigures


def test_every_hold_has_a_series_from_the_start() -> None:
    names = {name.lower().replace("_", "-") for name, hold in Hold.__members__.items() if hold}
    assert set(HOLDS) == names
    registry = CollectorRegistry()
    registry.register(ConnectionFigures())
    assert all(
        registry.get_sample_value("sealwire_connections_held", {"reason": each}) == 0 for each in HOLDS
    )


def test_the_last_look_counts() -> None:
    standing, registry = ConnectionFigures(), CollectorRegistry()
    registry.register(standing)
    standing.show(3, ["keys", "keys", "audit"])
    standing.show(2, ["keys", "audit"])
    assert registry.get_sample_value("sealwire_commands_in_flight") == 2
    assert registry.get_sample_value("sealwire_connections_held", {"reason": "keys"}) == 1
