"""The rules: what each counts, from how many on and in which time; and the file of `sealwire watch`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import time
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sealwire.audit.files import LogPlace
from sealwire.crypto.host_names import is_this_machine
from sealwire.files.yaml_source import MAX_SOURCE_BYTES, Node, parse_yaml
from sealwire.sidecars.errors import DetectionReason, Unusable

BUCKET_S: Final = 60
"""Windows are counted in whole minutes."""


class RuleName(Enum):
    """Stable names, which alerts and the file use too, and what each counts."""

    meaning: str

    def __new__(cls, name: str, meaning: str = "") -> "RuleName":
        rule = object.__new__(cls)
        rule._value_, rule.meaning = name, meaning
        return rule

    BULK_READ = ("bulk-read", "values of a class that a user was shown")
    BULK_LOOKUP = ("bulk-lookup", "values of a class that a user's filters compared with")
    BULK_DOCUMENTS = ("bulk-documents", "documents that a user was shown")
    SUBJECTS = ("subjects", "people whose documents a user was shown")
    SUBJECTS_DAY = ("subjects-day", "people whose documents a user was shown in a day")
    SUBJECTS_BY_ADDRESS = ("subjects-by-address", "people whose documents were shown to one address")
    SUBJECTS_BY_ADDRESS_DAY = ("subjects-by-address-day", "people whose documents one address saw in a day")
    OPENED = ("opened", "distinct values of a class that grouped or joined documents showed a user")
    OPENED_DAY = (
        "opened-day",
        "distinct values of a class that grouped or joined documents showed a user in a day",
    )
    GATHERED = ("gathered", "elements of arrays in grouped or joined documents that a user was shown")
    SHARE = ("share", "a large share of a collection that a user was shown in a day")
    BULK_WRITE = ("bulk-write", "documents that a user stored or changed")
    BULK_WRITE_DAY = ("bulk-write-day", "documents that a user stored or changed in a day")
    BULK_WRITE_BY_ADDRESS = (
        "bulk-write-by-address",
        "documents that were stored or changed from one address",
    )
    BULK_DELETE = ("bulk-delete", "documents that a user deleted")
    BULK_DELETE_DAY = ("bulk-delete-day", "documents that a user deleted in a day")
    BULK_DELETE_BY_ADDRESS = ("bulk-delete-by-address", "documents that were deleted from one address")
    BULK_DELETE_BY_ADDRESS_DAY = ("bulk-delete-by-address-day", "documents deleted from one address in a day")
    DESTRUCTION = ("destruction", "a user dropped or renamed a collection or a database")
    ADMINISTRATION = ("administration", "a user changed users, roles or settings of the server")
    REFUSED = ("refused", "commands of a user that were refused")
    FAILED_LOGINS = ("failed-logins", "logins from an address that failed")
    UNDECRYPTABLE = ("undecryptable", "replies that could not be decrypted")
    UNKNOWN_KEYS = ("unknown-keys", "replies with values under a key that Sealwire does not have")
    PLAINTEXT = ("plaintext", "plaintext in a covered path")
    NEW_ADDRESS = ("new-address", "a user comes from an address that he never came from")
    OUT_OF_HOURS = ("out-of-hours", "values that a user was shown out of hours")
    BREAK_GLASS = ("break-glass", "a user broke the glass")
    AUDIT_GAP = ("audit-gap", "the audit log is not as it was written")
    CLOCK = ("clock", "the time in the audit log jumped")
    LIMITS = ("limits", "more is to be counted than can be; the oldest was dropped")
    DEADLINE = ("deadline", "the 72 hours of an incident pass")


class Urgency(Enum):
    """How soon somebody should look at an alert."""

    LEARNING = "learning"
    """Nobody is told: what is usual is not known yet. No rule has it of itself."""
    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class OwnPast:
    """A threshold that each user's past sets: `factor` times the usual, within bounds."""

    factor: float
    at_most: int
    """From here on it is an alert whatever is usual: who reads a little more each day gets no further."""


