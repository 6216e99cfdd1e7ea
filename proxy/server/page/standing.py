"""How the proxy stands: whether it is ready, what is covered, keys and certificates by age, moves, the audit.

Every state that somebody has to do something about comes with the command that shows more or does it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from shlex import quote
from typing import Final

from sealwire.audit.errors import AuditError
from sealwire.audit.files import LogPlace, end_of_file
from sealwire.files.html.frame import Mark, Tone
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.turning import moving_command
from sealwire.policies.errors import EXPLANATIONS, Reason
from sealwire.policies.file.schema import Mode
from sealwire.proxy.server.dry_run import shapes_in
from sealwire.proxy.server.health import Following, Freshness, Keeping, ProxyPhase, StoreReach, is_ready
from sealwire.proxy.server.observability.observed import COMMANDS as OBSERVED_COMMANDS
from sealwire.proxy.server.observability.observed import LABELS as OBSERVED_LABELS
from sealwire.proxy.server.observability.observed import SHAPES as OBSERVED_SHAPES
from sealwire.proxy.server.page.facts import OBSERVED, HowFar, ShownKey, age_days
from sealwire.proxy.server.page.panels import (
    COMMANDS,
    MAX_ALERTS,
    MOVED,
    REFUSALS,
    WITHHELD,
    Cell,
    Code,
    Lamp,
    Panel,
    PanelTable,
    SeenNow,
    Trend,
    WatchedAlert,
    WatchedIncident,
)
from sealwire.proxy.server.tls import EXPIRY_WARNING

_CHECKPOINT: Final = re.compile(
    rb"^(0|[1-9][0-9]{0,18})\n[A-Za-z0-9+/=]{44}\ntime ([0-9T:.+-]{20,40})$", re.M
)
_LOOK: Final = "What this host and the configuration say"
_SERVER: Final = "--uri-file server.uri"
_OBSERVE: Final = "sealwire observe report --config CONFIG"
_UNPROTECTED: Final = "NOT PROTECTED"
_MOVES: Final = "Moves of classes"
_UNKNOWN: Final = "No process could be asked for this. Look again when the proxy is ready."

_KEYRING = {
    Freshness.FRESH: Mark("fresh", Tone.FINE),
    Freshness.STALE: Mark("stale: the last load failed, the keys from before serve", Tone.LOOK),
    Freshness.EXPIRED: Mark("expired: too old to be used", Tone.ACT),
}
_FRONTIER = {
    Following.OFF: Mark("not followed: a class that moves, or has moved, would be refused", Tone.FINE),
    Following.FOLLOWS: Mark("followed", Tone.FINE),
    Following.LOST: Mark("lost: no lease, or a class is refused", Tone.ACT),
}
_CONTEXTS = {
    StoreReach.OFF: Mark("none", Tone.FINE),
    StoreReach.ANSWERS: Mark("answers", Tone.FINE),
    StoreReach.AWAY: Mark("does not answer", Tone.ACT),
}
_AUDIT: Final[Mapping[Keeping, Cell]] = {
    Keeping.OFF: "off: lines go into the log",
    Keeping.KEPT: Mark("kept", Tone.FINE),
    Keeping.WAITING: Mark("waiting: it cannot be written", Tone.ACT),
    Keeping.FULL: Mark("full: connections that report are cut", Tone.ACT),
}


# What passes, what is refused and what explains it, and what the watch of the audit log makes of both.

_REASONS = {reason.value: reason for reason in Reason}
_MANY_MS = 1000
_TONES = {"critical": Tone.ACT, "warning": Tone.LOOK, "notice": Tone.FINE}


def traffic(seen: SeenNow) -> Panel:
    """Commands by name with their rates, values, and how long replies take."""
    counted = _met(seen.readings.by_label(COMMANDS, "command"))
    rates = seen.hour.lately(COMMANDS, seen.readings)
    rows = [(name, round(count), rate_text(rates.get(name))) for name, count in counted.items()]
    tables = PanelTable.of("Commands since the start", ("Command", "Commands", "A second, lately"), rows)
    values: tuple[tuple[str, Cell], ...] = (
        ("Client connections", round(seen.readings.sum("sealwire_client_connections"))),
        ("Commands a second, over the last minute", rate_text(sum(rates.values()) if rates else None)),
        *_reply_times(seen),
        ("Values encrypted since the start", round(seen.readings.sum("sealwire_values_encrypted_total"))),
        ("Values decrypted since the start", round(seen.readings.sum("sealwire_values_decrypted_total"))),
    )
    texts = () if rows else ("No command has come yet.",)
    return Panel("traffic", "Traffic", texts, values, (), tables)


def refusals(seen: SeenNow) -> Panel:
    """Refused commands by reason, what each reason means, and what to type to learn more."""
    counted = _met(seen.readings.by_label(REFUSALS, "reason"))
    rates = seen.hour.lately(REFUSALS, seen.readings)
    rows = [
        (
            reason,
            round(count),
            rate_text(rates.get(reason)),
            meaning(reason),
            Code(explain_command(seen, reason)),
        )
        for reason, count in counted.items()
    ]
    columns = ("Reason", "Refused", "A second, lately", "What it means, and what to do", "What explains one")
    tables = PanelTable.of("Refused commands since the start", columns, rows)
    withheld = _met(seen.readings.by_label(WITHHELD, "failure"))
    caption = "Replies withheld because a stored value does not open"
    found = [(failure, round(count)) for failure, count in withheld.items()]
    tables += PanelTable.of(caption, ("Why", "Replies"), found)
    texts = () if tables else ("Nothing was refused or withheld since the start.",)
    audit = seen.config.audit
    commands: tuple[tuple[str, str], ...] = ()
    if audit is not None and rows:
        command = f"sealwire audit tail {quote(str(audit.place.path))} --event refused"
        commands = (("Which commands they were", command),)
    return Panel("refusals", "Refusals", texts, (), commands, tables)


def alerts(seen: SeenNow) -> Panel:
    """Alerts and incidents, or how they come here."""
    title, watch, watched = "Alerts and incidents", seen.config.admin_page.watch, seen.watched
    if watch is None or watched is None:
        text = "Set admin.page.watch to the rules file of `sealwire watch` to see its alerts here."
        return Panel("alerts", title, (text,), (), (("How alerts are set up", "sealwire watch --help"),))
    if watched.problem:
        mark = ("The watch", Mark(watched.problem, Tone.ACT))
        return Panel("alerts", title, (watched.hint,) if watched.hint else (), (mark,))
    pressing = sum(each.is_pressing for each in watched.incidents)
    marks: tuple[tuple[str, Cell], ...] = (
        ("Alerts that nobody has acknowledged", _shown_count(len(watched.alerts))),
        ("Incidents that are not closed", len(watched.incidents)),
        ("Incidents that press", Mark(str(pressing), Tone.ACT) if pressing else 0),
    )
    config = quote(str(watch))
    commands = (
        ("To acknowledge alerts and open an incident", f"sealwire incident open --config {config} --help"),
        ("All alerts", f"sealwire incident alerts --all --config {config}"),
    )
    columns = ("Incident", "State", "Left of 72 hours", "Taken on by", "Title")
    tables = PanelTable.of("Incidents that are not closed", columns, map(_incident_row, watched.incidents))
    names = ("Alert", "Rule", "Urgency", "First (UTC)", "Amount", "About", "Incident")
    tables += PanelTable.of("Alerts that nobody has acknowledged", names, map(_alert_row, watched.alerts))
    texts = () if tables else ("There is nothing that nobody has seen.",)
    return Panel("alerts", title, texts, marks, commands, tables)


def explain_command(seen: SeenNow, reason: str) -> str:
    """What says why a command is refused; it needs no key, and COMMAND is one that was refused."""
    policy = quote(str(seen.config.policy))
    if reason == Reason.ROLE.value:
        return f"sealwire policy access {policy} --as USER --db DATABASE 'COMMAND'"
    return f"sealwire policy explain {policy} --db DATABASE 'COMMAND'"


def meaning(reason: str) -> str:
    """A reason in a sentence, with what to do instead; empty for one that is not known here."""
    known = _REASONS.get(reason)
    if known is None:
        return "docs/errors.md has it"
    _, denied, instead = EXPLANATIONS[known]
    return f"{denied[:1].upper()}{denied[1:]}. Instead: {instead}."


def rate_text(rate: float | None) -> str:
    """A rate as people read it."""
    if rate is None:
        return "not known yet"
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2f}"


def _reply_times(seen: SeenNow) -> Iterator[tuple[str, str | Mark]]:
    for part, words in ((0.5, "half of the replies"), (0.99, "99 % of the replies")):
        within_s = seen.hour.reply_time_s(seen.readings, part)
        if within_s is not None:
            text = "longer than 10 s" if within_s == float("inf") else f"{within_s * 1000:g} ms at most"
            slow = within_s * 1000 > _MANY_MS
            yield f"Lately, {words} took", Mark(text, Tone.LOOK) if slow else text


def _met(counted: Mapping[str, float]) -> dict[str, float]:
    """What has happened at all: every label is there from the start."""
    return {label: count for label, count in counted.items() if count}


def _shown_count(count: int) -> Cell:
    if count >= MAX_ALERTS:
        return Mark(f"{count} or more", Tone.ACT)
    return Mark(str(count), Tone.LOOK) if count else 0


def _alert_row(each: WatchedAlert) -> tuple[Cell, ...]:
    urgency = Mark(each.urgency, _TONES.get(each.urgency, Tone.ACT))
    return (each.id, each.rule, urgency, each.first, each.amount, each.about, each.incident or "none")


def _incident_row(each: WatchedIncident) -> tuple[Cell, ...]:
    left: Cell = each.left or "not running"
    if each.is_pressing:
        left = Mark(each.left, Tone.ACT)
    return (each.id, each.state, left, each.taken_by or "nobody", each.title)


def overview(seen: SeenNow) -> Panel:
    """Ready, or why not, and what needs somebody."""
    health, readings = seen.health, seen.readings
    ready = Mark("ready: clients are served", Tone.FINE)
    if not is_ready(health):
        ready = Mark(f"not ready: {'; '.join(_why_not(seen))}", Tone.ACT)
    policies = health.policies
    policy: Cell = Code(policies[0]) if len(policies) == 1 else Mark("workers differ", Tone.LOOK)
    marks: list[tuple[str, Cell]] = [
        *_unprotected(seen),
        ("State", ready),
        ("Keys", _KEYRING[health.keyring]),
        ("Policy, beginning of its SHA-256", policy if policies else "none yet"),
        (_MOVES, _FRONTIER[health.frontier]),
        ("Store of keys of contexts", _CONTEXTS[health.contexts]),
        ("Audit log", _AUDIT[health.audit]),
    ]
    workers = readings.value("sealwire_workers")
    if workers is not None:
        serving = round(readings.sum("sealwire_workers_ready"))
        tone = Tone.FINE if serving == workers else Tone.ACT
        marks.append(("Workers that serve", Mark(f"{serving} of {round(workers)}", tone)))
    marks.append(_counted(seen, "sealwire_bugs_total", "Connections cut by a bug", Tone.ACT))
    failed = round(readings.by_label("sealwire_reloads_total", "outcome").get("failed", 0.0))
    marks.append(("Reloads that were refused", Mark(str(failed), Tone.LOOK) if failed else 0))
    return Panel("overview", "Overview", tuple(_to_do(seen)), tuple(marks), ((_LOOK, "sealwire doctor"),))


def _unprotected(seen: SeenNow) -> Iterator[tuple[str, Mark]]:
    """What is to be read first: that something is only observed."""
    if seen.health.observed:
        names = ", ".join(seen.health.observed)
        yield _UNPROTECTED, Mark(f"only observed, values are stored in clear: {names}", Tone.ACT)


def observed(seen: SeenNow) -> Panel:
    """What a policy that is only observed would have done."""
    readings = seen.readings
    marks: list[tuple[str, Cell]] = list(_unprotected(seen))
    if not marks:
        return Panel("observed", "Only observed", ("Nothing: the whole policy is enforced.",))
    marks += [
        (verdict, round(count))
        for verdict, count in readings.by_label(f"{OBSERVED_COMMANDS}_total", "verdict").items()
    ]
    rows = [
        (row.count, row.verdict, row.words, row.look_at)
        for row in shapes_in(readings.by_labels(f"{OBSERVED_SHAPES}_total", *OBSERVED_LABELS))
    ]
    columns = ("Commands", "Verdict", "What", "First place to look")
    tables = PanelTable.of("What would have become of commands", columns, rows)
    commands = (("The same for programs", f"{_OBSERVE} --json"),)
    return Panel("observed", "Only observed", (), tuple(marks), commands, tables)


def coverage(seen: SeenNow) -> Panel:
    """What the policy covers, and where plaintext was met all the same."""
    if seen.facts is None:
        return Panel("coverage", "Coverage", (_UNKNOWN,))
    facts = seen.facts
    in_clear = frozenset(seen.health.in_clear)
    rows = [
        (
            Code(each.namespace),
            Code(each.path),
            Code(each.class_name),
            Mark(each.mode, Tone.ACT)
            if each.mode == OBSERVED
            else Mark("in clear", Tone.LOOK)
            if each.class_name in in_clear
            else each.mode,
            ", ".join(part for part in (each.value_type, each.extras) if part) or "any type",
        )
        for each in facts.covered
    ]
    columns = ("Collection", "Path", "Class", "Stored", "Values")
    tables = PanelTable.of("Covered paths", columns, rows, facts.covered_count - len(rows))
    met = seen.readings.by_labels("sealwire_plaintext_values_total", "namespace", "path")
    found = [(Code(namespace), Code(path), round(count)) for (namespace, path), count in met.items()]
    caption = "Plaintext met in covered paths since the start"
    tables += PanelTable.of(caption, ("Collection", "Path", "Values"), found)
    texts = [] if rows else ["The policy covers no path: everything is stored in clear."]
    search = f"sealwire policy coverage {quote(str(seen.config.policy))} {_SERVER}"
    commands = [("What is covered by no path and looks personal", search)]
    if met:
        commands.append(("How much is stored in clear", _drift_command(seen)))
    random = sum(each.mode == Mode.RANDOM.value for each in facts.covered)
    collections = len({each.namespace for each in facts.covered})
    marks = (("Collections", collections), ("Paths", facts.covered_count), ("Paths in random mode", random))
    return Panel("coverage", "Coverage", tuple(texts), marks, tuple(commands), tables)


def keys(seen: SeenNow) -> Panel:
    """Every version of every key with its state and age."""
    if seen.facts is None:
        return Panel("keys", "Keys", (_UNKNOWN,))
    rows = [_key_row(each, seen) for each in seen.facts.keys]
    columns = ("Class", "Version", "State", "Made", "Days old", "What is due")
    commands = (("What is due, and where each key is used", _keys_command(seen)),)
    texts = () if rows else ("No key is at hand.",)
    return Panel("keys", "Keys", texts, (), commands, PanelTable.of("Keys", columns, rows))


def certificates(seen: SeenNow) -> Panel:
    """When the certificates end that this proxy shows."""
    rows = [
        (name, f"{end:%Y-%m-%d %H:%M}", _days_left(end, seen.now))
        for name, end in _certificate_ends(seen).items()
    ]
    commands = (
        ("A renewed certificate counts after a reload", "systemctl reload sealwire"),
        ("What the servers show, and until when", "sealwire tls verify TARGET"),
    )
    texts = () if rows else ("This proxy shows no certificate.",)
    tables = PanelTable.of("Certificates", ("Certificate", "Ends (UTC)", "Days left"), rows)
    return Panel("certificates", "Certificates", texts, (), commands, tables)


def how_far(read: float, of: float) -> str:
    """How far a move has come, by the documents that its job has read."""
    return f"{100 * read // of:.0f} %, {of - read:.0f} documents left" if of else "not counted yet"


def _documents(seen: SeenNow) -> tuple[dict[str, float], dict[str, float]]:
    """By class, how many documents its job has read, and of how many."""
    return seen.readings.by_label(MOVED, "class"), seen.readings.by_label(
        "sealwire_frontier_documents", "class"
    )


def moves(seen: SeenNow) -> Panel:
    """Classes that move to another key, into clear or out of it."""
    lease = seen.readings.value("sealwire_frontier_lease")
    marks: list[tuple[str, Cell]] = [(_MOVES, _FRONTIER[seen.health.frontier])]
    if seen.health.frontier is not Following.OFF and lease is not None:
        held = Mark("held", Tone.FINE) if lease else Mark("lost", Tone.ACT)
        marks.append(("Leases of the proxy's processes", held))
    if seen.facts is None:
        return Panel("moves", "Migration and rotation", (_UNKNOWN,), tuple(marks))
    waits = seen.readings.by_label("sealwire_frontier_waited_for", "class")
    read, of = _documents(seen)
    rows = [
        (
            Code(each.class_name),
            f"{each.old_version} to {each.new_version}" if each.new_version else "unknown",
            Mark(each.stage, Tone.ACT) if each.stage == HowFar.LOST.value else each.stage,
            how_far(read.get(each.class_name, 0), of.get(each.class_name, 0)),
            each.generation,
            round(waits.get(each.class_name, 0.0)),
        )
        for each in seen.facts.moves
    ]
    if not rows:
        return Panel("moves", "Migration and rotation", ("No class moves.",), tuple(marks))
    columns = ("Class", "Key versions", "Stage", "Moved", "Step", "Commands waited for")
    commands = (("The job, its rate, and whom it waits for", _status_command(seen)),)
    tables = PanelTable.of("Classes that move", columns, rows)
    return Panel("moves", "Migration and rotation", (), tuple(marks), commands, tables)


def audit(seen: SeenNow) -> Panel:
    """Whether lines are kept, and how long ago the last checkpoint was signed."""
    settings = seen.config.audit
    marks: list[tuple[str, Cell]] = [("Audit log", _AUDIT[seen.health.audit])]
    if settings is None:
        text = "Set audit.path and audit.key to have a log in which nothing can be changed unnoticed."
        return Panel("audit", "Audit log", (text,), tuple(marks))
    if seen.health.audit_trouble:
        marks.append(("What keeps lines from it", Mark(seen.health.audit_trouble, Tone.ACT)))
    marks.append(("File", Code(str(settings.place.path))))
    marks.append(("Commands on record, besides the refused", settings.commands.value))
    pseudonyms = "by pseudonym" if settings.subjects_key else "not told: audit.subjects_key is not set"
    marks.append(("Whose data was shown", pseudonyms))
    marks.append(_counted(seen, "sealwire_audit_failures_total", "Lines that could not be written", Tone.ACT))
    if settings.key is None:
        marks.append(("Checkpoints", Mark("none: audit.key is not set", Tone.LOOK)))
    else:
        marks += _checkpoint_marks(settings.place, seen.now)
    path = quote(str(settings.place.path))
    commands = (
        ("Whether the log is whole", f"sealwire audit verify {path} --key AUDIT_KEY.pub"),
        ("Who did what", f"sealwire audit report {path}"),
    )
    text = "This page does not verify the log. It shows what the newest checkpoint claims."
    return Panel("audit", "Audit log", (text,), tuple(marks), commands)


def _why_not(seen: SeenNow) -> Iterator[str]:
    health = seen.health
    if not health.alive:
        yield "an event loop is stuck"
    if health.phase is not ProxyPhase.READY:
        yield health.phase.value
    if health.keyring is Freshness.EXPIRED:
        yield "the keys are too old"
    if health.audit is Keeping.FULL:
        yield "the audit log takes no more"
    if health.frontier is Following.LOST:
        yield "there is no lease, or a class is refused"


def _to_do(seen: SeenNow) -> Iterator[str]:
    health = seen.health
    if health.keyring is not Freshness.FRESH:
        yield "The log says why the keyring could not be loaded; docs/operations/keys.md has the causes."
    if health.audit in (Keeping.WAITING, Keeping.FULL):
        yield "Make room where the audit log lies: docs/operations/audit.md, When it fails."


def _counted(seen: SeenNow, name: str, words: str, tone: Tone) -> tuple[str, Cell]:
    count = round(seen.readings.sum(name))
    return words, Mark(str(count), tone) if count else 0


def _key_row(each: ShownKey, seen: SeenNow) -> tuple[Cell, ...]:
    kind = " (in clear)" if each.is_plaintext else " (borrowed)" if each.is_borrowed else ""
    state, due = f"{each.state}{kind}", _due_command(each, seen)
    later = f"may be destroyed after {each.destroy_after[:10]}" if each.destroy_after else "nothing"
    return (
        Code(each.class_name),
        each.version,
        Mark(state, Tone.LOOK) if due else state,
        each.made[:10],
        age_days(each.made, seen.now),
        Code(due) if due else later,
    )


def _due_command(each: ShownKey, seen: SeenNow) -> str:
    """What is to be done with a key now; empty: nothing."""
    if each.state == KeyState.PENDING.value:
        return _moving(each.class_name, seen, to_plaintext=each.is_plaintext)
    if each.destroy_after and datetime.fromisoformat(each.destroy_after) <= seen.now:
        keyring = quote(str(seen.config.keyring))
        return f"sealwire keys destroy {each.class_name} {each.version} --keyring {keyring}"
    return ""


def _moving(class_name: str, seen: SeenNow, *, to_plaintext: bool = False) -> str:
    """What moves the values of a class: those of one in clear are encrypted, and not encrypted again."""
    is_clear = class_name in seen.health.in_clear
    command = moving_command(class_name, from_plaintext=is_clear, to_plaintext=to_plaintext)
    return f"{command.replace('POLICY', quote(str(seen.config.policy)))} {_site(seen)}"


def _site(seen: SeenNow) -> str:
    return f"--keyring {quote(str(seen.config.keyring))} {_SERVER}"


def _drift_command(seen: SeenNow) -> str:
    return f"sealwire policy drift {quote(str(seen.config.policy))} {_site(seen)}"


def _status_command(seen: SeenNow) -> str:
    return f"sealwire migrate status {_site(seen)}"


def _keys_command(seen: SeenNow) -> str:
    keyring, policy = quote(str(seen.config.keyring)), quote(str(seen.config.policy))
    return f"sealwire keys status --keyring {keyring} --policy {policy}"


def _certificate_ends(seen: SeenNow) -> dict[str, datetime]:
    shown = {"listen": "shown to clients", "upstream": "shown to the server"}
    ends = seen.readings.by_label("sealwire_certificate_expiry_timestamp_seconds", "side")
    found = {shown.get(name, name): datetime.fromtimestamp(end, UTC) for name, end in ends.items()}
    if seen.certificate_ends is not None:
        found["shown on this address"] = seen.certificate_ends
    return dict(sorted(found.items()))


def _days_left(end: datetime, now: datetime) -> Cell:
    if end <= now:
        return Mark("has ended", Tone.ACT)
    days = (end - now).days
    return Mark(f"{days}: renew it", Tone.LOOK) if end - now < EXPIRY_WARNING else str(days)


def _checkpoint_marks(place: LogPlace, now: datetime) -> Iterator[tuple[str, Cell]]:
    try:
        found = _CHECKPOINT.findall(end_of_file(place.checkpoints[0]))
        size, moment = int(found[-1][0]), datetime.fromisoformat(found[-1][1].decode())
    except (AuditError, IndexError, ValueError):
        yield "Checkpoints", Mark("none that can be read", Tone.ACT)
        return
    # an old one is no fault: where no line has come there is nothing to sign
    minutes = max(round((now - moment).total_seconds() / 60), 0)
    yield "Newest checkpoint", f"{moment:%Y-%m-%d %H:%M:%S} UTC, {minutes} minutes ago"
    yield "Lines that it signs", size


# The band on top: what is encrypted, what moves, what is due, what is wrong, each with its command.
#
# It has nothing that the sections do not say. A class in clear is something to look at, if all else is well.

_ELSEWHERE: Final = frozenset({_MOVES, _UNPROTECTED})
"""Names of an overview's states that another part of the band has."""
_MODES: Final = frozenset(mode.value for mode in Mode)
_NOT_YET: Final = "not known yet"
_NOTHING: Final = Mark("nothing", Tone.FINE)
_WORST_FIRST: Final = (Tone.ACT, Tone.LOOK, Tone.FINE)


