"""What a watch says of the weeks of a made-up clinic.

python -m tests.sidecars.detection.weeks 5 40    # the figures, for clinics of so many people
"""

import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sealwire.sidecars.detection.alerts import Alert, Alerts
from sealwire.sidecars.detection.rules import RuleName, Urgency
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.detection.watcher import AuditWatch
from tests.audit.logs import opened
from tests.sidecars.detection.clinic import MONDAY, Clinic, Lines
from tests.sidecars.detection.logs import Clocks, Told, settings

HOURS: Final = 'out-of-hours: {from: "07:00", to: "20:00", days: [mon, tue, wed, thu, fri, sat, sun]}'
"""The one rule without a default."""
_RIGHT: Final = frozenset({(RuleName.ADMINISTRATION, "dba@admin")})
"""Alerts that are right: somebody made the new employee's account."""


@dataclass(frozen=True)
class WatchedWeeks:
    """The weeks of a clinic, what a watch said of them, and where it stands now."""

    clinic: Clinic
    folder: Path
    alerts: list[Alert]

    @property
    def false(self) -> Counter[str]:
        """Alerts that somebody was told of and that are not right, by rule."""
        return Counter(
            alert.rule.value
            for alert in self.alerts
            if alert.urgency is not Urgency.LEARNING
            and (alert.rule, dict(alert.about).get("user")) not in _RIGHT
        )

    def by_day(self) -> dict[tuple[str, str], Counter[int]]:
        """How many alerts on which day, by rule and by whether somebody was told."""
        found: dict[tuple[str, str], Counter[int]] = {}
        for alert in self.alerts:
            kind = "learning" if alert.urgency is Urgency.LEARNING else "told"
            day = (datetime.fromisoformat(alert.first) - MONDAY).days
            found.setdefault((alert.rule.value, kind), Counter())[day] += 1
        return found


def watched(folder: Path, clinic: Clinic, lines: Lines, *, has_jobs: bool = True) -> list[Alert]:
    """Write these lines behind those that are there; all alerts, as `sealwire watch` raises them."""
    log = opened(folder, clock=lambda: MONDAY)
    log.append(lines)
    log.sign()
    log.close()
    said = settings(folder, HOURS, jobs=clinic.jobs() if has_jobs else "")
    state = StateFile(said.state)
    watch = AuditWatch(said, state, [Told()], lambda _document: None, Clocks())
    watch.read()
    found = Alerts(state).latest(10_000, only_open=False)[::-1]
    state.close()
    return found


def weeks_of(folder: Path, users: int, seed: int, *, has_jobs: bool = True) -> WatchedWeeks:
    """Three weeks of a clinic of so many people, watched with the default rules."""
    clinic = Clinic(users, seed)
    folder.mkdir(exist_ok=True)
    return WatchedWeeks(clinic, folder, watched(folder, clinic, clinic.weeks(), has_jobs=has_jobs))


def main(sizes: list[int]) -> None:
    """Print the alerts by clinic, rule and day."""
    for users in sizes:
        with tempfile.TemporaryDirectory() as folder:
            for has_jobs in (True, False):
                found = weeks_of(Path(folder) / str(has_jobs), users, 1, has_jobs=has_jobs)
                named = "named" if has_jobs else "not named"
                sys.stdout.write(f"{users} people, jobs {named}: {found.false.total()} false alarms\n")
                for (rule, kind), days in sorted(found.by_day().items()):
                    sys.stdout.write(f"  {rule} ({kind}): {dict(sorted(days.items()))}\n")


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]])
