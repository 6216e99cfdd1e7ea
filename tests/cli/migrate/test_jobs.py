"""What leads on from an aborted move, and what then leads back."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sealwire.cli.migrate.classes import ShownMove, holder
from sealwire.cli.migrate.jobs import way_text, ways
from sealwire.cli.migrate.options import progress_bar
from sealwire.keys.frontier.record import LEASE_S, Lease, outlived_s
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.migration.job import Standing
from tests.keys.samples import NOW
from tests.sidecars.migration.windows.doubles import NHS, job

ABORTED = replace(job(), standing=Standing.ABORTED)


def keyring(*, old_plaintext: bool, new_plaintext: bool, is_moving: bool = True) -> Keyring:
    kinds = {1: (KeyState.ACTIVE, old_plaintext)}
    if is_moving:
        kinds[2] = KeyState.PENDING, new_plaintext
    return Keyring(
        replace(DataKey(NHS, 7, version, state, NOW, bytes([version]) * 64), is_plaintext=is_plaintext)
        for version, (state, is_plaintext) in kinds.items()
    )


@pytest.mark.parametrize(
    ("old_plaintext", "new_plaintext", "on", "back"),
    [(True, False, "encrypt", "decrypt"), (False, True, "decrypt", "encrypt")],
)
def test_a_move_from_or_to_plaintext_is_followed_by_its_opposite(
    old_plaintext: bool, new_plaintext: bool, on: str, back: str
) -> None:
    (found,) = ways(keyring(old_plaintext=old_plaintext, new_plaintext=new_plaintext), ABORTED)
    on, back = (f"sealwire migrate {each} POLICY {NHS}" for each in (on, back))
    assert found == {"class": NHS, "on": on, "back": back}
    assert way_text(found).index(on) < way_text(found).index(back)


def test_a_move_between_keys_only_goes_on() -> None:
    (found,) = ways(keyring(old_plaintext=False, new_plaintext=False), ABORTED)
    assert found == {"class": NHS, "on": f"sealwire migrate reencrypt POLICY {NHS}", "back": None}
    assert "back" not in way_text(found)


@pytest.mark.parametrize("standing", [each for each in Standing if each is not Standing.ABORTED])
def test_a_job_that_was_not_aborted_has_none(standing: Standing) -> None:
    keys = keyring(old_plaintext=False, new_plaintext=False)
    assert ways(keys, replace(job(), standing=standing)) == []


def test_a_class_that_does_not_move_has_none() -> None:
    keys = keyring(old_plaintext=False, new_plaintext=False, is_moving=False)
    assert ways(keys, ABORTED) == []


def test_progress_names_the_class_and_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    begun = replace(job(), expected=200)
    with progress_bar(begun) as tell:
        tell(replace(begun, read=50))
    said = capsys.readouterr().err
    assert all(each in said for each in (f"{NHS} (job-1)", "25%", "150 left"))


# What an operator hears of proxies that hold windows up, and what others see of a process.


WAITED_AT = datetime(2026, 11, 26, tzinfo=UTC)
LEASES = [Lease(name, WAITED_AT, WAITED_AT, {}) for name in ("one", "two")]


class NotedSeat:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.shown: list[tuple[Sequence[str], float]] = []

    def __call__(self, waits: Sequence[str], rate: float) -> None:
        self.shown.append((waits, rate))


def told(capsys: pytest.CaptureFixture[str], looks: list[tuple[float, float]]) -> int:
    """How often; each look is a time, and for how long the window is waited for by then."""
    now_s = 0.0
    shown = ShownMove(job(), NotedSeat(), 60.0, lambda _job: None, lambda: now_s)
    for at, waited_s in looks:
        now_s = at
        shown.waiting(LEASES, waited_s)
    said = capsys.readouterr().err
    assert said.count("one; two") == said.count("\n")
    return said.count("\n")


def test_short_waits_are_not_told_however_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, [(0.3 * number, 0.9) for number in range(200)]) == 0


def test_a_long_wait_is_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, [(4.0, 1.5)]) == 0
    assert told(capsys, [(5.0, 1.0)]) == 1
    assert told(capsys, [(float(at), 1.5) for at in range(14)]) == 2


def test_a_proxy_that_ended_is_named_with_how_long_it_still_counts() -> None:
    here = Lease("a1", WAITED_AT, WAITED_AT, {}, {}, "ward-2:27018")
    assert holder(here, 60.0) == "ward-2:27018"
    assert holder(here._replace(place=""), 60.0) == "a1"
    late = here._replace(read_at=WAITED_AT + timedelta(seconds=LEASE_S + 20))
    said = holder(late, 60.0)
    assert said.startswith("ward-2:27018, which has ended")
    assert f"{outlived_s(60.0) - LEASE_S - 20:.0f} s" in said


def test_a_wait_for_lost_leases_is_told_once_and_noted(capsys: pytest.CaptureFixture[str]) -> None:
    seat, now_s = NotedSeat(), 0.0
    shown = ShownMove(job(), seat, 60.0, lambda _job: None, lambda: now_s)
    for now_s in (0.0, 2.0, 4.0, 6.0):
        shown.missing(135.0 - now_s)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "135 s" in said
    assert [len(waits) for waits, _ in seat.shown] == [1, 1]
    assert "129 s" in seat.shown[-1][0][0]


@pytest.mark.parametrize(
    ("proxies", "said"),
    [
        (3, "2 of 3 proxies have a lease: a:27018, b:27018"),
        (1, "2 proxies have leases, and --proxies says 1: a:27018, b:27018"),
    ],
)
def test_a_count_that_does_not_fit_is_told_and_noted(
    capsys: pytest.CaptureFixture[str], proxies: int, said: str
) -> None:
    seat, now_s = NotedSeat(), 0.0
    shown = ShownMove(job(), seat, 60.0, lambda _job: None, lambda: now_s)
    for now_s in (0.5, 1.0, 5.0):
        shown.counted(("a:27018", "b:27018"), proxies, now_s)
    assert capsys.readouterr().err == f"waiting: {said}\n"
    assert seat.shown[0] == ((said,), 0.0)


def test_others_see_at_once_whom_a_job_waits_for_and_when_it_goes_on() -> None:
    seat, now_s = NotedSeat(), 0.0
    begun = job()
    shown = ShownMove(begun, seat, 60.0, lambda _job: None, lambda: now_s)
    shown.waiting(LEASES, 1.0)
    shown.waiting(LEASES, 1.1)
    assert seat.shown == [(("one", "two"), 0.0)]
    now_s = 2.0
    shown.job(begun.noted(WAITED_AT))
    assert seat.shown[-1] == ((), 0.0)
    assert len(seat.shown) == 2
