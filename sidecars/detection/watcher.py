"""The loop of `sealwire watch`: follow the log, judge, keep, have others told, and verify all of it again."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from queue import SimpleQueue
from secrets import token_hex
from typing import Final, final

from sealwire.audit.errors import AuditError
from sealwire.audit.files import LogPlace, files_to_verify, load_verification_key
from sealwire.audit.following import LogFollower, NewLines
from sealwire.audit.signing import VerificationKey
from sealwire.audit.verification import Flaw, FlawKind, LogReport, Spot, read_checkpoints, verify
from sealwire.sidecars.detection import delivery
from sealwire.sidecars.detection.incidents import IncidentBook
from sealwire.sidecars.detection.judging import Judge, Now, read_place
from sealwire.sidecars.detection.rules import RuleName, WatchSettings
from sealwire.sidecars.detection.state_file import StateFile

_STOP_S: Final = 5.0


class _Stopped(Exception):
    """The watch ends."""


@final
class Recheck:
    """Verifies a log from its beginning, in a thread of its own: at the start, and again and again."""

    def __init__(self, place: LogPlace, key: VerificationKey | None, every_s: float) -> None:
        """Without a key the chain alone is looked at."""
        self._place, self._key, self._every_s = place, key, every_s
        self._found: SimpleQueue[list[Flaw]] = SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recheck", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, in the middle of the log too."""
        self._stop.set()
        self._thread.join(_STOP_S)

    def flaws(self) -> list[Flaw]:
        """What was found since it was last asked for."""
        found: list[Flaw] = []
        while not self._found.empty():
            found += self._found.get()
        return found

    def look(self) -> list[Flaw]:
        """Verify the log, and return what is wrong with it. Cost: 10 us a line.

        What is found is looked at twice: a file may be renamed while all are read.
        """
        return self._verified() and self._verified()

    def _verified(self) -> list[Flaw]:
        report = LogReport()
        try:
            # before the lines: what a checkpoint vouches for is on the disk when it is written
            checkpoints = {}
            if self._key is not None:
                checkpoints = read_checkpoints(self._place.checkpoints, self._key, report)
            verify(files_to_verify(self._place.path), checkpoints, report, self._go_on, archived=True)
        except AuditError as error:
            report.add(FlawKind.NOT_A_FILE, Spot(self._place.path, 0), str(error))
        return [flaw for flaw in report.flaws if not self._is_beginning_or_end(flaw)]

    def _is_beginning_or_end(self, flaw: Flaw) -> bool:
        """A log may have no checkpoint yet, and its last line may just be written."""
        is_last = flaw.kind is FlawKind.TORN and flaw.spot.path == self._place.path
        return is_last or flaw.kind is FlawKind.NO_CHECKPOINTS

    def _go_on(self, _bytes: int) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._found.put(self.look())
            except _Stopped:
                return
            self._stop.wait(self._every_s)


LOOK_S: Final = 0.25
_DEADLINES_EVERY_S: Final = 30.0
_ORIGIN: Final = "origin"


def machine_clocks() -> Now:
    """What this machine's clocks say."""
    return Now(datetime.now(UTC), time.monotonic())


def channels_of(
    settings: WatchSettings, state: StateFile, log: delivery.LogChannel
) -> list[delivery.Channel]:
    """Whom the file names. Raises Unusable; KeysError for the secret's file."""
    channels: list[delivery.Channel] = [log] if settings.is_logged else []
    if settings.webhook is not None:
        channels.append(delivery.WebhookChannel(settings.webhook, _origin(state)))
    if settings.program is not None:
        channels.append(delivery.ProgramChannel(settings.program))
    return channels


def _origin(state: StateFile) -> str:
    """A name for this state file: made once, at random."""
    with state.transaction():
        origin = state.fact(_ORIGIN)
        if origin is None:
            origin = token_hex(8)
            state.keep(_ORIGIN, origin)
    return origin


@final
class AuditWatch:
    """One watch over one log. Nobody else may watch with the same state file at the same time."""

    def __init__(
        self,
        settings: WatchSettings,
        state: StateFile,
        channels: Sequence[delivery.Channel],
        note: Callable[[delivery.Document], None],
        clocks: Callable[[], Now] = machine_clocks,
        *,
        is_learning: bool = False,
    ) -> None:
        """Go on where the state file says. Raises AuditKeyProblem, KeysError, Unavailable."""
        self._key = None if settings.key is None else load_verification_key(settings.key)
        self._settings, self._state, self._channels = settings, state, channels
        self._note, self._clocks = note, clocks
        self._follower = LogFollower(settings.place, self._key, read_place(state))
        names = [channel.name for channel in channels]
        self._judge = Judge(state, settings.rules, names, is_learning=is_learning)
        self._book = IncidentBook(state)
        self._was_end = False
        self._looked_at_deadlines: float | None = None

    def learns_until(self) -> datetime | None:
        """As `Judge.learns_until`, by this machine's clock."""
        return self._judge.learns_until(self._clocks().wall)

    def look(self) -> bool:
        """Read and judge what is new; whether that was all. Raises AuditFileProblem, Unavailable."""
        new = self._follower.look()
        self._judge.take(new, self._follower.position, self._clocks, is_live=self._was_end)
        self._was_end = new.is_end
        return new.is_end

    def look_at_deadlines(self) -> None:
        """Raise alerts for incidents whose 72 hours pass. Raises Unavailable."""
        now = self._clocks()
        self._looked_at_deadlines = now.monotonic
        with self._state.transaction():
            for incident, stage in self._book.newly_due(now.wall):
                about = (("incident", incident.id), ("stage", stage.value))
                self._judge.raise_now(RuleName.DEADLINE, about, now.wall)

    def _judge_flaws(self, flaws: list[Flaw]) -> None:
        if flaws:
            new = NewLines(flaws=flaws)
            self._judge.take(new, self._follower.position, self._clocks, is_live=self._was_end)

    def read(self) -> None:
        """Read and judge to the end. Raises as `look`."""
        while not self.look():
            pass

    def run_once(self) -> bool:
        """Read to the end, tell once, and return whether everybody was told."""
        self.read()
        self.look_at_deadlines()
        told = [delivery.deliver(self._state, channel, self._note) for channel in self._channels]
        return all(told)

    def run(self, stop: threading.Event) -> None:
        """Go on until `stop`. Raises AuditFileProblem, Unavailable: what is kept is told after a restart."""
        recheck = Recheck(self._settings.place, self._key, self._settings.verify_every_s)
        couriers = [delivery.Courier(self._settings.state, channel, self._note) for channel in self._channels]
        recheck.start()
        for courier in couriers:
            courier.start()
        try:
            while not stop.is_set():
                is_end = self.look()
                self._judge_flaws(recheck.flaws())
                last = self._looked_at_deadlines
                if last is None or self._clocks().monotonic - last >= _DEADLINES_EVERY_S:
                    self.look_at_deadlines()
                if is_end:
                    stop.wait(LOOK_S)
        finally:
            recheck.stop()
            for courier in couriers:
                courier.stop(_STOP_S)
            self._follower.close()
