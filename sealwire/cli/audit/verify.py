"""`sealwire audit verify`: whether an audit log is as it was written, and where it is not."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from sealwire.audit.files import LogPlace, files_to_verify, load_verification_key
from sealwire.audit.verification import Flaw, LogReport, read_checkpoints, verify
from sealwire.cli.audit.options import existing_files, log_argument
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.keys.options import Interval
from sealwire.cli.options.common import PATH, json_option
from sealwire.cli.output import print_json, progress_bar, show_table


@click.command(name="verify")
@log_argument
@click.option("--key", "key_path", type=PATH, help="The key that verifies: PATH.pub of `create-key`.")
@click.option("--chain-only", is_flag=True, help="Do without checkpoints: finds edits, no chain made anew.")
@click.option(
    "--checkpoints",
    "others",
    type=PATH,
    multiple=True,
    help="Another file of checkpoints, beside LOG.checkpoints. May be given more than once.",
)
@click.option("--archived", is_flag=True, help="Older files than those beside LOG need not be there.")
@click.option(
    "--max-age",
    type=Interval(),
    metavar="2d|never",
    # twice the longest audit.checkpoint_s; without new lines a proxy signs twice a day
    default="2d",
    show_default=True,
    help="How old the newest checkpoint may be. `never` for a log that nobody writes to any more.",
)
@json_option
def verify_command(  # noqa: PLR0913 - one parameter an option
    log: Path,
    key_path: Path | None,
    chain_only: bool,
    others: tuple[Path, ...],
    max_age: timedelta | None,
    *,
    archived: bool,
    as_json: bool,
) -> None:
    """Read the audit log at LOG, with all files it was renamed to, and say what was changed and where.

    Every line is held against the one before it, and all of them against the signed checkpoints. Exit code 1
    when anything is found. What was written after the last checkpoint is fixed by the chain alone: the answer
    says how many lines that are.

    Exit code 1 also when the newest checkpoint is older than --max-age: then nothing is signed any more, no
    proxy runs, or the end of the log was cut off together with its checkpoints.

    \b
    Examples:
      sealwire audit verify /var/log/sealwire/audit.jsonl --key audit.key.pub
      sealwire audit verify audit.jsonl --key audit.key.pub --checkpoints /mnt/worm/clinic.checkpoints --json
      sealwire audit verify evidence/audit.jsonl --key audit.key.pub --max-age never
      sealwire audit verify audit.jsonl --chain-only
    """
    if chain_only == (key_path is not None):
        raise click.UsageError("give --key, or --chain-only to do without")
    places = (*LogPlace(log).checkpoints, *others)
    files = files_to_verify(log)
    if not files and not any(each.exists() for each in places):
        # where a checkpoint tells of lines, they were emptied or taken away: that is what is found then
        existing_files(log)
    report = LogReport()
    checkpoints = {}
    if key_path is not None:
        key = load_verification_key(key_path)
        checkpoints = read_checkpoints(places, key, report)
    size = sum(each.stat().st_size for each in files)
    with progress_bar("reading", size) as progress:
        verify(files, checkpoints, report, progress, archived=archived)
    age = None if report.signed_at is None else datetime.now(UTC) - report.signed_at
    is_stale = age is not None and max_age is not None and age > max_age
    if as_json:
        print_json(_document(report, files, age, is_stale=is_stale))
    else:
        _show(report, files, chain_only=chain_only)
        if is_stale and age is not None:
            old = f"{age.days} days" if age.days else f"{age.seconds // 3600} hours"
            click.echo(f"the newest checkpoint is {old} old, more than --max-age allows")
    sys.exit(0 if report.is_whole and not is_stale else EX_NO)


def _show(report: LogReport, files: list[Path], *, chain_only: bool) -> None:
    if report.flaws:
        rows = [(_place(each), each.kind.value, each.detail) for each in report.flaws]
        show_table(("where", "what", "more"), rows)
    if report.more:
        click.echo(f"and {report.more} more")
    read = f"{report.read} lines in {len(files)} file{'s' * (len(files) > 1)}"
    if chain_only:
        click.echo(f"{read}: {'one chain' if report.is_whole else 'not whole'}; no checkpoint was looked at")
        return
    signed = f"signed up to line {report.signed} of {report.lines}"
    if report.signed_at is not None:
        signed += f", at {report.signed_at.isoformat(timespec='seconds')}"
    click.echo(f"{read}: {'whole' if report.is_whole else 'not whole'}; {signed}")


def _place(flaw: Flaw) -> str:
    spot = flaw.spot
    return "" if spot.path is None else f"{spot.path.name}:{spot.line}"


def _document(
    report: LogReport, files: list[Path], age: timedelta | None, *, is_stale: bool
) -> dict[str, Any]:
    return {
        "whole": report.is_whole,
        "files": [str(each) for each in files],
        "lines": report.lines,
        "read": report.read,
        "signed": report.signed,
        "signed_at": None if report.signed_at is None else report.signed_at.isoformat(),
        "signed_age_s": None if age is None else round(age.total_seconds()),
        "stale": is_stale,
        "checkpoints": report.checkpoints,
        "flaws": [
            {
                "flaw": each.kind.name.lower().replace("_", "-"),
                "file": None if each.spot.path is None else str(each.spot.path),
                "line": each.spot.line,
                "meaning": each.kind.value,
                "detail": each.detail,
            }
            for each in report.flaws
        ],
        "more": report.more,
    }