@dataclass(frozen=True, slots=True)
class Hours:
    """When work is done: from one time of day to another, on some days. All else is out of hours."""

    begin: time
    end: time
    days: frozenset[int]
    """0 is Monday."""
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class DetectionRule:
    """One rule as it counts."""

    name: RuleName
    at_least: int
    """From how many on it is an alert."""
    window_s: int
    cool_down_s: int
    """For so long after an alert of the same rule about the same ones another is a part of it."""
    urgency: Urgency
    classes: Mapping[str, int] = field(default_factory=dict)
    """Thresholds of classes that have their own."""
    users: Mapping[str, int] = field(default_factory=dict)
    """Thresholds of users that have their own, whatever the class and their past. What these users do has no
    part in sums by address."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """How many documents collections have, as the operator says. Then `at_least` is a percentage."""
    past: OwnPast | None = None
    hours: Hours | None = None
    learn_s: int = 0
    """For so long after a user was first seen his addresses are learnt. A rule with a `past` raises LEARNING
    alerts for so long after the first line."""

    def threshold(self, class_name: str | None, user: str | None, namespace: str | None = None) -> int:
        """From how many on it is an alert, for values of this class, this user and this collection."""
        at_least = self.at_least
        size = self.sizes.get(namespace or "")
        if size is not None:
            at_least = max(1, size * at_least // 100)
        return self.users.get(user or "", self.classes.get(class_name or "", at_least))


def _rule(name: RuleName, at_least: int, minutes: int, urgency: Urgency, **more: object) -> DetectionRule:
    window = minutes * BUCKET_S
    return DetectionRule(name, at_least, window, max(window, 3600), urgency, **more)  # type: ignore[arg-type]


_NOTICE, _WARNING, _CRITICAL = Urgency.NOTICE, Urgency.WARNING, Urgency.CRITICAL
DAY_S: Final = 86_400
_DAY: Final = DAY_S // 60
_LEARN_S: Final = 7 * DAY_S

DEFAULTS: Final[Mapping[RuleName, DetectionRule]] = {
    rule.name: rule
    for rule in (
        _rule(RuleName.BULK_READ, 1000, 10, _CRITICAL),
        _rule(RuleName.BULK_LOOKUP, 2000, 10, _WARNING),
        _rule(RuleName.BULK_DOCUMENTS, 5000, 10, _WARNING),
        _rule(RuleName.SUBJECTS, 80, 60, _CRITICAL, past=OwnPast(3.0, 1000), learn_s=_LEARN_S),
        _rule(RuleName.SUBJECTS_DAY, 250, _DAY, _CRITICAL, past=OwnPast(3.0, 3000), learn_s=_LEARN_S),
        _rule(RuleName.SUBJECTS_BY_ADDRESS, 300, 60, _WARNING, past=OwnPast(3.0, 5000), learn_s=_LEARN_S),
        _rule(RuleName.SUBJECTS_BY_ADDRESS_DAY, 900, _DAY, _WARNING, past=OwnPast(3, 9000), learn_s=_LEARN_S),
        _rule(RuleName.OPENED, 200, 60, _CRITICAL, past=OwnPast(3.0, 2000), learn_s=_LEARN_S),
        _rule(RuleName.OPENED_DAY, 600, _DAY, _CRITICAL, past=OwnPast(3.0, 6000), learn_s=_LEARN_S),
        _rule(RuleName.GATHERED, 500, 60, _CRITICAL, past=OwnPast(3.0, 2000), learn_s=_LEARN_S),
        _rule(RuleName.SHARE, 20, _DAY, _CRITICAL),
        _rule(RuleName.BULK_WRITE, 2000, 60, _WARNING),
        _rule(RuleName.BULK_WRITE_DAY, 5000, _DAY, _WARNING),
        _rule(RuleName.BULK_WRITE_BY_ADDRESS, 5000, 60, _WARNING),
        _rule(RuleName.BULK_DELETE, 200, 60, _CRITICAL),
        _rule(RuleName.BULK_DELETE_DAY, 500, _DAY, _CRITICAL),
        _rule(RuleName.BULK_DELETE_BY_ADDRESS, 500, 60, _CRITICAL),
        _rule(RuleName.BULK_DELETE_BY_ADDRESS_DAY, 1500, _DAY, _CRITICAL),
        _rule(RuleName.DESTRUCTION, 1, 60, _WARNING),
        _rule(RuleName.ADMINISTRATION, 1, 60, _NOTICE),
        _rule(RuleName.REFUSED, 20, 10, _WARNING),
        _rule(RuleName.FAILED_LOGINS, 10, 10, _WARNING),
        _rule(RuleName.UNDECRYPTABLE, 5, 10, _CRITICAL),
        _rule(RuleName.UNKNOWN_KEYS, 1, 60, _CRITICAL),
        _rule(RuleName.PLAINTEXT, 1, 60, _WARNING),
        _rule(RuleName.NEW_ADDRESS, 1, 60, _NOTICE, learn_s=14 * DAY_S),
        _rule(RuleName.OUT_OF_HOURS, 200, 60, _WARNING),
        _rule(RuleName.BREAK_GLASS, 1, 1, _WARNING),
        _rule(RuleName.AUDIT_GAP, 1, 1, _CRITICAL),
        _rule(RuleName.CLOCK, 1, 1, _WARNING),
        _rule(RuleName.LIMITS, 1, 1, _WARNING),
        _rule(RuleName.DEADLINE, 1, 1, _CRITICAL),
    )
}

ALWAYS_ON: Final = frozenset({RuleName.AUDIT_GAP, RuleName.CLOCK, RuleName.LIMITS, RuleName.DEADLINE})
"""What tells that the watch itself cannot be relied on, or that a time limit passes."""

NEEDS_HOURS: Final = RuleName.OUT_OF_HOURS
"""Off where the file has no hours for it."""

NEEDS_SIZES: Final = RuleName.SHARE
"""Off where the file does not say how many documents a collection has: no line of the log says that."""

BY_ADDRESS: Final = frozenset(rule for rule in RuleName if "-by-address" in rule.value)

SHOWN_PEOPLE: Final = (
    *(RuleName.SUBJECTS, RuleName.SUBJECTS_DAY),
    *(RuleName.SUBJECTS_BY_ADDRESS, RuleName.SUBJECTS_BY_ADDRESS_DAY),
)
COUNTS_PEOPLE: Final = frozenset({*SHOWN_PEOPLE, RuleName.SHARE})
"""Rules for which a person counts once in a window."""

DELETES: Final = tuple(rule for rule in RuleName if rule.value.startswith("bulk-delete"))

MANUAL: Final = "docs/operations/alerts.md"
_MOST: Final = 10**9
_ALL: Final = 100
_MAX_WINDOW_S: Final = DAY_S
_MAX_COOL_DOWN_S: Final = 30 * DAY_S
_MAX_TIMEOUT_S: Final = 60
_MAX_LEARN_DAYS: Final = 90
_MAX_WORDS: Final = 64
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MOST_JOBS: Final = 1000
_BY_CLASS: Final = frozenset({RuleName.BULK_READ, RuleName.BULK_LOOKUP, RuleName.OPENED, RuleName.OPENED_DAY})
_NOT_FOR_JOBS: Final = frozenset({RuleName.REFUSED, RuleName.OUT_OF_HOURS, *DELETES})
_BY_USER: Final = _BY_CLASS | {
    RuleName.BULK_DOCUMENTS,
    RuleName.SUBJECTS,
    RuleName.SUBJECTS_DAY,
    RuleName.GATHERED,
    RuleName.SHARE,
    RuleName.BULK_WRITE,
    RuleName.BULK_WRITE_DAY,
    RuleName.BULK_DELETE,
    RuleName.BULK_DELETE_DAY,
    RuleName.REFUSED,
    RuleName.OUT_OF_HOURS,
}


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where alerts are posted, and the file of the secret that signs them."""

    url: str
    secret: Path
    ca: Path | None
    timeout_s: int


