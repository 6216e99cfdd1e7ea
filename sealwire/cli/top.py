"""`sealwire top`: what passes through a running proxy now, by collection, as its /metrics count it.

Two readings of the admin address make one view. It has names of the policy, of commands and of reasons, and
figures; nothing that a client says is among them. docs/adr/0049 says why it is drawn so.

`sealwire observe report` reads there what a policy that is only observed would have done.
"""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.healthcheck import OK, ask_admin
from sealwire.cli.options import config_option, json_option
from sealwire.cli.output import print_json, show_table
from sealwire.proxy.server.config.rows import AdminDoor, load_admin_door
from sealwire.proxy.server.errors import NotReady, StartReason

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from sealwire.proxy.server.page.panels import Readings

_OUTCOMES: Final = ("sent", "refused", "failed")
SORTS: Final = ("commands", "refused", "failed", "name")
_MICROSECONDS: Final = 1_000_000
_LEAST_S: Final = 0.001
_MOST_BYTES: Final = 64 << 20
"""So much of an answer is read at most."""
_ENDS: Final = (b"q", b"Q", b"")
"""The last one: the terminal is gone."""


@dataclass(frozen=True, slots=True)
class CollectionRates:
    """Commands a second that name a protected collection, or `other`."""

    collection: str
    commands: float
    sent: float
    refused: float
    failed: float


@dataclass(frozen=True, slots=True)
class ClassMoving:
    """A deterministic class that moves."""

    class_name: str
    percent: float | None
    """None before its job has counted the documents."""
    documents_left: int
    waits_for: int
    """Commands, cursors and transactions that hold its open window up."""


@dataclass(frozen=True, slots=True)
class TopView:
    """What passes through a proxy; rates are for one second, times are in microseconds."""

    seconds: float
    """Between the two readings."""
    is_ready: bool
    clients: int
    in_flight: int
    held: Mapping[str, int]
    """Clients that are not read from, by what they wait for."""
    new_clients: float
    turned_away: float
    sent: float
    refused: float
    failed: float
    encrypted: float
    decrypted: float
    added_mean_us: float | None
    """The mean of the commands that were timed, one in eight; None if there was none."""
    added_p99_us: float | None
    """The upper bound of a bucket."""
    reply_p99_us: float | None
    collections: tuple[CollectionRates, ...]
    refusals: Mapping[str, float]
    """By reason, the most first."""
    moves: tuple[ClassMoving, ...]


def view_of(then: "Readings", now: "Readings", seconds: float, sort: str = SORTS[0]) -> TopView:
    """What happened between two readings. Cost: O(series)."""
    from sealwire.proxy.server.page.panels import ADDED, REFUSALS, REPLY, growth, quantile  # noqa: PLC0415

    def rates(name: str, *labels: str) -> dict[tuple[str, ...], float]:
        before = then.by_labels(name, *labels)
        found = now.by_labels(name, *labels)
        return {key: growth(before.get(key, 0.0), value) / seconds for key, value in found.items()}

    def rate(name: str) -> float:
        return growth(then.sum(name), now.sum(name)) / seconds

    def within_us(name: str, part: float) -> float | None:
        before, found = then.buckets(name), now.buckets(name)
        grown = {bound: growth(before.get(bound, 0.0), count) for bound, count in found.items()}
        bound_s = quantile(grown, part)
        return None if bound_s is None else bound_s * _MICROSECONDS

    timed = rate(f"{ADDED}_count")
    totals = dict.fromkeys(_OUTCOMES, 0.0)
    by_collection: dict[str, dict[str, float]] = {}
    for (name, outcome), value in rates(
        "sealwire_collection_commands_total", "collection", "outcome"
    ).items():
        if outcome in totals:
            totals[outcome] += value
            by_collection.setdefault(name, {})[outcome] = value
    refusals = {key: value for (key,), value in rates(REFUSALS, "reason").items() if value}
    held = now.by_label("sealwire_connections_held", "reason")
    return TopView(
        seconds=round(seconds, 3),
        is_ready=now.sum("sealwire_ready") > 0,
        clients=round(now.sum("sealwire_client_connections")),
        in_flight=round(now.sum("sealwire_commands_in_flight")),
        held={name: round(value) for name, value in held.items() if value},
        new_clients=rate("sealwire_connections_accepted_total"),
        turned_away=rate("sealwire_connections_rejected_total"),
        **totals,
        encrypted=rate("sealwire_values_encrypted_total"),
        decrypted=rate("sealwire_values_decrypted_total"),
        added_mean_us=rate(f"{ADDED}_sum") / timed * _MICROSECONDS if timed else None,
        added_p99_us=within_us(ADDED, 0.99),
        reply_p99_us=within_us(REPLY, 0.99),
        collections=_sorted([_row(name, each) for name, each in by_collection.items()], sort),
        refusals=dict(sorted(refusals.items(), key=lambda pair: (-pair[1], pair[0]))),
        moves=tuple(_moves(now)),
    )