def lamps(seen: SeenNow, panels: Sequence[Panel]) -> tuple[Lamp, ...]:
    """The parts of the band; `panels` are the sections of the same moment."""
    due, wrong = _due(seen), _wrong(seen, {panel.key: panel for panel in panels})
    return (_encrypted(seen), _moves_now(seen), _counting("Due", due), _counting("Wrong", wrong))


def verdict(seen: SeenNow, shown: Sequence[Lamp]) -> Mark:
    """The state of the proxy in one line, in the colour of the worst that there is."""
    if not is_ready(seen.health):
        return Mark(f"Clients are not served: {'; '.join(_why_not(seen))}", Tone.ACT)
    for name, mark in _unprotected(seen):
        return Mark(f"{name}: {mark.text}", mark.tone)
    tones = [mark.tone for lamp in shown for mark, _ in lamp.rows]
    tones += [lamp.state.tone for lamp in shown if not lamp.rows]
    acts, looks = tones.count(Tone.ACT), tones.count(Tone.LOOK)
    if acts:
        return Mark(f"Clients are served. {_things(acts)} to act on", Tone.ACT)
    if looks:
        return Mark(f"Clients are served. {_things(looks)} to look at", Tone.LOOK)
    return Mark("Clients are served. All is well", Tone.FINE)


