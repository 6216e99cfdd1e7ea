"""The bench of keys for contexts runs, and measures each of its figures."""

from pathlib import Path

import pytest

from bench import contexts
from bench.contexts import measure


def test_every_figure_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "_SINGLE", 200)
    monkeypatch.setattr(contexts, "_USES", 2000)
    found = measure(tmp_path / "contexts.db", 300)
    assert len(found) == 9
    # the others may be too small to show
    rates = [figure for name, figure in found.items() if name.endswith(", 1/s")]
    assert (len(rates), min(rates) > 0) == (6, True)
    # of so few keys the process may have given back more memory than they took
    del found["memory, bytes a key at hand"]
    assert {name.split(",")[0] for name in found} == {
        *("first use", "store", "start-up", "looked up", "encrypted")
    }
