"""Programs that tests run to their end."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def ran(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`; its output is text and kept, and it may end with any code."""
    settings = {"capture_output": True, "text": True, "check": False, **options}
    return subprocess.run(command, **settings)  # noqa: PLW1510 - it is one of the settings