@dataclass(frozen=True, slots=True)
class ProgramSettings:
    """The command that gets each alert on its standard input."""

    words: tuple[str, ...]
    timeout_s: int


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """What the file says."""

    place: LogPlace
    key: Path | None
    """The file of the key that verifies checkpoints; None: the chain alone is looked at."""
    verify_every_s: int
    """How often the whole log is verified again."""
    state: Path
    rules: Mapping[RuleName, DetectionRule]
    is_logged: bool
    webhook: WebhookSettings | None
    program: ProgramSettings | None


def load_watch_settings(path: Path) -> WatchSettings:
    """Read the file at `path`. Raises Unusable, SourceError."""
    try:
        with path.open("rb") as file:
            source = file.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise Unusable(
            DetectionReason.RULES_FILE, f"{path}: {error.strerror}", f"give a file as in {MANUAL}"
        ) from None
    return parse_watch_settings(source, str(path))


def parse_watch_settings(source: bytes, filename: str) -> WatchSettings:
    """The settings in `source`; `filename` is for messages. Raises SourceError."""
    root = parse_yaml(source, filename, MANUAL).entries(
        ["version", "audit", "state"], ["rules", "jobs", "tell"]
    )
    root["version"].integer(1, 1)
    audit = root["audit"].entries(["path"], ["key", "checkpoints", "verify_every_s"])
    tell = root["tell"].entries([], ["log", "webhook", "command"]) if "tell" in root else {}
    also = _path(audit["checkpoints"]) if "checkpoints" in audit else None
    return WatchSettings(
        place=LogPlace(_path(audit["path"]), also),
        key=_path(audit["key"]) if "key" in audit else None,
        verify_every_s=(
            audit["verify_every_s"].integer(60, _MAX_COOL_DOWN_S) if "verify_every_s" in audit else DAY_S
        ),
        state=_path(root["state"]),
        rules=_with_jobs(_all_rules(root["rules"].mapping() if "rules" in root else {}), _jobs(root)),
        is_logged=tell["log"].boolean() if "log" in tell else True,
        webhook=_webhook(tell["webhook"]) if "webhook" in tell else None,
        program=_program(tell["command"]) if "command" in tell else None,
    )


