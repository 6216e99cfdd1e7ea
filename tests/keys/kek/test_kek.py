"""The providers that need no server keep the contract; what wrapping binds can be read in one way only."""

from pathlib import Path

import pytest

from sealwire.keys.kek.kek import Purpose, wrap_associated_data
from tests.keys.kek_contract import KekContract, Pair
from tests.keys.samples import KEK_A, KEK_B, PROVIDERS


class TestLocalProviders(KekContract):
    @pytest.fixture(params=PROVIDERS)
    def pair(self, request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
        """Two different KEKs of one provider."""
        make = PROVIDERS[request.param]
        directories = (tmp_path / "a", tmp_path / "b")
        for directory in directories:
            directory.mkdir()
        return make(directories[0], KEK_A), make(directories[1], KEK_B)


def test_fields_of_associated_data_cannot_slide_into_each_other() -> None:
    assert wrap_associated_data(Purpose.DATA_KEY, b"ab", b"c") != wrap_associated_data(
        Purpose.DATA_KEY, b"a", b"bc"
    )
    assert wrap_associated_data(Purpose.DATA_KEY, b"a") != wrap_associated_data(Purpose.DATA_KEY, b"a", b"")
    assert wrap_associated_data(Purpose.DATA_KEY) != wrap_associated_data(Purpose.KEY_FILE)