def plots(seen: SeenNow) -> tuple[Trend, ...]:
    """The last hour: what came, what was refused, and how long it was held up."""
    commands, refused = seen.hour.by_minute(COMMANDS), seen.hour.by_minute(REFUSALS)
    added = seen.hour.added_by_minute()
    rates = seen.hour.lately(COMMANDS, seen.readings)
    rate = f"{rate_text(sum(rates.values()))} a second" if rates else _NOT_YET
    recent = f"{sum(refused)} in {len(refused)} min" if refused else _NOT_YET
    latest = f"{added[-1]} µs" if added else _NOT_YET
    return (
        Trend("Commands", commands, "commands", rate),
        Trend("Refusals", refused, "refusals", recent),
        Trend("Added latency", added, "microseconds on average", latest),
    )


def _encrypted(seen: SeenNow) -> Lamp:
    if seen.facts is None:
        return Lamp("Encrypted", Mark(_NOT_YET, Tone.LOOK))
    names = {each.class_name for each in seen.facts.covered}
    in_clear = names.intersection(seen.health.in_clear)
    rows = [(Mark(f"{_UNPROTECTED}: {mark.text}", mark.tone), _OBSERVE) for _, mark in _unprotected(seen)]
    rows += [
        (Mark(f"{name} is stored in clear", Tone.LOOK), _moving(name, seen)) for name in sorted(in_clear)
    ]
    # what is in no mode that is known here is not counted as encrypted
    in_clear |= {each.class_name for each in seen.facts.covered if each.mode not in _MODES}
    for namespace, path in seen.health.plaintext:
        rows.append((Mark(f"Plaintext was met in {namespace}, {path}", Tone.LOOK), _drift_command(seen)))
    if not names:
        return Lamp("Encrypted", Mark("nothing: the policy covers no path", Tone.LOOK))
    state = f"{len(names) - len(in_clear)} of {len(names)} classes"
    tone = _worst(rows) if rows or not in_clear else Tone.LOOK
    return Lamp("Encrypted", Mark(state, tone), tuple(rows))


