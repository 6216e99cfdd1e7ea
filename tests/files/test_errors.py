"""What is wrong with the parts of a file is gathered, and raised in the order of the file."""

import pytest

from sealwire.files.errors import Complaints, SourceError


def wrong(line: int) -> SourceError:
    return SourceError("f.yaml", line, 1, f"problem {line}", f"hint {line}")


def test_without_a_complaint_nothing_is_raised() -> None:
    complaints = Complaints()
    with complaints.gathered():
        pass
    assert not complaints
    complaints.check()


def test_complaints_come_in_the_order_of_the_file_and_only_the_first_has_others() -> None:
    inner = Complaints()
    for line in (9, 2):
        with inner.gathered():
            raise wrong(line)
    outer = Complaints()
    with outer.gathered():
        raise wrong(5)
    with outer.gathered():
        inner.check()
    assert outer
    with pytest.raises(SourceError) as caught:
        outer.check()
    assert [each.line for each in (caught.value, *caught.value.others)] == [2, 5, 9]
    assert all(each.others == () for each in caught.value.others)


def test_what_is_said_twice_is_raised_once() -> None:
    complaints = Complaints()
    for line in (3, 3, 4):
        complaints.add(wrong(line))
    with pytest.raises(SourceError) as caught:
        complaints.check()
    assert [each.line for each in (caught.value, *caught.value.others)] == [3, 4]


def test_what_cannot_be_read_is_replaced_and_kept() -> None:
    def fails() -> int:
        raise wrong(3)

    complaints = Complaints()
    assert complaints.read(lambda: 5, None) == 5
    assert not complaints
    assert complaints.read(fails, None) is None
    assert complaints


def test_no_other_exception_is_kept() -> None:
    with pytest.raises(KeyError), Complaints().gathered():
        raise KeyError
