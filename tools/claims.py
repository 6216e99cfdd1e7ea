"""Break what each row of the compliance page claims, and look whether the test that the row names notices.

Each row of tests/claims.toml is a small fault: a text of one file, and what takes its place. The files are
copied to a folder of their own. There all named tests have to pass together without a fault. Then each fault
is put in alone, and its test has to fail. Rows of the page without a fault are counted, because nobody has
shown that their tests can fail.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CLAIMS: Final = ROOT / "tests" / "claims.toml"
FAILED: Final = 1
"""What pytest ends with if tests ran and one failed. Other codes say that it could not run them."""
_TIMEOUT_S: Final = 600
_EACH_S: Final = 30
"""What is added for each test that runs in one process with others."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One fault, under which the test of a row has to fail."""

    row: str
    test: str
    """As the page names it: below `tests`."""
    file: str
    before: str
    after: str

    def break_in(self, root: Path) -> str:
        """Put the fault into the file below `root`, and return its text as it was.

        Raises ValueError if `before` is not there exactly once.
        """
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.before) != 1:
            raise ValueError(
                f"{self.row}: {self.file} has the text {text.count(self.before)} times, not once"
            )
        path.write_text(text.replace(self.before, self.after), encoding="utf-8")
        return text


def read_claims(path: Path = CLAIMS) -> list[Claim]:
    """Every fault of the list. Raises OSError, tomllib.TOMLDecodeError, TypeError for unknown keys."""
    return [Claim(**each) for each in tomllib.loads(path.read_text(encoding="utf-8"))["claim"]]


def copy_files(target: Path) -> None:
    """The tracked files and those that will be, links as links."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, done.stdout.decode().split("\0")):
        if os.path.lexists(ROOT / name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


def run_tests(root: Path, tests: Sequence[str], *, is_broken: bool) -> int:
    """The exit code of pytest for these tests of the copy at `root`, which has a fault or none."""
    words = ["-q", "-x", "--no-header", "-p", "no:cacheprovider", "-m", "slow or not slow"]
    # the same examples with the fault as without it, and the first that fails is enough
    words.append("--hypothesis-profile=mutants")
    command = [sys.executable, "-m", "pytest", *words, *(f"tests/{test}" for test in tests)]
    # The copy's modules come before those that are installed. Every run uses the byte code of the sound
    # files, which halves its time; no byte code of a fault outlives it.
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1" if is_broken else ""}
    limit = _TIMEOUT_S + _EACH_S * len(tests)
    try:
        return subprocess.run(
            command, cwd=root, env=environment, capture_output=True, check=False, timeout=limit
        ).returncode
    except subprocess.TimeoutExpired:
        return -1


def unnoticed(claims: Sequence[Claim], root: Path) -> list[str]:
    """The claims whose tests do not fail when they are broken, each with what happened. `root` is a copy."""
    code = run_tests(root, sorted({claim.test for claim in claims}), is_broken=False)
    if code:
        return [f"the tests do not pass without a fault: pytest ended with {code}"]
    found = []
    for claim in claims:
        sound = claim.break_in(root)
        try:
            code = run_tests(root, [claim.test], is_broken=True)
        finally:
            (root / claim.file).write_text(sound, encoding="utf-8")
        print(f"{claim.row} {claim.test}: {'noticed' if code == FAILED else f'pytest ended with {code}'}")
        if code != FAILED:
            found.append(f"{claim.row}: {claim.test} does not notice it: pytest ended with {code}")
    return found


def main() -> int:
    """Look at every claim, or at those of the rows that are named; 1 if a fault is not noticed."""
    wanted = set(sys.argv[1:])
    claims = [each for each in read_claims() if not wanted or each.row in wanted]
    with tempfile.TemporaryDirectory(prefix="sealwire-claims-") as folder:
        copy_files(Path(folder))
        found = unnoticed(claims, Path(folder))
    print(*found, f"{len(claims)} faults, {len(found)} not noticed", sep="\n")
    return 1 if found or not claims else 0


if __name__ == "__main__":
    sys.exit(main())
