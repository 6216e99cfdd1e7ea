"""Ordinary weeks of a clinic as lines of an audit log: made up, and the same for the same seed and size.

What people do is a guess of ours: shifts, lists in the morning, some patients an hour, jobs at night.
Workstations keep their addresses, and nobody leaves. So the figures say whether the rules agree with such
weeks, and nothing of a hospital.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

from sealwire.audit.log import LogPace
from sealwire.sidecars.detection.alerts import Alert, Alerts
from sealwire.sidecars.detection.rules import RuleName, Urgency
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.detection.watcher import AuditWatch
from tests.audit.logs import Clock, ended, opened
from tests.sidecars.detection.logs import START, Clocks, Told, settings

Lines = list[dict[str, Any]]

DAYS: Final = 21
WEEKS_A_FILE: Final = LogPace(checkpoint_lines=10**9, checkpoint_s=10**9, file_bytes=1 << 20)
"""Lines planted after the weeks go into their own file, because opening a log reads the last file."""
MONDAY: Final = START.replace(hour=0)
INVOICES_ON: Final = 8
"""The first of December."""
NEW_ON: Final = 9
"""When the new employee comes."""
FLU_ON: Final = 16
"""When some nurses vaccinate."""
HOURS_OFF: Final = (12, 13)
PATIENTS: Final = "clinic.patients"
VISITS: Final = "clinic.visits"
TERMINALS: Final = "10.1.0.250"
"""Many work on one terminal server."""
FROM_HOME: Final = "10.9.0.1"


@dataclass(frozen=True)
class Employee:
    """Somebody with a login, and the workstations at hand."""

    name: str
    role: str
    places: tuple[str, ...]
    ward: int


def person(number: int) -> str:
    return f"{number:032x}"


@dataclass
class Clinic:
    """So many people, fifty patients each, and their weeks."""

    users: int
    seed: int = 1
    staff: list[Employee] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed * 1000 + self.users)
        self.patients = 50 * self.users
        many = {"reception": self.users * 3 // 10, "doctor": self.users // 4, "manager": self.users // 10}
        many = {role: max(1, amount) for role, amount in many.items()}
        many["nurse"] = self.users - sum(many.values())
        for role, amount in many.items():
            self.staff += [self._employee(role, number) for number in range(amount)]

    def _employee(self, role: str, number: int) -> Employee:
        ward = number // 8
        shared = tuple(f"10.2.{ward}.{each}" for each in range(4))
        own = f"10.3.{('reception', 'doctor', 'manager', 'nurse').index(role)}.{number % 250}"
        if role == "reception" and self.users >= 40 and number % 2:
            places: tuple[str, ...] = (TERMINALS,)
        else:
            places = {"nurse": shared, "doctor": (own, own, own, *shared[:2])}.get(role, (own,))
        return Employee(f"{role}{number}@clinic", role, places, ward)

    def weeks(self, days: int = DAYS) -> Lines:
        """The lines of so many days, in their order."""
        lines = [each for day in range(days) for each in self.day(day)]
        return sorted(lines, key=lambda each: str(each["time"]))  # nights go on after midnight

    def day(self, day: int) -> Lines:
        """The lines that begin on one day; 0 is the first Monday."""
        lines = [each for employee in self._on_duty(day) for each in self._shift(employee, day)]
        for each in self._jobs(day):
            lines += each
        if day == NEW_ON:
            act = {"command": "createUser", "act": "administration", "database": "admin", "target": "new"}
            lines.append(line_of(day * 24 + 8.5, "dba@admin", "10.3.9.1", **act))
        return lines

    def _on_duty(self, day: int) -> Iterator[Employee]:
        if day % 7 < 5:
            yield from (each for each in self.staff if self.random.random() < 0.92)
            if day >= NEW_ON:
                yield Employee("new@clinic", "reception", ("10.3.0.251",), 0)
            return
        for role in ("doctor", "nurse"):
            able = [each for each in self.staff if each.role == role]
            for number in range(max(1, self.users // 20)):
                on_call = able[(day // 7 + number * 3) % len(able)]
                at_home = role == "doctor" and self.random.random() < 0.5
                yield Employee(on_call.name, "on-call", (FROM_HOME,) if at_home else on_call.places, 0)

    def _some(self, many: int) -> list[str]:
        return [person(self.random.randrange(self.patients)) for _ in range(many)]

    def _shift(self, who: Employee, day: int) -> Iterator[dict[str, Any]]:
        """One working day: a list of the day, then some patients in each hour."""
        random, place = self.random, self.random.choice(who.places)
        if who.role == "nurse" and random.random() < 0.03:
            place = f"10.2.{random.randrange(max(1, self.users // 16))}.{random.randrange(4)}"
        begin = day * 24 + random.choice((7.0, 8.0, 8.0, 8.5)) + random.random() / 4
        yield from self._login(who, place, begin)
        own = self._some({"nurse": 16, "doctor": 18, "on-call": 8}.get(who.role, 30))
        hours = [each for each in range(9) if each + 8 not in HOURS_OFF]
        if who.role == "on-call":
            hours += [random.randrange(12, 20) for _ in range(3)]
        for hour in sorted(hours):
            for each in self._hour(who, day, hour, own):
                yield line_of(begin + 0.1 + hour + random.random() * 0.9, who.name, place, **each)

    def _login(self, who: Employee, place: str, begin: float) -> Iterator[dict[str, Any]]:
        if self.random.random() < 0.05:
            for wrong in range(self.random.randrange(1, 4)):
                about = {"event": "login-failed", "command": "saslContinue", "reason": "code 18"}
                yield line_of(begin + wrong / 200, "", place, **about)
        yield line_of(begin + 0.05, who.name, place, event="login")

    def _hour(self, who: Employee, day: int, hour: int, own: list[str]) -> Iterator[dict[str, Any]]:
        random = self.random
        busy = 1.4 if day % 7 == 0 else 1.0
        if random.random() < 0.02:
            yield {"event": "refused", "reason": "sort"}
        if who.role == "manager":
            yield from self._figures(day, hour)
            return
        if who.role == "reception":
            if hour in {0, 4}:
                yield shown_list(self._some(random.randrange(18, 60)))
            for _ in range(round(random.uniform(5, 13) * busy)):
                yield from self._looked_up()
            return
        if who.role == "nurse" and day == FLU_ON and random.random() < 0.3:
            for each in self._some(random.randrange(10, 20)):
                yield from cared_for(each, random)
        if who.role == "nurse" or hour == 0:
            yield ward_list(own, random) if who.role == "nurse" else shown_list(own)
        for each in random.sample(own, min(len(own), round(random.uniform(2, 5) * busy))):
            yield from cared_for(each, random)

    def _looked_up(self) -> Iterator[dict[str, Any]]:
        """Somebody calls: found by number, or by name among some of the same name."""
        found = self._some(1 if self.random.random() < 0.8 else self.random.randrange(2, 6))
        yield shown_list(found) | {"filtered": {"nhs_number": 1}}
        if self.random.random() < 0.4:
            yield stored("update", found[0]) | {"modified": 1}

    def _figures(self, day: int, hour: int) -> Iterator[dict[str, Any]]:
        """How many of each state there are; on Fridays also who is in which."""
        yield grouped(documents=self.random.randrange(2, 7))
        if day % 7 == 4 and hour == 2:
            yield grouped(documents=3, gathered=self.random.randrange(40, 120))

    def _jobs(self, day: int) -> Iterator[Lines]:
        """What runs without people."""
        everybody = [person(each) for each in range(self.patients)]
        yield self._batches("report@clinic", day * 24 + 2, everybody)
        appointments = self._some(20 * max(1, self.users // 4)) if day % 7 < 5 else []
        yield self._batches("reminders@clinic", day * 24 + 17.5, appointments)
        if day == INVOICES_ON:
            yield self._batches("invoices@clinic", day * 24 + 3, everybody[: self.patients // 2])
            each_500 = [500] * (self.patients // 2000) + [self.patients // 4 % 500]
            about = {"command": "insert", "namespace": "clinic.invoices"}
            yield [
                line_of(day * 24 + 4, "invoices@clinic", "10.4.0.1", **about, affected=many)
                for many in each_500
            ]
        yield [
            line_of(
                day * 24 + hour + self.random.random(), "lab@clinic", "10.4.0.2", **stored("insert", each)
            )
            for hour in range(24)
            for each in self._some(self.random.randrange(self.users // 10 + 2))
        ]
        yield [each for hour in range(6, 23) for each in self._portal(day * 24 + hour)]

    def _portal(self, hours: float) -> Iterator[dict[str, Any]]:
        """Patients see their own record; the ODM names it by `_id`."""
        for each in self._some(self.random.randrange(self.patients // 250 + 2)):
            about = shown_list([each]) | {"ids": [each]}
            yield line_of(hours + self.random.random(), "portal@clinic", "10.4.0.3", **about)

    def _batches(self, user: str, hours: float, people: list[str]) -> Lines:
        lines = []
        for begin in range(0, len(people), 1000):
            about = shown_list(people[begin : begin + 1000]) | {"command": "getMore" if begin else "find"}
            lines.append(line_of(hours + begin / 1e6, user, "10.4.0.1", **about))
        return lines

    def jobs(self) -> str:
        """What the operator says of those that no person uses."""
        names = {"report": 2, "reminders": 1, "invoices": 2, "lab": 1, "portal": 1}
        return ", ".join(f"{name}@clinic: {times * self.patients}" for name, times in names.items())


def line_of(hours: float, user: str, place: str, **fields: Any) -> dict[str, Any]:
    """A line, so many hours after MONDAY."""
    time = (MONDAY + timedelta(hours=hours)).isoformat(timespec="milliseconds")
    said = {"time": time, "event": "command", "client": f"{place}:50000", "connection": 1, "user": user}
    return said | {"namespace": PATIENTS, "command": "find", "outcome": "ok", "us": 900} | fields


def shown_list(people: list[str]) -> dict[str, Any]:
    """Documents as the collection has them."""
    read = {"nhs_number": len(people), "name": len(people), "phone": len(people)}
    return {"read": read, "documents": len(people), "subjects": sorted(set(people))}


def ward_list(people: list[str], random: Random) -> dict[str, Any]:
    """Patients with their visits, joined: nobody can tell whose the documents are."""
    many = len(people)
    counts = {"nhs_number": many, "name": many}
    about = {"command": "aggregate", "documents": many, "subjects_unknown": many, "read": counts}
    return about | {"opened": counts, "gathered": random.randrange(many, 3 * many)}


def grouped(documents: int, gathered: int = 0) -> dict[str, Any]:
    """Documents put together by a covered path, and counted."""
    about = {"command": "aggregate", "documents": documents, "subjects_unknown": documents}
    return about | {"read": {"state": documents}, "opened": {"state": documents}, "gathered": gathered}


def stored(command: str, whose: str) -> dict[str, Any]:
    """A write about one person."""
    return {
        "command": command,
        "affected": 1,
        "written": {"notes": 1},
        "subjects": [whose],
        "namespace": VISITS,
    }


def cared_for(whose: str, random: Random) -> Iterator[dict[str, Any]]:
    """One patient: the record, the visits, and mostly a note."""
    yield shown_list([whose]) | {"filtered": {"nhs_number": 1}}
    visits = random.randrange(3, 15)
    yield {"namespace": VISITS, "read": {"notes": visits}, "documents": visits, "subjects": [whose]}
    if random.random() < 0.7:
        yield stored("insert", whose)


# What a watch says of the weeks of a made-up clinic.
#
# python -m tests.sidecars.detection.clinic 5 40 # the figures, for clinics of so many people


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
    clock = Clock(MONDAY)
    log = opened(folder, WEEKS_A_FILE, clock)
    log.append(lines)
    # a new file begins with a line of that time: an earlier one would be a jump back
    clock.now = max(datetime.fromisoformat(each["time"]) for each in lines)
    ended(log)
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
