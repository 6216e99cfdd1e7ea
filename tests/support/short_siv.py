"""Short values opened and sealed together, on a plain core as well."""

from collections.abc import Callable
from typing import TypeVar

import pytest

from sealwire import short_siv_is_in_use
from sealwire.crypto import cipher

Made = TypeVar("Made")


def made_with_short_siv(make: Callable[[], Made]) -> Made:
    """What `make` makes, with ciphers of builds that have short AES-SIV."""
    with pytest.MonkeyPatch.context() as patch:
        if not short_siv_is_in_use():
            patch.setattr(cipher, "IS_IN_USE", True)
        return make()
