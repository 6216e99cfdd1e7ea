"""What a line of the audit log counts for, and the time by which windows are counted.

That time follows the times of the lines, and never jumps with them. A clock that is set back makes lines of
an earlier time. They count now, as part of the same window. A clock that is set ahead would empty all
windows: the time here goes on only as far as time has really passed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, final

from sealwire.crypto.host_names import whose_address
from sealwire.sidecars.detection.rules import (
    BUCKET_S,
    BY_ADDRESS,
    DELETES,
    SHOWN_PEOPLE,
    DetectionRule,
    Hours,
    RuleName,
)

TOLERANCE_S: Final = 60.0
"""Lines of several processes may be in another order than their times, by so much."""
SLACK_S: Final = 300.0
"""Clocks are set right by small steps, and a process may stand still: that is no jump."""


@dataclass(frozen=True, slots=True)
class ClockState:
    """What is kept of the time."""

    counted: float = 0.0
    """Seconds by which windows are counted."""
    last: float = 0.0
    """The latest time of a line, in seconds since 1970; 0 before the first."""


@final
class LogClock:
    """See the module."""

    def __init__(self, state: ClockState) -> None:
        self.state = state
        self._live_at: float | None = None
        """When the last line was read, on a clock that nobody sets; None where it was written earlier."""

    @property
    def bucket(self) -> int:
        """The minute in which what is read now counts."""
        return int(self.state.counted // BUCKET_S)

    def advance(self, moment: datetime | None, now: datetime, monotonic: float, *, is_live: bool) -> str:
        """A line of this time was read at `now`.

        `is_live`: it was written since the last look, which saw the end.
        Returns how the time jumped: `back`, `ahead`, or empty.
        """
        counted, last = self.state.counted, self.state.last
        if moment is None:
            return ""
        time = moment.timestamp()
        if last == 0.0:
            self.state = ClockState(min(time, now.timestamp() + SLACK_S), time)
            self._live_at = monotonic if is_live else None
            return ""
        step, jump = time - last, ""
        if step < -TOLERANCE_S:
            step, jump = 0.0, "back"
            last = time
        most = self._most(last, now, monotonic, is_live=is_live)
        if step > most:
            step, jump = most, "ahead"
        self.state = ClockState(counted + max(0.0, step), max(last, time))
        self._live_at = monotonic if is_live else None
        return jump

    def _most(self, last: float, now: datetime, monotonic: float, *, is_live: bool) -> float:
        """How far the time may go on by one line."""
        ahead = max(0.0, now.timestamp() + SLACK_S - last)
        if is_live and self._live_at is not None:
            return min(ahead, monotonic - self._live_at + SLACK_S)
        return ahead


def moment_of(text: object) -> datetime | None:
    """The time of a line; None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


MAX_TEXT: Final = 256
"""Characters of a name; users and clients choose some of them."""

NO_KEY: Final = frozenset({"UnknownKey", "KeyRetired", "KeyDestroyed"})
"""Reasons of lines `undecryptable` by which there is no key for a stored value."""
HARMLESS: Final = frozenset(
    {
        *("ContextsMissing", "ContextKeysMissing", "ContextShredded"),
        *("CursorOutdated", "FrontierLost", "LeaseAwaited", "SnapshotOutdated", "WindowMet"),
    }
)
"""Those that pass by themselves, or follow from an erasure: no sign of anything."""

_WRITES: Final = (RuleName.BULK_WRITE, RuleName.BULK_WRITE_DAY, RuleName.BULK_WRITE_BY_ADDRESS)
_ACTS: Final = {"destruction": RuleName.DESTRUCTION, "administration": RuleName.ADMINISTRATION}

Fields = Mapping[str, object]
Rules = Mapping[RuleName, DetectionRule]
About = tuple[tuple[str, str], ...]
"""Who or what is counted apart, in names and values that are names too: user, class, address, namespace."""


