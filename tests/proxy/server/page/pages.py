"""A page with something to show in every section, and one with nothing; the door in front of it."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.keys.frontier.frontier import Frontier
from sealwire.keys.keyring.data_key import DataKey, KeyState, generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.config.policy_file import parse_policy
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config, ListenTls, PageSettings, TlsMode
from sealwire.proxy.server.health import Following, Freshness, Health, Keeping, ProxyPhase, StoreReach
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.server.page.door import PageCall, PageDoor, Token
from sealwire.proxy.server.page.facts import PageFacts, facts_of
from sealwire.proxy.server.page.panels import (
    ADDED,
    LastHour,
    Readings,
    SeenNow,
    WatchedAlert,
    WatchedIncident,
    WatchedNow,
)
from tests.proxy.server.harness import make_config

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
TOKEN = "0123456789abcdef0123456789abcdef"

POLICY = b"""\
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  date_of_birth: {mode: deterministic, type: date, range: {unit: day, from: 1900-01-01, to: 2100-01-01}}
  phone: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients:
    nhs_number: nhs_number
    date_of_birth: date_of_birth
    contacts.phone: phone
    notes: notes
  clinic.appointments:
    patient_nhs: nhs_number
  "tenant_*.patients":
    nhs_number: nhs_number
"""

METRICS = """\
# TYPE sealwire_client_connections gauge
sealwire_client_connections 12
# TYPE sealwire_workers gauge
sealwire_workers 2
# TYPE sealwire_workers_ready gauge
sealwire_workers_ready 2
# TYPE sealwire_commands counter
sealwire_commands_total{command="find"} 18302
sealwire_commands_total{command="update"} 2412
sealwire_commands_total{command="insert"} 964
sealwire_commands_total{command="aggregate"} 531
# TYPE sealwire_refusals counter
sealwire_refusals_total{reason="range"} 14
sealwire_refusals_total{reason="pattern"} 3
# TYPE sealwire_values_encrypted counter
sealwire_values_encrypted_total 41877
# TYPE sealwire_values_decrypted counter
sealwire_values_decrypted_total 209311
# TYPE sealwire_decryption_failures counter
sealwire_decryption_failures_total{failure="UnknownKey"} 1
# TYPE sealwire_plaintext_values counter
sealwire_plaintext_values_total{namespace="clinic.patients",path="contacts.phone"} 7
# TYPE sealwire_certificate_expiry_timestamp_seconds gauge
sealwire_certificate_expiry_timestamp_seconds{side="listen"} 1796000000
sealwire_certificate_expiry_timestamp_seconds{side="upstream"} 1795900000
# TYPE sealwire_frontier_lease gauge
sealwire_frontier_lease 1
# TYPE sealwire_frontier_waited_for gauge
sealwire_frontier_waited_for{class="phone"} 3
# TYPE sealwire_frontier_documents_read gauge
sealwire_frontier_documents_read{class="phone"} 62000
# TYPE sealwire_frontier_documents gauge
sealwire_frontier_documents{class="phone"} 100000
# TYPE sealwire_command_duration_seconds histogram
sealwire_command_duration_seconds_bucket{le="0.001"} 800
sealwire_command_duration_seconds_bucket{le="0.002"} 2100
sealwire_command_duration_seconds_bucket{le="0.02"} 2720
sealwire_command_duration_seconds_bucket{le="+Inf"} 2730
sealwire_command_duration_seconds_count 2730
sealwire_command_duration_seconds_sum 6.1
# TYPE sealwire_command_added_duration_seconds histogram
sealwire_command_added_duration_seconds_bucket{le="+Inf"} 2730
sealwire_command_added_duration_seconds_count 2730
sealwire_command_added_duration_seconds_sum 0.3
# TYPE sealwire_reloads counter
sealwire_reloads_total{outcome="loaded"} 4
sealwire_reloads_total{outcome="failed"} 1
"""


FINDS = (220, 240, 260, 310, 450, 610, 590, 430, 320, 280, 260, 240)
"""Commands in each minute."""
EARLIER = {800: 700, 2100: 1950, 2720: 2568, 2730: 2577, 62_000: 55_000}
"""Counts of reply times and of moved documents, and what they were before the last minute."""
ADDED_US = (88, 91, 90, 95, 120, 164, 150, 118, 101, 96, 92, 90)
"""Microseconds that a command took longer in each minute."""
RANGES = (0, 0, 1, 0, 0, 5, 3, 1, 0, 0, 0, 0)
"""Refusals in each minute."""


def a_keyring() -> Keyring:
    """Keys of every state, one of them due."""

    def key(name: str, number: int, version: int, days: int, state: KeyState = KeyState.ACTIVE) -> DataKey:
        return generate_data_key(name, number, version, NOW - timedelta(days=days), state)

    retired = replace(
        key("nhs_number", 1, 1, 800, KeyState.RETIRED),
        destroy_after=NOW.replace(microsecond=0) - timedelta(1),
    )
    return Keyring(
        [
            retired,
            key("nhs_number", 1, 2, 200),
            key("date_of_birth", 2, 1, 90),
            key("phone", 3, 1, 400),
            key("phone", 3, 2, 2, KeyState.PENDING),
            key("notes", 4, 1, 400, KeyState.DECRYPT_ONLY),
            key("notes", 4, 2, 30),
        ]
    )


def some_facts() -> PageFacts:
    """Of POLICY, with a class that moves and one that is lost."""
    moving = {"phone": Frontier(3, 1, 2).opened(b"\x01").moving(), "date_of_birth": None}
    return facts_of(parse_policy(POLICY, "policy.yaml").rules, a_keyring(), moving)


def some_watched() -> WatchedNow:
    """Two alerts and an incident that presses."""
    about = "user ann@admin, class nhs_number"
    return WatchedNow(
        (
            WatchedAlert("a12", "bulk-read", "critical", "2026-11-27 08:12:00", 4210, about, "i3"),
            WatchedAlert("a11", "refused", "warning", "2026-11-27 07:55:00", 22, "user bob@admin", ""),
        ),
        (WatchedIncident("i3", "Bulk read by ann", "open", "11 h 20 min", True, "dpo"),),
    )


def a_config(folder: Path, *, tls: bool = False, token: bool = True, name: str | None = None) -> Config:
    """With an audit log in `folder`, and a page."""
    audit = AuditSettings(LogPlace(folder / "audit.jsonl"), folder / "audit.key", LogPace())
    admin_tls = ListenTls(TlsMode.TLS, folder / "admin.crt") if tls else ListenTls(TlsMode.PLAINTEXT)
    token_file = folder / "token" if token else None
    page = PageSettings(token_file, name, Path("/etc/sealwire/alerts.yaml"))
    return replace(
        make_config(27017),
        policy=Path("/etc/sealwire/policy.yaml"),
        admin=Address("127.0.0.1", 9464),
        admin_tls=admin_tls,
        admin_page=page,
        audit=audit,
    )


def a_health() -> Health:
    """Ready, with this and that to look at."""
    return Health(
        phase=ProxyPhase.READY,
        keyring=Freshness.FRESH,
        clock=lambda: 0.0,
        policies=("0a1b2c3d4e5f",),
        frontier=Following.FOLLOWS,
        plaintext=(("clinic.patients", "contacts.phone"),),
        audit=Keeping.KEPT,
        contexts=StoreReach.OFF,
    )


@dataclass(slots=True)
class FixedFeed:
    """A feed that a test fills."""

    config: Config
    text: str = METRICS
    said: PageFacts | None = field(default_factory=some_facts)
    away: bool = False

    def render(self) -> bytes:
        """Raises TimeoutError where the processes are away."""
        if self.away:
            raise TimeoutError
        return self.text.encode()

    def facts(self) -> PageFacts | None:
        """What was given."""
        return self.said


@dataclass(slots=True)
class HandClock:
    """A clock that stands until a test moves it."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