def _row(name: str, by_outcome: Mapping[str, float]) -> CollectionRates:
    found = [by_outcome.get(outcome, 0.0) for outcome in _OUTCOMES]
    return CollectionRates(name, sum(found), *found)


def _sorted(rows: list[CollectionRates], sort: str) -> tuple[CollectionRates, ...]:
    rows.sort(key=lambda row: row.collection)
    if sort != "name":
        rows.sort(key=lambda row: (getattr(row, sort), row.commands), reverse=True)
    return tuple(rows)


def _moves(now: "Readings") -> Iterator[ClassMoving]:
    waits, read, of = (
        now.by_label(f"sealwire_frontier_{name}", "class")
        for name in ("waited_for", "documents_read", "documents")
    )
    for name in sorted(waits):
        done, all_of_them = read.get(name, 0.0), of.get(name, 0.0)
        percent = 100 * done / all_of_them if all_of_them else None
        yield ClassMoving(name, percent, round(all_of_them - done), round(waits[name]))


# ------------------------------------------------------------------------------------------------- drawn


def drawn(view: TopView, heading: str, rows: int) -> "RenderableType":
    """A view for a terminal: `rows` of each table at most, and how many more there are."""
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    held = ", ".join(f"{count} {name}" for name, count in view.held.items())
    lines = (
        f"{heading}  {'ready' if view.is_ready else 'NOT READY'}",
        f"clients   {view.clients}, {_rate(view.new_clients)} new, {_rate(view.turned_away)} turned away"
        + (f"; not read from: {held}" if held else ""),
        f"commands  {_rate(view.sent)} sent, {_rate(view.refused)} refused, {_rate(view.failed)} failed; "
        f"{view.in_flight} under way",
        f"values    {_rate(view.encrypted)} encrypted, {_rate(view.decrypted)} decrypted",
        f"added     {_us(view.added_mean_us)} in the mean, 99 % within {_us(view.added_p99_us)}; "
        f"99 % of the replies within {_us(view.reply_p99_us)}",
    )
    parts: list[RenderableType] = [Text("\n".join(lines))]
    columns = ("collection", "commands/s", *(f"{each}/s" for each in _OUTCOMES))
    cells = [
        (each.collection, *map(_number, (each.commands, each.sent, each.refused, each.failed)))
        for each in view.collections
    ]
    parts.append(_table(columns, cells, rows))
    if view.refusals:
        reasons = [(reason, _number(value)) for reason, value in view.refusals.items()]
        parts.append(_table(("refused because of", "/s"), reasons, rows))
    if view.moves:
        moving = [
            (each.class_name, _percent(each.percent), str(each.documents_left), str(each.waits_for))
            for each in view.moves
        ]
        parts.append(_table(("class that moves", "moved", "documents left", "waits for"), moving, rows))
    return Group(*parts)


def _table(columns: tuple[str, ...], cells: Sequence[tuple[str, ...]], rows: int) -> "RenderableType":
    from rich.table import Column, Table  # noqa: PLC0415

    first, *others = columns
    left_out = max(len(cells) - rows, 0)
    table = Table(
        Column(first, overflow="fold"),
        *(Column(each, justify="right") for each in others),
        box=None,
        pad_edge=False,
        caption=f"and {left_out} more" if left_out else None,
        caption_justify="left",
    )
    for row in cells[:rows]:
        table.add_row(*row)
    return table


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _rate(value: float) -> str:
    return f"{_number(value)}/s"


def _us(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f} us"


def _percent(value: float | None) -> str:
    return "not counted yet" if value is None else f"{value:.0f} %"


# ------------------------------------------------------------------------------------------- the command


@click.command()
@config_option("The configuration that the proxy runs with; its admin address is asked.")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two readings.",
)
@click.option(
    "--sort", type=click.Choice(SORTS), default=SORTS[0], show_default=True, help="Order of collections."
)
@click.option(
    "--rows", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most rows of each table."
)
@click.option("--once", is_flag=True, help="Show one interval, and end.")
@json_option
def top(config_path: Path, interval: float, sort: str, rows: int, once: bool, as_json: bool) -> None:
    """Show what passes through the running proxy: commands, refusals, latency, moves, clients.

    Commands a second are counted by collection, as the policy names it, and by outcome. On a terminal the
    view is redrawn after each interval until you press q or ctrl-C. Otherwise each interval is printed below
    the last one. `--json` prints one interval, with all collections.

    \b
    Examples:
      sealwire top --config sealwire.yaml
      sealwire top --config sealwire.yaml --sort refused --interval 5
      sealwire top --config sealwire.yaml --once --json
    """
    door = load_admin_door(config_path, os.environ)
    watch = TopWatch(partial(reading, door), sort)
    try:
        if as_json or once:
            _slept(interval)
            view = watch.look()
            if as_json:
                print_json(asdict(view))
            else:
                _console().print(drawn(view, str(door.address), rows))
        else:
            _show(watch, interval, lambda view: drawn(view, str(door.address), rows))
    except KeyboardInterrupt:
        return


