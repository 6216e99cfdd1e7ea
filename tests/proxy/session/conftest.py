"""The playbook as a fixture: its end is checked without a call."""

from collections.abc import Iterator

import pytest

from tests.proxy.session.playbook import Playbook
from tests.proxy.session.world import session


@pytest.fixture
def play() -> Iterator[Playbook]:
    """A script for a session with the shared policy and keys."""
    playbook = Playbook(session())
    yield playbook
    playbook.finish()
