"""What providers of key-encryption keys raise: it must show nothing that came from outside."""

from collections.abc import Callable

import pytest

from sealwire.keys.errors import KeysError


def refused(act: Callable[[], object]) -> KeysError:
    """What `act` raises. The fakes write SECRET wherever a service explains itself."""
    with pytest.raises(KeysError) as caught:
        act()
    assert caught.value.__cause__ is None
    assert "SECRET" not in str(caught.value) + caught.value.hint
    return caught.value