def _path(node: Node) -> Path:
    return Path(node.filename).parent / node.text()


def _all_rules(given: Mapping[str, Node]) -> dict[RuleName, DetectionRule]:
    """All rules that count: the defaults, as far as the file does not change them."""
    rules = dict(DEFAULTS)
    del rules[NEEDS_HOURS], rules[NEEDS_SIZES]
    for word, node in given.items():
        name = _name(word, node)
        if node.value is False:
            if name in ALWAYS_ON:
                raise node.error(
                    f"'{word}' cannot be off", "it says whether the watch itself can be relied on"
                )
            rules.pop(name, None)
        elif node.value is None:
            rules[name] = _complete(DEFAULTS[name], {}, node)
        else:
            rules[name] = _changed(DEFAULTS[name], node)
    return rules


def _jobs(root: Mapping[str, Node]) -> dict[str, int]:
    """The accounts that no person uses, and how much of anything is too much for each."""
    if "jobs" not in root:
        return {}
    if len(root["jobs"].mapping()) > _MOST_JOBS:
        raise root["jobs"].error(f"more than {_MOST_JOBS} jobs", "name those that read much")
    return _amounts(root["jobs"])


def _with_jobs(
    rules: dict[RuleName, DetectionRule], jobs: Mapping[str, int]
) -> dict[RuleName, DetectionRule]:
    """The rules; those for reading and writing have the thresholds of jobs. A rule's own users win."""
    if not jobs:
        return rules
    counting = (_BY_USER | BY_ADDRESS) - _NOT_FOR_JOBS
    found = {
        name: replace(rule, users={**jobs, **rule.users}) if name in counting else rule
        for name, rule in rules.items()
    }
    hours = found.get(NEEDS_HOURS)
    if hours is not None:  # jobs work at night
        found[NEEDS_HOURS] = replace(hours, users={**dict.fromkeys(jobs, _MOST), **hours.users})
    return found


def _name(word: str, node: Node) -> RuleName:
    names = [name.value for name in RuleName]
    if word not in names:
        raise node.error(f"'{word}' is no rule", f"the rules: {', '.join(names)}")
    return RuleName(word)


def _changed(default: DetectionRule, node: Node) -> DetectionRule:
    optional = ["at_least", "window_s", "cool_down_s", "urgency"]
    if default.name in _BY_CLASS:
        optional.append("classes")
    if default.name in _BY_USER:
        optional.append("users")
    if default.past is not None:
        optional += ["factor", "at_most"]
    if default.learn_s:
        optional.append("learn_days")
    if default.name is NEEDS_HOURS:
        optional += ["from", "to", "days", "zone"]
    if default.name is NEEDS_SIZES:
        optional.append("sizes")
    entries = node.entries([], optional)
    rule = default
    if "window_s" in entries:
        rule = replace(rule, window_s=_window(entries["window_s"]))
        rule = replace(rule, cool_down_s=max(rule.window_s, rule.cool_down_s))
    if "at_least" in entries:
        rule = replace(rule, at_least=entries["at_least"].integer(1, _MOST))
    if "cool_down_s" in entries:
        rule = replace(rule, cool_down_s=_cool_down(entries["cool_down_s"], rule.window_s))
    if "urgency" in entries:
        word = entries["urgency"].choice([each.value for each in Urgency if each is not Urgency.LEARNING])
        rule = replace(rule, urgency=Urgency(word))
    if "learn_days" in entries:
        rule = replace(rule, learn_s=entries["learn_days"].integer(1, _MAX_LEARN_DAYS) * DAY_S)
    return _complete(rule, entries, node)


def _complete(rule: DetectionRule, entries: Mapping[str, Node], node: Node) -> DetectionRule:
    """With what only some rules have."""
    if "classes" in entries:
        rule = replace(rule, classes=_amounts(entries["classes"]))
    if "users" in entries:
        rule = replace(rule, users=_amounts(entries["users"]))
    if rule.past is not None:
        rule = replace(rule, past=_past(rule, rule.past, entries, node))
    if rule.name is NEEDS_HOURS:
        rule = replace(rule, hours=_hours(entries, node))
    if rule.name is NEEDS_SIZES:
        rule = replace(rule, sizes=_sizes(rule, entries, node))
    return rule


