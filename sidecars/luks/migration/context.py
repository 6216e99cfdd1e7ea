"""What every step has at hand, and the few things that several steps do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sealwire.sidecars.luks.machine.machine import Machine, must
from sealwire.sidecars.luks.migration.journal import Journal, Record, StepId
from sealwire.sidecars.luks.settings import VolumeSettings
from sealwire.sidecars.luks.volume import cryptsetup


class Reporter(Protocol):
    """Shows an operator how far things are."""

    def begin(self, title: str) -> None: ...

    def expect(self, what: str, total_bytes: int) -> None: ...

    def advance(self, count_bytes: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Context:
    """One volume while it is set up, rolled back or finished."""

    machine: Machine
    journal: Journal
    passphrase: Callable[[], bytes]
    """Asks for the passphrase of key slot 0, at most once."""
    reporter: Reporter
    abandon_volume: bool = False
    """On the way back: leave what is on the volume where it is, for it cannot be opened any more."""

    @property
    def record(self) -> Record:
        return self.journal.record

    @property
    def settings(self) -> VolumeSettings:
        return self.journal.record.settings

    def ensure_open(self) -> None:
        """By the key file once it has a key slot, else by the passphrase."""
        wanted = self.settings
        if not cryptsetup.is_open(self.machine, wanted.name):
            has_slot = self.record.may_have_run(StepId.MAKE_FILE_SYSTEM)
            secret = (wanted.key_file if has_slot else None) or self.passphrase()
            cryptsetup.open_volume(self.machine, wanted.device, wanted.name, secret, discard=wanted.discard)

    def ensure_closed(self) -> None:
        cryptsetup.ensure_closed(self.machine, self.settings.name)

    def service_is_active(self) -> bool:
        return self.machine.run(["systemctl", "is-active", "--quiet", self.settings.service]).code == 0

    def stop_service(self) -> None:
        must(self.machine, ["systemctl", "stop", self.settings.service])

    def reload_units(self) -> None:
        must(self.machine, ["systemctl", "daemon-reload"])