def filled_hour(clock: HandClock, feed: FixedFeed) -> LastHour:
    """Twelve minutes of traffic."""
    hour = LastHour(feed.render, clock)
    finds, refused, timed, added_us = 18302 - sum(FINDS), 14 - sum(RANGES), 0, 0
    for found, more, slower in zip((0, *FINDS), (0, *RANGES), (0, *ADDED_US), strict=True):
        finds, refused = finds + found, refused + more
        timed, added_us = timed + found, added_us + found * slower
        feed.text = METRICS.replace("18302", str(finds)).replace('"range"} 14', f'"range"}} {refused}')
        feed.text = feed.text.replace(f"{ADDED}_count 2730", f"{ADDED}_count {timed}")
        feed.text = feed.text.replace(f"{ADDED}_sum 0.3", f"{ADDED}_sum {added_us / 1e6}")
        for count, earlier in EARLIER.items():
            feed.text = feed.text.replace(f"}} {count}\n", f"}} {earlier}\n") if finds < 18302 else feed.text
        hour.take()
        clock.now_s += 60
    clock.now_s -= 60
    return hour


def seen(folder: Path, *, facts: PageFacts | None = None, text: str = METRICS) -> SeenNow:
    """What a full page is made from; give other facts or figures."""
    feed, clock = FixedFeed(a_config(folder)), HandClock()
    hour = filled_hour(clock, feed)
    facts = some_facts() if facts is None else facts
    ends = NOW + timedelta(days=300)
    watched = some_watched()
    return SeenNow(feed.config, a_health(), Readings(text), hour, facts, watched, ends, NOW)


def nothing_seen(folder: Path) -> SeenNow:
    """Before anything has happened, and nobody answers."""
    config = replace(a_config(folder), audit=None)
    return SeenNow(
        config, Health(clock=lambda: 0.0), Readings(), LastHour(lambda: b""), None, None, None, NOW
    )


def a_token(folder: Path, text: str = TOKEN) -> Token:
    """A token in a file."""
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text(text + "\n", encoding="utf-8")
    return Token(path)


def a_door(folder: Path, *, tls: bool = False, token: bool = True, name: str | None = None) -> PageDoor:
    """A door that knows TOKEN; its page has something in every section."""
    config = a_config(folder, tls=tls, token=token, name=name)
    known = a_token(folder) if token else None
    return PageDoor(config, a_health(), FixedFeed(config), known, lambda _: some_watched())


def call(
    path: str, method: str = "GET", form: bytes = b"", *, peer: str = "127.0.0.1", **headers: str
) -> PageCall:
    """A request from a browser on this machine; header names with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return PageCall(method, path, {"host": "localhost:9464"} | named, peer, None, form)
