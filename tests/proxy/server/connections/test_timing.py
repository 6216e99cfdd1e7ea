"""Which part of a command's time is Sealwire's own."""

from sealwire.proxy.server.connections.timing import CommandTimer
from sealwire.proxy.session.watch import CommandNote


def test_what_passes_while_the_server_has_the_command_is_not_ours() -> None:
    now = iter([10.0, 10.0, 10.2, 11.2, 11.5])
    timer = CommandTimer(lambda: next(now))
    timer.turn(is_ours=True)
    timer.turn(is_ours=False)  # sent on after 0.2 s
    timer.turn(is_ours=True)  # the reply came after 1 s
    timer.turn(is_ours=False)
    assert round(timer.own_s, 6) == 0.5
    assert round(timer.total_s, 6) == 1.5


def test_a_wait_that_sealwire_makes_is_ours() -> None:
    now = iter([0.0, 0.1, 2.1])
    timer = CommandTimer(lambda: next(now))
    timer.turn(is_ours=True)  # it waits for keys
    timer.turn(is_ours=False)
    assert round(timer.own_s, 6) == round(timer.total_s, 6) == 2.1


def test_what_a_session_notes_is_kept_with_the_time_of_the_note() -> None:
    now = iter([0.0, 0.0, 0.5, 1.0, 1.5])
    timer = CommandTimer(lambda: next(now))
    note = CommandNote("find", "clinic.patients", 0.1, 0.2, 1, None)
    timer.turn(is_ours=True)
    timer.turn(is_ours=False)
    timer.take(note, 0)
    timer.turn(is_ours=True)
    timer.turn(is_ours=False)
    timer.take(None, 3)
    assert (timer.note, timer.noted_s, timer.opened, timer.own_s) == (note, 0.5, 3, 1.0)
