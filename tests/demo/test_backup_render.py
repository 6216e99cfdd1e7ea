"""How the backup's story looks on a terminal: every claim, and a failed one that cannot be overlooked."""

import io

from rich.console import Console

from sealwire.demo.backup_render import show_backup
from sealwire.demo.backup_story import BackupStory
from sealwire.demo.story import Check

STORY = BackupStory(
    patients=1234,
    checks=(Check("it is made", True, "8 files"), Check("it comes back", False, "one [b]is missing[/b]")),
)


def test_every_claim_is_shown_with_its_outcome_and_what_was_seen() -> None:
    output = io.StringIO()
    show_backup(Console(file=output, width=100, force_terminal=False), STORY)
    lines = [line.split() for line in output.getvalue().splitlines()]
    assert ["1.", "ok", "it", "is", "made"] in lines
    assert ["2.", "FAILED", "it", "comes", "back"] in lines
    assert "one [b]is missing[/b]" in output.getvalue()
    assert "1,234 patients" in output.getvalue()
    assert not STORY.holds