@dataclass(frozen=True, slots=True)
class Observation:
    """That a line counts for a rule."""

    rule: DetectionRule
    about: About
    amount: int
    people: tuple[str, ...] = ()
    """Pseudonyms, each of which counts once in a window, besides the amount."""
    class_name: str | None = None
    detail: str = ""


def who(fields: Fields) -> str:
    """Whose line it is: the user; else the certificate; else the address."""
    for name in ("user", "certificate"):
        text = _text(fields, name)
        if text:
            return text
    return address_of(fields)


def address_of(fields: Fields) -> str:
    """The address of the client without its port; of IPv6 the network. Empty where there is none."""
    client = _text(fields, "client")
    host, colon, port = client.rpartition(":")
    if not (colon and port.isdigit()):
        host = client
    return whose_address(host.strip("[]"))


def amounts(fields: Fields, name: str) -> dict[str, int]:
    """Numbers by class, as `read`, `written` and `filtered` have them; what is none is left out."""
    found = fields.get(name)
    if not isinstance(found, Mapping):
        return {}
    return {
        str(key)[:MAX_TEXT]: number for key, number in found.items() if type(number) is int and number > 0
    }


def subjects_of(fields: Fields) -> tuple[str, ...]:
    """The pseudonyms of the people whose documents were shown."""
    found = fields.get("subjects")
    if not isinstance(found, list):
        return ()
    return tuple(each[:MAX_TEXT] for each in found if isinstance(each, str))


def number_of(fields: Fields, name: str) -> int:
    """A number that is not negative; 0 where there is none."""
    found = fields.get(name)
    return found if type(found) is int and found > 0 else 0


def observe(fields: Fields, rules: Rules, moment: datetime | None) -> Iterator[Observation]:
    """What a line counts for; `moment` is its own time, None where it has none."""
    match fields.get("event"):
        case "command":
            yield from _command(fields, rules, moment)
        case "refused":
            yield from _simple(rules, RuleName.REFUSED, (("user", who(fields)),), fields)
        case "login-failed":
            yield from _simple(rules, RuleName.FAILED_LOGINS, (("address", address_of(fields)),), fields)
        case "undecryptable":
            yield from _undecryptable(fields, rules)
        case "break-glass":
            yield from _glass(fields, rules)
        case "plaintext":
            about = (("namespace", _text(fields, "namespace")), ("path", _text(fields, "path")))
            yield from _simple(rules, RuleName.PLAINTEXT, about, fields)
        case _:
            pass


def _command(fields: Fields, rules: Rules, moment: datetime | None) -> Iterator[Observation]:
    user = who(fields)
    by_user, by_address = (("user", user),), (("address", address_of(fields)),)
    read, opened = amounts(fields, "read"), amounts(fields, "opened")
    for name, by_class in (
        (RuleName.BULK_READ, read),
        (RuleName.BULK_LOOKUP, amounts(fields, "filtered")),
        (RuleName.OPENED, opened),
        (RuleName.OPENED_DAY, opened),
    ):
        for class_name, amount in by_class.items():
            about = (("class", class_name), *by_user)
            yield from _seen(rules, name, about, amount, class_name=class_name)
    # values of a class that is stored in clear are not counted by class
    yield from _seen(rules, RuleName.BULK_DOCUMENTS, by_user, number_of(fields, "documents"))
    yield from _gathered(fields, rules, user)
    # whose subject nobody can tell may each be another one: who leaves the identifier out counts too
    shown = number_of(fields, "subjects_unknown"), subjects_of(fields)
    written = {name: (amount, ()) for name, amount in _written(fields).items()}
    for name, (amount, people) in {**dict.fromkeys(SHOWN_PEOPLE, shown), **written}.items():
        is_by_address = name in BY_ADDRESS
        if not (is_by_address and name in rules and user in rules[name].users):
            yield from _seen(rules, name, by_address if is_by_address else by_user, amount, people)
    act = _ACTS.get(_text(fields, "act"))
    if act is not None:
        where = _text(fields, "namespace") or _text(fields, "database")
        yield from _seen(rules, act, (("namespace", where), *by_user), 1, detail=_text(fields, "command"))
    rule = rules.get(RuleName.OUT_OF_HOURS)
    if rule is not None and rule.hours is not None and not is_within(rule.hours, moment):
        yield from _seen(rules, rule.name, by_user, sum(read.values()))
    if breaks_glass(fields):
        yield from _glass(fields, rules)


