"""Which spellings of an identifier mean the same person, and which do not."""

import bson
import pytest

from sealwire.audit.pseudonyms import Identifier
from sealwire.sidecars.erasure.stored_forms import spellings
from sealwire.wire import kinds


def written(text: str) -> list[str]:
    found = spellings(Identifier(kinds.STRING, bson.encode({"": text})[6:-1]))
    return [each.value[4:-1].decode() for each in found]


NHS = {"9434765870", "943 476 5870", "943-476-5870", "943476 5870", "943476-5870"}


@pytest.mark.parametrize("given", sorted(NHS))
def test_a_number_of_ten_digits_has_its_usual_groups(given: str) -> None:
    found = written(given)
    assert (found[0], set(found), len(found)) == (given, NHS, len(NHS))


def test_a_national_insurance_number() -> None:
    assert set(written("QQ 12 34 56 C")) == {"QQ123456C", "QQ 12 34 56 C", "QQ-12-34-56-C"}


@pytest.mark.parametrize("given", ["anne", "1-11", "11-1", "94 34 76 58 70", "94347658701", "é", ""])
def test_of_any_other_only_itself_is_looked_for(given: str) -> None:
    assert written(given) == [given]


def test_a_value_that_is_no_string_has_one_spelling() -> None:
    number = Identifier(kinds.LONG, bytes(8))
    assert spellings(number) == (number,)
