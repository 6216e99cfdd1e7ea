import copy
import pickle
from dataclasses import dataclass

import pytest

from sealwire.crypto.unpicklable import Unpicklable


@dataclass(frozen=True, slots=True)
class Holder(Unpicklable):
    material: bytes


def test_every_way_of_serialising_or_copying_is_refused() -> None:
    holder = Holder(b"k")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(holder, protocol)
    for duplicate in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            duplicate(holder)
