"""What `sealwire top` makes of two readings of /metrics, and how it draws that."""

import io
import json
import os
import pty
import socket
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from sealwire.cli import top
from sealwire.cli.top import TopView, TopWatch, drawn, view_of
from sealwire.proxy.server.config.new_file import Layout, NewFile, new_file_text
from sealwire.proxy.server.errors import NotReady, StartReason
from sealwire.proxy.server.observability.metrics import OUTCOMES, Metrics
from sealwire.proxy.server.page.panels import Readings
from sealwire.proxy.session.effects import Count, Counter
from tests.cli.runs import Listener


def counted(metrics: Metrics, **amounts: int) -> None:
    """Count so many commands of a label, whose first word is the outcome."""
    for name, amount in amounts.items():
        outcome, _, collection = name.partition("_")
        label = "find" if not collection else f"find clinic.{collection}"
        metrics.core.add(Count(OUTCOMES[outcome], amount, label))


def readings(metrics: Metrics) -> Readings:
    return Readings(metrics.render().decode())


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics()
    counted(made, sent_patients=1000, refused_patients=5, sent=70)
    made.core.times.add(0.001, 0.00004)
    return made


def view(metrics: Metrics, sort: str = "commands") -> TopView:
    """Two seconds in which something of everything happens."""
    then = readings(metrics)
    counted(metrics, sent_patients=40, refused_patients=2, sent=10, failed_visits=4, sent_visits=6)
    metrics.core.add(Count(Counter.REFUSALS, 4, "range"))
    metrics.core.add(Count(Counter.VALUES_ENCRYPTED, 30))
    metrics.core.times.add(0.003, 0.0001)
    metrics.core.times.add(0.003, 0.0003)
    metrics.connections.set(7)
    metrics.standing.show(3, ["keys", "keys"])
    metrics.ready.set(1)
    figures = {"nhs_number": (4, 2, 62_000, 100_000), "phone": (1, 0, 0, 0)}
    metrics.frontiers.show(follows=True, figures=figures)
    return view_of(then, readings(metrics), 2.0, sort)


def test_rates_are_those_between_two_readings(metrics: Metrics) -> None:
    seen = view(metrics)
    rows = {each.collection: each for each in seen.collections}
    assert (rows["clinic.patients"].sent, rows["clinic.patients"].refused) == (20.0, 1.0)
    assert (rows["clinic.visits"].commands, rows["clinic.visits"].failed) == (5.0, 2.0)
    assert rows["other"].sent == 5.0
    assert (seen.sent, seen.refused, seen.failed) == (28.0, 1.0, 2.0)
    assert seen.refusals == {"range": 2.0}
    assert (seen.encrypted, seen.decrypted) == (15.0, 0.0)


def test_latency_is_that_of_the_interval_alone(metrics: Metrics) -> None:
    seen = view(metrics)
    assert seen.added_mean_us == pytest.approx(200.0)
    assert seen.added_p99_us == pytest.approx(500.0)
    assert seen.reply_p99_us == pytest.approx(5000.0)
    now = readings(metrics)
    idle = view_of(now, now, 2.0)
    assert (idle.added_mean_us, idle.added_p99_us, idle.reply_p99_us) == (None, None, None)
    assert (idle.sent, idle.refusals) == (0.0, {})


def test_clients_and_moves_are_as_they_are_now(metrics: Metrics) -> None:
    seen = view(metrics)
    assert (seen.is_ready, seen.clients, seen.in_flight, seen.held) == (True, 7, 3, {"keys": 2})
    moving, waiting = seen.moves
    assert (moving.class_name, moving.percent, moving.documents_left) == ("nhs_number", 62.0, 38_000)
    assert (moving.waits_for, waiting.percent) == (2, None)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("commands", ["clinic.patients", "clinic.visits", "other"]),
        ("refused", ["clinic.patients", "clinic.visits", "other"]),
        ("failed", ["clinic.visits", "clinic.patients", "other"]),
        ("name", ["clinic.patients", "clinic.visits", "other"]),
    ],
)
def test_collections_are_sorted_by_a_key(metrics: Metrics, sort: str, order: list[str]) -> None:
    assert [each.collection for each in view(metrics, sort).collections] == order


def test_a_proxy_that_was_restarted_counts_from_0(metrics: Metrics) -> None:
    again = Metrics()
    counted(again, sent_patients=6)
    assert view_of(readings(metrics), readings(again), 2.0).sent == 3.0


def text_of(seen: TopView, rows: int = 20, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, markup=False).print(drawn(seen, "127.0.0.1:9464", rows))
    return out.getvalue()


def test_a_view_fits_a_terminal_and_names_all_there_is(metrics: Metrics) -> None:
    said = text_of(view(metrics))
    words = ("clinic.patients", "other", "range", "nhs_number", "62 %", "38000", "not counted yet", "2 keys")
    assert [word for word in words if word not in said] == []
    assert max(map(len, said.splitlines())) <= 80


def test_a_quiet_proxy_is_drawn_too() -> None:
    now = readings(Metrics())
    said = text_of(view_of(now, now, 1.0))
    assert "NOT READY" in said
    assert "class that moves" not in said


def test_rows_are_bounded_and_the_rest_is_counted(metrics: Metrics) -> None:
    then = readings(metrics)
    counted(metrics, **{f"sent_c{number}": 1 for number in range(30)})
    said = text_of(view_of(then, readings(metrics), 1.0), rows=5)
    assert said.count("clinic.") == 5
    assert "and 27 more" in said


