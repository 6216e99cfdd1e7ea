"""The counts of the product's modules and lines, and their ceilings."""

import pytest

from tools.house_size import CEILINGS, counts, judge, sources

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
    assert bool(judge({"lines": found}, {"lines": 100})) is is_told


def test_the_product_fits() -> None:
    assert judge(counts(sources()), CEILINGS) == []