def _gathered(fields: Fields, rules: Rules, user: str) -> Iterator[Observation]:
    """What one document shows of many, and how much of a collection a user was shown."""
    gathered, namespace = number_of(fields, "gathered"), _text(fields, "namespace")
    yield from _seen(rules, RuleName.GATHERED, (("user", user),), gathered)
    rule = rules.get(RuleName.SHARE)
    if rule is not None and namespace in rule.sizes:
        people, unknown = subjects_of(fields), number_of(fields, "subjects_unknown")
        if not (people or unknown):  # nobody looks whose they are
            unknown = number_of(fields, "documents")
        about = (("namespace", namespace), ("user", user))
        yield from _seen(rules, rule.name, about, max(unknown, gathered), people)


def _written(fields: Fields) -> dict[RuleName, int]:
    """The rules for which a write counts, and for how many documents.

    An update that changes nothing is no alteration, so what it matched does not count.
    """
    command, affected = _text(fields, "command"), number_of(fields, "affected")
    deleted = affected if command == "delete" else number_of(fields, "deleted")
    written = number_of(fields, "modified") if command == "update" else max(0, affected - deleted)
    return dict.fromkeys(_WRITES, written) | dict.fromkeys(DELETES, deleted)


def breaks_glass(fields: Fields) -> bool:
    """Whether a line says that the glass was broken. Anybody may state a reason: with roles the proxy knows
    whether it counted, and says so in a line of its own.
    """
    is_stated = fields.get("event") == "command" and fields.get("role") is not None
    return fields.get("glass") is not None and not is_stated


def is_within(hours: Hours, moment: datetime | None) -> bool:
    """Whether it is a time of work; what has no time is not."""
    if moment is None:
        return False
    local = moment.astimezone(hours.zone)
    return local.weekday() in hours.days and hours.begin <= local.time() < hours.end


def _undecryptable(fields: Fields, rules: Rules) -> Iterator[Observation]:
    reason = _text(fields, "reason")
    if reason in HARMLESS:
        return
    name = RuleName.UNKNOWN_KEYS if reason in NO_KEY else RuleName.UNDECRYPTABLE
    about = (("namespace", _text(fields, "namespace")), ("user", who(fields)))
    yield from _simple(rules, name, about, fields)


def _glass(fields: Fields, rules: Rules) -> Iterator[Observation]:
    """Without the reason that was given: it is a text about somebody, and alerts leave the machine."""
    return _seen(rules, RuleName.BREAK_GLASS, (("user", who(fields)),), 1)


def _simple(rules: Rules, name: RuleName, about: About, fields: Fields) -> Iterator[Observation]:
    # a line may stand for many: logins that failed again and again from one address
    return _seen(rules, name, about, max(1, number_of(fields, "count")), detail=_text(fields, "reason"))


def _seen(  # noqa: PLR0913 - one for each part of an observation
    rules: Rules,
    name: RuleName,
    about: About,
    amount: int,
    people: tuple[str, ...] = (),
    *,
    class_name: str | None = None,
    detail: str = "",
) -> Iterator[Observation]:
    """That a line counts for a rule, if the rule is on and there is anything to count."""
    rule = rules.get(name)
    if rule is not None and (amount or people):
        yield Observation(rule, about, amount, people, class_name, detail)


def _text(fields: Fields, name: str) -> str:
    found = fields.get(name)
    return found[:MAX_TEXT] if isinstance(found, str) else ""
