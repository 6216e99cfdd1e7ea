"""What is counted and looked for in the sources: modules and lines with their ceilings, and dead code."""

import pytest

from tools import dead_code, house_size
from tools.dead_code import KEPT, kept
from tools.house_size import CEILINGS, counts, sources

MODULES = {
    "crypto": '"""The room."""',
    "crypto.envelope": "import struct\nMARKER = 1\n",
    "wire.kinds": "from sealwire.crypto.envelope import MARKER\nX = 1\n",
    "wire.walk": "from sealwire.wire import kinds\n\n\ndef f():\n    from sealwire.cli import main\n"
    + "\n" * 60,
    "cli": "from sealwire.wire.walk import f\nfrom sealwire.wire.kinds import X\n",
}


def test_each_count_is_what_it_says() -> None:
    assert counts(MODULES) == {
        "modules": 4,
        "lines": 2 + 2 + 65 + 2,
        "modules of 50 lines or fewer": 3,
        "modules with one importer": 3,  # the envelope, the walk and `cli`
        "modules that import the envelope": 1,
        "longest chain of imports": 4,
    }


@pytest.mark.parametrize(("found", "is_told"), [(100, False), (101, True), (98, False), (90, True)])
def test_a_count_above_its_ceiling_or_far_below_is_an_error(found: int, is_told: bool) -> None:
    assert bool(house_size.judge({"lines": found}, {"lines": 100})) is is_told


def test_the_product_fits() -> None:
    assert house_size.judge(counts(sources()), CEILINGS) == []


DEAD = ("forgotten", "wire/x.py:3: unused function forgotten")


def test_dead_code_is_an_error_unless_the_list_has_its_name() -> None:
    assert dead_code.judge([DEAD], {}) == [DEAD[1]]
    assert dead_code.judge([DEAD], {"forgotten": "a library calls it"}) == []


def test_a_name_that_need_not_be_listed_is_an_error() -> None:
    (problem,) = dead_code.judge([DEAD], {"forgotten": "a library calls it", "used": "once"})
    assert "used" in problem


def test_every_name_of_the_list_has_a_reason() -> None:
    reasons = kept(KEPT.read_text(encoding="utf-8"))
    assert reasons
    assert all(reasons.values())
