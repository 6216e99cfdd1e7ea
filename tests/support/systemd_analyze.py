"""systemd-analyze of this machine or of its Debian package: it judges units, and no systemd has to run."""

import subprocess
from pathlib import Path

from tests.support.debian_programs import require_program
from tools.debian_programs import find_file, library_environment


def systemd_analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One run, with the units of the distribution and none of this machine's own."""
    program = require_program("systemd-analyze", "systemd", "--version", "libsystemd-shared")
    units = find_file(program, "lib/systemd/system/sysinit.target")
    assert units is not None, "systemd's package has its units"
    environment = {**library_environment(program), "SYSTEMD_UNIT_PATH": str(units.parent)}
    return subprocess.run([program, *arguments], env=environment, check=False, capture_output=True, text=True)
