"""A job and an application beside it, from end to end, with too little of everything to mean anything."""

from pathlib import Path

import pytest

from bench.migration import beside
from bench.migration.subject import DETERMINISTIC

COUNT = 1500

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_an_application_is_measured_while_jobs_move_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "REST_S", 1.0)
    told: list[str] = []
    found = beside.measure_beside(tmp_path, COUNT, told.append)
    turns = [f"{verb} {DETERMINISTIC[0]}" for verb in ("reencrypt", "decrypt", "encrypt")]
    assert [each.work for each in found] == ["encrypt random", *turns]
    assert len(told) == len(found) + 1
    for each in found:
        assert each.documents_s > 0
        assert each.peak_kib > 0
        assert each.questions > 0
        assert set(each.ratio) == {"find-one", "update-one"}
