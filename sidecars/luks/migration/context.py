"""What every step has at hand, and the few things that several steps do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sealwire.sidecars.luks.machine.device import mounted_source
from sealwire.sidecars.luks.machine.machine import Machine, must
from sealwire.sidecars.luks.migration.journal import Journal, StepId, StepState
from sealwire.sidecars.luks.settings import VolumeSettings
from sealwire.sidecars.luks.volume import cryptsetup
from sealwire.sidecars.luks.volume.cryptsetup import Secret


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
    def settings(self) -> VolumeSettings:
        return self.journal.record.settings

    def was_done(self, step: StepId) -> bool:
        return self.journal.record.state(step) is StepState.DONE

    def unlock_secret(self) -> Secret:
        """What opens the volume: the key file once it has a key slot, else the passphrase."""
        key_file = self.settings.key_file
        if key_file is not None and self.journal.record.may_have_run(StepId.MAKE_FILE_SYSTEM):
            return key_file
        return self.passphrase()

    def ensure_open(self) -> None:
        if not cryptsetup.is_open(self.machine, self.settings.name):
            cryptsetup.open_volume(
                self.machine,
                self.settings.device,
                self.settings.name,
                self.unlock_secret(),
                discard=self.settings.discard,
            )

    def ensure_closed(self) -> None:
        """Stop the unit that systemd may have for the mapping, then close what is left."""
        self.machine.run(["systemctl", "stop", self.settings.cryptsetup_unit])
        if cryptsetup.is_open(self.machine, self.settings.name):
            cryptsetup.close_volume(self.machine, self.settings.name)

    def service_is_active(self) -> bool:
        return self.machine.run(["systemctl", "is-active", "--quiet", self.settings.service]).code == 0

    def stop_service(self) -> None:
        must(self.machine, ["systemctl", "stop", self.settings.service])

    def reload_units(self) -> None:
        must(self.machine, ["systemctl", "daemon-reload"])


def is_volume_mounted(context: Context, directory: Path) -> bool:
    return mounted_source(context.machine, directory) == str(context.settings.mapper)


def is_immutable(machine: Machine, directory: Path) -> bool:
    """Whether `directory` has the attribute that keeps even root from writing in it."""
    done = machine.run(["lsattr", "-d", str(directory)])
    return done.code == 0 and "i" in done.text.split(maxsplit=1)[0]