class TopWatch:
    """Looks at a proxy again and again: each view is of the time since the one before."""

    def __init__(
        self, read: Callable[[], "Readings"], sort: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises what `read` raises, as `look` does."""
        self._read = read
        self._sort = sort
        self._clock = clock
        self._then, self._then_s = read(), clock()

    def look(self) -> TopView:
        """What has happened since."""
        now, now_s = self._read(), self._clock()
        view = view_of(self._then, now, max(now_s - self._then_s, _LEAST_S), self._sort)
        self._then, self._then_s = now, now_s
        return view


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415

    return Console(markup=False, highlight=False)


def _show(watch: TopWatch, interval: float, draw: Callable[[TopView], "RenderableType"]) -> None:
    """One view after the other until somebody ends it; a proxy that does not answer may come back."""
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = _console()
    with _keys() as is_ended:
        if not console.is_terminal:
            while not is_ended(interval):
                console.print(draw(watch.look()))
            return
        with Live(Text("..."), console=console, screen=True, auto_refresh=False) as live:
            while not is_ended(interval):
                try:
                    live.update(draw(watch.look()), refresh=True)
                except NotReady as error:
                    live.update(Text(str(error)), refresh=True)


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """What waits for so many seconds, or until q is typed on a terminal, and says whether it was."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield _slept
        return
    import termios  # noqa: PLC0415 - of use on a terminal alone
    import tty  # noqa: PLC0415

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    try:
        yield partial(_typed, number)
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _typed(number: int, seconds: float) -> bool:
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        if select.select([number], [], [], left_s)[0]:
            typed = os.read(number, 1)
            if typed in _ENDS:
                return True
    return False


def reading(door: AdminDoor) -> "Readings":
    """The figures of the proxy now. Raises NotReady where it gives none."""
    from sealwire.proxy.server.page.panels import Readings  # noqa: PLC0415

    status, body = ask_admin(door, "/metrics", _MOST_BYTES)
    problem = f"{door.address}: no answer"
    if status != OK:
        problem = f"{door.address}: the metrics could not be read ({status})"
    else:
        with suppress(ValueError):
            return Readings(body.decode("utf-8", "replace"))
    raise NotReady(StartReason.NOT_READY, problem, "is the proxy running with this configuration?")


_OBSERVED: Final = ("commands", "verdict", "what", "first place to look")


@click.command()
@config_option("The configuration that the proxy runs with; its admin address is asked.")
@json_option
def report(config_path: Path, as_json: bool) -> None:
    """Say how many commands would be answered, refused, or answered in two steps, since the proxy began.

    The policy must have `mode: observe`, or name collections under `observe`. Each row is a shape: a command,
    its collection, the operator and path that decide the verdict, the reason, and the application. No value
    is shown. Figures are those of one proxy with all its workers, so ask each proxy.

    Exit code 1 if a command would be refused.

    \b
    Examples:
      sealwire observe report --config sealwire.yaml
      sealwire observe report --config sealwire.yaml --json
    """
    from sealwire.proxy.server.dry_run import shapes_in  # noqa: PLC0415 - 60 ms, after the options
    from sealwire.proxy.server.observability import observed  # noqa: PLC0415
    from sealwire.proxy.session.effects import ObservedVerdict  # noqa: PLC0415

    readings = reading(load_admin_door(config_path, os.environ))
    collections = round(readings.sum(observed.COLLECTIONS))
    counted = readings.by_label(f"{observed.COMMANDS}_total", "verdict")
    if not collections:
        text = "the proxy observes nothing: its policy is enforced"
        raise NotReady(StartReason.NOT_READY, text, "write `mode: observe` into the policy, and reload")
    rows = shapes_in(readings.by_labels(f"{observed.SHAPES}_total", *observed.LABELS))
    totals = {verdict.value: round(counted.get(verdict.value, 0)) for verdict in ObservedVerdict}
    if as_json:
        shapes = [asdict(row) | {"look_at": row.look_at} for row in rows]
        print_json({"collections": collections, "commands": totals, "shapes": shapes})
    else:
        click.echo(f"NOT PROTECTED: {collections} collections or patterns of the policy are only observed")
        click.echo(", ".join(f"{count} {name}" for name, count in totals.items()))
        cells = ((row.count, row.verdict, row.words, row.look_at) for row in rows)
        show_table(_OBSERVED, cells)
    sys.exit(EX_NO if totals[ObservedVerdict.REFUSED.value] else 0)