def _moves_now(seen: SeenNow) -> Lamp:
    moving = () if seen.facts is None else seen.facts.moves
    (read, of), rates = _documents(seen), seen.hour.lately(MOVED, seen.readings)
    rows = []
    for each in moving:
        name = each.class_name
        if each.stage == HowFar.LOST.value:
            mark = Mark(f"{name}: {each.stage}", Tone.ACT)
        else:
            done = how_far(read.get(name, 0), of.get(name, 0))
            mark = Mark(f"{name}: {each.stage}, {done}, {rate_text(rates.get(name))} a second", Tone.FINE)
        rows.append((mark, _status_command(seen)))
    if seen.health.frontier is Following.LOST:
        rows.append((_FRONTIER[Following.LOST], _status_command(seen)))
    if not rows:
        return Lamp("Moving", _NOTHING)
    count = len(moving)
    return Lamp("Moving", Mark("1 class" if count == 1 else f"{count} classes", _worst(rows)), tuple(rows))


def _due(seen: SeenNow) -> Iterator[tuple[Mark, str]]:
    moves = () if seen.facts is None else seen.facts.moves
    # the other parts of the band have these, with the same command
    begun = {each.class_name for each in moves if each.stage != HowFar.WAITS.value}.union(
        seen.health.in_clear
    )
    for each in () if seen.facts is None else seen.facts.keys:
        command, is_pending = _due_command(each, seen), each.state == KeyState.PENDING.value
        if command and not (is_pending and each.class_name in begun):
            what = "is pending" if is_pending else "can be destroyed"
            yield Mark(f"{each.class_name}: key version {each.version} {what}", Tone.LOOK), command
    for name, end in _certificate_ends(seen).items():
        left = _days_left(end, seen.now)
        if isinstance(left, Mark):
            words = "has ended" if left.tone is Tone.ACT else f"ends {end:%Y-%m-%d}"
            yield (
                Mark(f"The certificate {name} {words}: renew it, then", left.tone),
                "systemctl reload sealwire",
            )
    watched, config = seen.watched, quote(str(seen.config.admin_page.watch))
    for incident in () if watched is None else watched.incidents:
        if incident.is_pressing:
            command = f"sealwire incident show {incident.id} --config {config}"
            yield Mark(f"Incident {incident.id}: {incident.left} of 72 hours left", Tone.ACT), command


