"""`sealwire backup schedule` and `transition`: files and alarms."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.cli.runs import Run


def test_a_schedule_is_printed_or_written_and_never_overwritten(run: Run, tmp_path: Path) -> None:
    assert (
        "OnCalendar=*-*-* 04:30:00 UTC" in run("schedule", "systemd", "--at", "04:30", "--keep-last", "3").out
    )
    options = ("schedule", "kubernetes", "--keep-daily", "7", "--output", str(tmp_path))
    assert run(*options, "--dry-run").code == 0
    assert not (tmp_path / "sealwire-backup.yaml").exists()
    assert run(*options).code == 0
    assert (tmp_path / "sealwire-backup.yaml").stat().st_mode & 0o777 == 0o644
    assert run(*options).code == 73
    assert run("schedule", "systemd", "--at", "25:00", "--keep-last", "1").code == 78


def test_the_alarm_comes_after_the_transition(run: Run, store: Path, tmp_path: Path) -> None:
    (store / "dump.gz").write_bytes(b"\x1f\x8b\x08")
    today = datetime.now(UTC).date()
    options = ("transition", "--directory", str(store), "--metrics", str(tmp_path / "m.prom"))
    assert run(*options, "--since", today.isoformat()).code == 0
    late = run(*options, "--since", (today - timedelta(days=7)).isoformat(), "--json")
    assert late.code == 65
    assert json.loads(late.out)["overdue"] is True
    assert "dump.gz" in late.err
    assert "sealwire_backup_plaintext_overdue 1.0" in (tmp_path / "m.prom").read_text()
