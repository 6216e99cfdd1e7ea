"""The list of names that are used where the dead-code checker cannot see it."""

from tools.dead_code import KEPT, judge, kept

DEAD = ("forgotten", "wire/x.py:3: unused function forgotten")


def test_dead_code_is_an_error_unless_the_list_has_its_name() -> None:
    assert judge([DEAD], {}) == [DEAD[1]]
    assert judge([DEAD], {"forgotten": "a library calls it"}) == []


def test_a_name_that_need_not_be_listed_is_an_error() -> None:
    (problem,) = judge([DEAD], {"forgotten": "a library calls it", "used": "once"})
    assert "used" in problem


def test_every_name_of_the_list_has_a_reason() -> None:
    reasons = kept(KEPT.read_text(encoding="utf-8"))
    assert reasons
    assert all(reasons.values())
