"""How old the transit keys may become, and making them new at once.

Rotating adds a version: new wraps use it, and what older versions wrapped still opens until it is re-wrapped.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sealwire.sidecars.vault_setup.errors import SET_UP_FIRST, ServerState, SetupReason
from sealwire.sidecars.vault_setup.server import Server
from sealwire.sidecars.vault_setup.settings import SetupSettings


@dataclass(frozen=True, slots=True)
class KeyAge:
    """One transit key: which version wraps now, since when, and how often it is made new."""

    name: str
    version: int
    made: datetime
    period_s: int
    """0: never by itself."""

    def overdue(self, now: datetime) -> bool:
        """Whether the server should have rotated it, with a day's grace for its own schedule."""
        return self.period_s > 0 and (now - self.made).total_seconds() > self.period_s + 86400


def ages(server: Server, settings: SetupSettings) -> tuple[KeyAge, ...]:
    """Every key of `settings`. Raises ServerState NOT_SET_UP when one is missing; as `Server` does."""
    return tuple(_age(server, settings, name) for name in settings.keys)


def set_period(server: Server, settings: SetupSettings, name: str, period_s: int) -> None:
    """Have the server rotate key `name` every `period_s` seconds."""
    server.write(f"{_path(settings, name)}/config", {"auto_rotate_period": period_s})


def rotate_now(server: Server, settings: SetupSettings, name: str) -> None:
    server.write(f"{_path(settings, name)}/rotate", {})


def _path(settings: SetupSettings, name: str) -> str:
    return f"{settings.transit_mount}/keys/{name}"


def _age(server: Server, settings: SetupSettings, name: str) -> KeyAge:
    found = server.read(_path(settings, name))
    if found is None:
        raise ServerState(SetupReason.NOT_SET_UP, f"the server has no key {name}", SET_UP_FIRST)
    version = int(found["latest_version"])
    made = datetime.fromtimestamp(int(found["keys"][str(version)]), UTC)
    return KeyAge(name, version, made, int(found["auto_rotate_period"]))
