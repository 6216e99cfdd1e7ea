"""The end of a log: what may follow on it, and what a file's first line says of the lines before."""

import json

import pytest

from sealwire.audit.line import NotALine, write_line
from sealwire.audit.tail import NotNext, Tail, before
from sealwire.audit.tree import Tree
from tests.audit.logs import event


def behind(lines: int) -> tuple[Tail, bytes]:
    """The tail behind so many lines, and the last of them."""
    tail, data = Tail(), b""
    for number in range(lines):
        data = tail.written(event(number))
    return tail, data


def test_a_line_that_was_written_can_be_followed() -> None:
    writer, reader = Tail(), Tail()
    for number in range(5):
        reader.follow(writer.written(event(number)))
    assert (reader.size, reader.is_at(writer)) == (5, True)


def test_a_line_that_does_not_follow_changes_nothing() -> None:
    tail, last = behind(5)
    there = tail.copy()
    wrong_number = write_line(6, tail.previous, event(0))
    wrong_previous = write_line(5, bytes(32), event(0))
    for data in (last, wrong_number, wrong_previous):
        with pytest.raises(NotNext):
            tail.follow(data)
    with pytest.raises(NotALine):
        tail.follow(b"{}\n")
    assert tail.is_at(there)


def test_a_copy_goes_its_own_way() -> None:
    tail, _ = behind(3)
    other = tail.copy()
    other.written(event(0))
    assert (tail.size, other.size, tail.is_at(other)) == (3, 4, False)


@pytest.mark.parametrize("lines", [0, 1, 2, 7, 64])
def test_the_first_line_of_a_file_says_what_comes_before_it(lines: int) -> None:
    tail, _ = behind(lines)
    there = tail.copy()
    opened = before(tail.opening({"time": "now"}))
    assert opened.is_at(there)
    assert opened.tree.root() == there.tree.root()


def test_what_does_not_open_a_file() -> None:
    tail, last = behind(3)
    opening = tail.copy().opening({})
    fields = json.loads(opening)
    wrong = [
        last,
        opening.replace(b'"event":"file"', b'"event":"fine"'),
        opening.replace(fields["peaks"].encode(), b"00"),
        opening.replace(fields["peaks"].encode(), b"zz"),
        opening.replace(b'"peaks":"' + fields["peaks"].encode() + b'"', b'"peaks":7'),
        opening.replace(b'"n":3', b'"n":4'),
        opening.replace(fields["prev"].encode(), b"0" * 64),
        Tail(Tree(), b"x" * 32).opening({}),
    ]
    for data in wrong:
        with pytest.raises(NotALine):
            before(data)


def test_a_tail_shows_its_size_only() -> None:
    assert repr(behind(2)[0]) == "Tail(size=2)"