def _wrong(seen: SeenNow, panels: Mapping[str, Panel]) -> Iterator[tuple[Mark, str]]:
    for key in ("overview", "audit"):
        command = panels[key].commands[0][1] if panels[key].commands else ""
        for name, value in panels[key].marks:
            if isinstance(value, Mark) and value.tone is not Tone.FINE and name not in _ELSEWHERE:
                yield Mark(f"{name}: {value.text}", value.tone), command
    withheld = sum(seen.hour.by_minute(WITHHELD))
    if withheld:
        yield Mark(f"Replies withheld in the last hour: {withheld}", Tone.ACT), _keys_command(seen)
    watched, config = seen.watched, quote(str(seen.config.admin_page.watch))
    if watched is not None and watched.problem:
        yield Mark(f"The watch: {watched.problem}", Tone.ACT), f"sealwire watch {config}"
    elif watched is not None and watched.alerts:
        tone = Tone.ACT if any(each.urgency == "critical" for each in watched.alerts) else Tone.LOOK
        text = f"Alerts that nobody has acknowledged: {len(watched.alerts)}"
        yield Mark(text, tone), f"sealwire incident alerts --config {config}"


def _worst(rows: Sequence[tuple[Mark, str]]) -> Tone:
    return min((mark.tone for mark, _ in rows), key=_WORST_FIRST.index, default=Tone.FINE)


def _counting(title: str, found: Iterable[tuple[Mark, str]]) -> Lamp:
    rows = tuple(sorted(found, key=lambda row: _WORST_FIRST.index(row[0].tone)))
    return Lamp(title, Mark(_things(len(rows)), _worst(rows)) if rows else _NOTHING, rows)


def _things(count: int) -> str:
    return "1 thing" if count == 1 else f"{count} things"