def _sizes(rule: DetectionRule, entries: Mapping[str, Node], node: Node) -> dict[str, int]:
    """How many documents collections have: no line of the log says that."""
    if "sizes" not in entries:
        raise node.error("no collection's size is known", "add `sizes: {clinic.patients: 20000}`")
    if rule.at_least > _ALL:
        raise node.error(f"at_least is {rule.at_least}", "it is a percentage here: 100 at most")
    return _amounts(entries["sizes"])


def _amounts(node: Node) -> dict[str, int]:
    return {name: each.integer(1, _MOST) for name, each in node.mapping().items()}


def _window(node: Node) -> int:
    window = node.integer(BUCKET_S, _MAX_WINDOW_S)
    if window % BUCKET_S:
        raise node.error("a window has whole minutes", f"write {window - window % BUCKET_S}")
    return window


def _cool_down(node: Node, window_s: int) -> int:
    cool_down = node.integer(1, _MAX_COOL_DOWN_S)
    if cool_down < window_s:
        raise node.error(
            f"a cool-down below the window of {window_s} s", "the same lines would raise an alert again"
        )
    return cool_down


def _past(rule: DetectionRule, past: OwnPast, entries: Mapping[str, Node], node: Node) -> OwnPast:
    if "factor" in entries:
        past = replace(past, factor=entries["factor"].number(1, 1000))
    if "at_most" in entries:
        past = replace(past, at_most=entries["at_most"].integer(1, _MOST))
    if past.at_most < rule.at_least:
        place = entries.get("at_most", entries.get("at_least", node))
        raise place.error(
            f"at_most is {past.at_most}, and at_least {rule.at_least}", "at_least must not exceed at_most"
        )
    return past


def _hours(entries: Mapping[str, Node], node: Node) -> Hours:
    for key in ("from", "to"):
        if key not in entries:
            raise node.error("hours are missing", 'add `from: "07:00"` and `to: "19:00"`')
    begin, end = _time(entries["from"]), _time(entries["to"])
    if begin >= end:
        raise entries["to"].error("the hours end before they begin", "`to` must be later than `from`")
    words = entries["days"].items() if "days" in entries else None
    days = _WEEKDAYS[:5] if words is None else [each.choice(_WEEKDAYS) for each in words]
    if not days:
        raise entries["days"].error("no days", "list the days on which work is done: [mon, tue]")
    zone = entries["zone"].text() if "zone" in entries else "UTC"
    try:
        found = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise entries["zone"].error(f"'{zone}' is no time zone", "write it as Europe/London") from None
    return Hours(begin, end, frozenset(map(_WEEKDAYS.index, days)), found)


def _time(node: Node) -> time:
    # YAML reads 07:00 without quotes as a number in base 60
    found = _TIME.fullmatch(node.value) if isinstance(node.value, str) else None
    if found is None:
        raise node.error("expected a time of day", 'write it in quotes: "07:00"')
    return time(int(found[1]), int(found[2]))


def _webhook(node: Node) -> WebhookSettings:
    entries = node.entries(["url", "secret"], ["ca", "timeout_s"])
    return WebhookSettings(
        url=_url(entries["url"]),
        secret=_path(entries["secret"]),
        ca=_path(entries["ca"]) if "ca" in entries else None,
        timeout_s=_timeout(entries, 10),
    )


def _url(node: Node) -> str:
    text = node.text()
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise node.error("this is no URL", "write https://host/path") from None
    if not host or parts.scheme not in ("http", "https"):
        raise node.error("this is no URL of a webhook", "write https://host/path")
    if parts.username is not None or parts.password is not None:
        raise node.error("the URL has a user or a password", "the signature says who sends it")
    if parts.scheme == "http" and not is_this_machine(host):
        raise node.error("alerts would leave this machine in clear", "use https")
    return text


def _program(node: Node) -> ProgramSettings:
    entries = node.entries(["run"], ["timeout_s"])
    words = tuple(each.text() for each in entries["run"].items())
    if not 1 <= len(words) <= _MAX_WORDS:
        raise entries["run"].error("no program", "list the program and its arguments")
    if not Path(words[0]).is_absolute():
        raise entries["run"].error("the program has no whole path", "write /usr/local/bin/name")
    return ProgramSettings(words, _timeout(entries, 10))


def _timeout(entries: Mapping[str, Node], default: int) -> int:
    return entries["timeout_s"].integer(1, _MAX_TIMEOUT_S) if "timeout_s" in entries else default
