"""Ask pip-audit whether a locked version has a known vulnerability.

pip-audit exits with 1 both for a finding and for an advisory service that it cannot reach, and it skips a
package that the service does not know while still saying that nothing was found. Here the three are told
apart: findings fail; what could not be checked is said in a line of its own, and fails only with
--require-answer.

Usage: python tools/audit_dependencies.py [--require-answer]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parent.parent / "requirements" / "dev.txt"
TIMEOUT_S = 300  # some 70 packages are asked about one after another


@dataclass(frozen=True, slots=True)
class Audit:
    """What the advisory service said: for how many packages, for which not, and the findings."""

    checked: int
    unchecked: tuple[str, ...]
    findings: tuple[str, ...]


def read_report(report: dict[str, Any]) -> Audit:
    """Sort the dependencies of pip-audit's JSON report into answered, skipped and vulnerable."""
    checked = 0
    unchecked: list[str] = []
    findings: list[str] = []
    for dependency in report["dependencies"]:
        if "skip_reason" in dependency:
            unchecked.append(dependency["name"])
            continue
        checked += 1
        for vulnerability in dependency["vulns"]:
            fixed = ", ".join(vulnerability["fix_versions"]) or "no release yet"
            findings.append(
                f"{dependency['name']} {dependency['version']}: {vulnerability['id']} (fixed in: {fixed})"
            )
    return Audit(checked, tuple(unchecked), tuple(findings))


def run_pip_audit(lock: Path) -> dict[str, Any] | None:
    """pip-audit's report on `lock`, or None where it wrote none: no service, or none within TIMEOUT_S."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "audit.json"
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes"]
        command += ["--disable-pip", "--progress-spinner", "off", "--format", "json", "--output", str(output)]
        try:
            subprocess.run(command, check=False, capture_output=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return None
        if not output.is_file() or output.stat().st_size == 0:
            return None
        report: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        return report


def first_requirement(lock: str) -> str:
    """The first requirement of a lock with its hashes: lines that end in a backslash go on."""
    block: list[str] = []
    for line in lock.splitlines():
        if block or "==" in line:
            block.append(line)
            if not line.endswith("\\"):
                break
    return "\n".join(block) + "\n"


def audit_lock(lock: Path) -> Audit | None:
    """Audit every package of `lock`; None where there is no service.

    One package is asked about first: a service that does not know it (an index without advisories, as mirrors
    are) is not asked about all the others, one refusal each.
    """
    with tempfile.TemporaryDirectory() as directory:
        probe = Path(directory) / "probe.txt"
        probe.write_text(first_requirement(lock.read_text(encoding="utf-8")), encoding="utf-8")
        report = run_pip_audit(probe)
    if report is None or read_report(report).unchecked:
        return None
    report = run_pip_audit(lock)
    return None if report is None else read_report(report)


def verdict(audit: Audit | None, *, require_answer: bool) -> tuple[list[str], int]:
    """The lines to print and the exit code: 1 for findings, 2 for no answer where one is required."""
    if audit is None:
        lines = ["audit: could not be checked: no advisory service can be reached from here"]
        return lines, 2 if require_answer else 0
    lines = [f"audit: vulnerable: {finding}" for finding in audit.findings]
    if audit.unchecked:
        lines.append(
            f"audit: could not be checked: no advisories to be had for {len(audit.unchecked)} of "
            f"{len(audit.unchecked) + audit.checked} locked packages"
        )
    lines.append(f"audit: {audit.checked} locked packages checked, {len(audit.findings)} findings")
    if audit.findings:
        return lines, 1
    return lines, 2 if audit.unchecked and require_answer else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Audit requirements/dev.txt for known vulnerabilities.")
    parser.add_argument("--require-answer", action="store_true", help="fail for a package that is not known")
    arguments = parser.parse_args()
    lines, code = verdict(audit_lock(LOCK), require_answer=arguments.require_answer)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
