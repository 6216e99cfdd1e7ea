"""Programs of Debian packages that tests drive; a test that needs one is skipped where it cannot be had.

Its libraries have to be on the machine or be named; where they are not, or where there is no apt, the test is
skipped with the reason, and fails with CI=true.
"""

import subprocess
from pathlib import Path

from tests.support.skips import skip_or_fail
from tools.debian_programs import find_program, library_environment

_WITHIN_S = 120


def require_program(program: str, package: str, probe: str, *libraries: str) -> Path:
    """The path of `program`, from `package` if it is not on the machine; `program probe` must succeed.

    `libraries` are packages that are unpacked beside it; it finds them in `library_environment` only.
    """
    path = find_program(program, package, *libraries)
    reason = "cannot be unpacked with apt" if path is None else _why_not(path, probe)
    if path is None or reason is not None:
        skip_or_fail(f"{program} of the Debian package {package} {reason}")
    return path


def _why_not(path: Path, probe: str) -> str | None:
    done = subprocess.run(
        [path, probe],
        env=dict(library_environment(path)),
        capture_output=True,
        check=False,
        timeout=_WITHIN_S,
    )
    return None if done.returncode == 0 else "does not run here: a library is missing"
