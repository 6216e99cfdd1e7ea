"""Windows of few documents, so that few documents have several."""

import pytest

from sealwire.sidecars.migration.windows import turn as turns


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "FIRST_DOCUMENTS", 4)
    monkeypatch.setattr(turns, "_FEWEST", 3)
    monkeypatch.setattr(turns, "_MOST", 4)
    monkeypatch.setattr(turns, "_POLLS_S", (0.0,))