def test_each_view_begins_where_the_one_before_ended(metrics: Metrics) -> None:
    now_s = 10.0
    watch = TopWatch(lambda: readings(metrics), "commands", lambda: now_s)
    counted(metrics, sent=8)
    now_s = 12.0
    assert watch.look().sent == 4.0
    now_s = 16.0
    assert watch.look().sent == 0.0
    assert watch.look().seconds > 0


def test_q_ends_a_view_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, terminal = pty.openpty()
    with os.fdopen(mine, "wb", buffering=0) as typing, os.fdopen(terminal, "rb", buffering=0) as file:
        text = io.TextIOWrapper(file)
        monkeypatch.setattr("sys.stdin", text)
        monkeypatch.setattr("sys.stdout", text)
        before = termios.tcgetattr(terminal)
        with top._keys() as is_ended:
            typing.write(b"x")
            assert not is_ended(0.01)
            typing.write(b"q")
            assert is_ended(5.0)
        assert termios.tcgetattr(terminal) == before


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sealwire.yaml"
    path.write_text(new_file_text(NewFile(Layout.DEMO), path))
    return path


def admin_of(*answers: tuple[int, bytes] | Exception) -> Listener:
    """An admin address that gives these answers one after the other, and then somebody presses ctrl-C."""
    left = iter(answers)

    def answer() -> bytes:
        found = next(left, KeyboardInterrupt())
        if isinstance(found, BaseException):
            raise found
        return b"HTTP/1.0 %d Said\r\n\r\n%b" % found

    return Listener(answer)


def figures(**amounts: int) -> tuple[int, bytes]:
    metrics = Metrics()
    counted(metrics, **amounts)
    return 200, metrics.render()


def run(
    monkeypatch: pytest.MonkeyPatch, config: Path, admin: Listener, *options: str
) -> tuple[Result, list[float]]:
    """The command, and for how long it waited."""
    waited: list[float] = []
    monkeypatch.setattr(socket, "create_connection", admin.connect)

    def slept(seconds: float) -> bool:
        waited.append(seconds)
        return False

    monkeypatch.setattr(top, "_slept", slept)
    done = CliRunner().invoke(top.top, ["--config", str(config), *options])
    assert set(admin.asked.splitlines()) <= {b"GET /metrics HTTP/1.0", b""}
    return done, waited


def test_programs_get_a_document(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    admin = admin_of(figures(sent_patients=5), figures(sent_patients=9, refused_visits=1))
    done, waited = run(monkeypatch, config, admin, "--json", "--interval", "3", "--sort", "refused")
    seen = json.loads(done.stdout)
    assert [each["collection"] for each in seen["collections"]] == ["clinic.visits", "clinic.patients"]
    assert (done.exit_code, waited) == (0, [3.0])


def test_one_interval_is_shown(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    done, waited = run(
        monkeypatch, config, admin_of(figures(sent_patients=5), figures(sent_patients=9)), "--once"
    )
    assert (done.exit_code, waited) == (0, [2.0])
    assert done.stdout.count("clinic.patients") == 1


def test_intervals_are_printed_until_somebody_ends_it(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    admin = admin_of(*(figures(sent_patients=amount) for amount in (1, 2, 3)))
    done, waited = run(monkeypatch, config, admin)
    assert (done.exit_code, len(waited)) == (0, 3)
    assert done.stdout.count("clinic.patients") == 2


@pytest.mark.parametrize(
    "answer",
    [
        (503, b"the metrics could not be read"),
        OSError("no route"),
        (200, b"# TYPE x\n}"),
        (200, b"sealwire_client_connections NaN\n"),
        (200, b"sealwire_client_connections +Inf\n"),
        (200, b'sealwire_command_duration_seconds_bucket{le="x"} 1\n'),
    ],
)
def test_a_proxy_without_figures_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, config: Path, answer: tuple[int, bytes] | Exception
) -> None:
    done, _ = run(monkeypatch, config, admin_of(answer), "--once")
    assert isinstance(done.exception, NotReady)


@pytest.mark.parametrize("label", ['collection="\x1b[31mx",outcome="sent"', 'collection="a",outcome="odd"'])
def test_figures_of_something_else_are_no_more_than_shown(
    monkeypatch: pytest.MonkeyPatch, config: Path, label: str
) -> None:
    answer = 200, f"sealwire_collection_commands_total{{{label}}} 5\n".encode()
    done, _ = run(monkeypatch, config, admin_of(answer, answer), "--once")
    assert (done.exit_code, "\x1b" in done.stdout) == (0, False)


def test_a_terminal_shows_that_a_proxy_is_away_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(top, "_console", lambda: Console(file=out, force_terminal=True, width=80, height=24))
    gone = NotReady(StartReason.NOT_READY, "gone for now", "wait")
    answers: Iterator[Readings | NotReady] = iter((Readings(), gone, Readings()))
    presses = iter([False, False, True])

    def read() -> Readings:
        answer = next(answers)
        if isinstance(answer, NotReady):
            raise answer
        return answer

    @contextmanager
    def keys() -> Iterator[Callable[[float], bool]]:
        yield lambda _seconds: next(presses)

    monkeypatch.setattr(top, "_keys", keys)
    top._show(TopWatch(read, "name"), 1.0, lambda seen: drawn(seen, "127.0.0.1:9464", 5))
    said = out.getvalue()
    assert said.index("gone for now") < said.index("NOT READY")
