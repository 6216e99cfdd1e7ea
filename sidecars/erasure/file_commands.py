"""Commands of erasure that read files alone, and no server: `sealwire hold`, and `erase verify-receipt`."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from sealwire.audit.files import load_verification_key
from sealwire.audit.pseudonyms import load_pseudonym_key
from sealwire.audit.signing import MAX_DOCUMENT_BYTES, VerificationKey, open_document
from sealwire.cli.audit import shown
from sealwire.cli.options import PATH, PRESENT_FILE, json_option, variable_option
from sealwire.cli.output import Manner, manner_options, print_json, show_table
from sealwire.cli.recording import operator_at_host, record_event
from sealwire.cli.subjects import ask_identifier, policy_argument, read_policy, subjects_key_option
from sealwire.sidecars.erasure import holds as files
from sealwire.sidecars.erasure.holds import LegalHold, load_holds

holds_option = variable_option(
    "--holds",
    type=PATH,
    envvar="SEALWIRE_HOLDS",
    required=True,
    help="The file of legal holds; `sealwire hold create` makes one.",
)


@click.command()
@holds_option
@subjects_key_option
@manner_options
def create(holds: Path, subjects_key: Path, manner: Manner) -> None:
    """Make a file of holds, without any.

    Keep it where `sealwire erase run` is run, in a folder that only its owner writes to, and back it up. It
    shows no person: each stands in it as a pseudonym.

    \b
    Example:
      sealwire hold create --holds holds.json --subjects-key subjects.key
    """
    key = load_pseudonym_key(subjects_key)
    if not manner.dry_run:
        files.create_holds(holds, key)
    manner.answer(
        f"{holds}: {'would be made' if manner.dry_run else 'made'}, without holds", {"holds": str(holds)}
    )


@click.command()
@policy_argument
@holds_option
@subjects_key_option
@click.option("--case", required=True, help="The reference of the case; no person's name.")
@manner_options
def place(policy: Path, holds: Path, subjects_key: Path, case: str, manner: Manner) -> None:
    """Let the data of a person be kept, whoever asks for its erasure.

    The identifier, a value of the class that `subjects` of POLICY names, is asked for, or read as a line of
    standard input. The person need not be in the database yet.

    \b
    Examples:
      sealwire hold place policy.yaml --holds holds.json --subjects-key subjects.key --case QB-2026-117
      sealwire hold place policy.yaml --holds holds.json --subjects-key subjects.key --case QB-1 < nhs.txt
    """
    key = load_pseudonym_key(subjects_key)
    pseudonym = key.pseudonym(ask_identifier(read_policy(policy, may_observe=True)))
    now, by = datetime.now(UTC), operator_at_host()
    hold = files.place(holds, key, pseudonym, case, by, now, dry_run=manner.dry_run)
    _tell(hold, "placed", manner)


@click.command()
@click.argument("number", type=click.IntRange(1))
@holds_option
@subjects_key_option
@manner_options
def release(number: int, holds: Path, subjects_key: Path, manner: Manner) -> None:
    """End hold NUMBER. It stays in the list, with who ended it.

    \b
    Example:
      sealwire hold release 3 --holds holds.json --subjects-key subjects.key
    """
    key = load_pseudonym_key(subjects_key)
    now, by = datetime.now(UTC), operator_at_host()
    hold = files.release(holds, key, number, by, now, dry_run=manner.dry_run)
    _tell(hold, "released", manner)


@click.command(name="list")
@holds_option
@subjects_key_option
@click.option("--all", "with_released", is_flag=True, help="Released ones too.")
@json_option
def list_holds(holds: Path, subjects_key: Path, *, with_released: bool, as_json: bool) -> None:
    """Show the holds that stand.

    \b
    Examples:
      sealwire hold list --holds holds.json --subjects-key subjects.key
      sealwire hold list --all --json
    """
    found = [
        hold for hold in load_holds(holds, load_pseudonym_key(subjects_key)) if hold.stands or with_released
    ]
    if as_json:
        print_json({"holds": [asdict(hold) for hold in found]})
        return
    columns = ("number", "subject", "case", "placed", "by", "released")
    show_table(columns, ([getattr(hold, name) or "" for name in columns] for hold in found))


def _tell(hold: LegalHold, what: str, manner: Manner) -> None:
    said = f"would be {what}" if manner.dry_run else what
    if not manner.dry_run:
        record_event(f"hold-{what}", {"hold": hold.number, "subject": hold.subject, "case": hold.case})
    manner.answer(f"hold {hold.number} on {hold.subject}: {said}", asdict(hold))


# -------------------------------------------------- receipts as all commands read them: signed, or an error

FORM: Final = "erasure-receipt"

key_option = click.option("--key", type=PATH, required=True, help="The public half of the key that signed.")


def read_receipt(path: Path, key: VerificationKey) -> Mapping[str, Any]:
    """What a receipt says. Raises AuditFileProblem NOT_SIGNED."""
    with path.open("rb") as file:
        raw = file.read(MAX_DOCUMENT_BYTES + 1)
    return open_document(raw, FORM, key, str(path))


@click.command(name="verify-receipt")
@click.argument("receipt", type=PRESENT_FILE)
@key_option
@json_option
def verify_receipt(receipt: Path, key: Path, *, as_json: bool) -> None:
    """Check that RECEIPT was signed with the audit log's key, and show it. Needs no secret.

    \b
    Example:
      sealwire erase verify-receipt erased-117.receipt --key audit.key.pub
    """
    content = read_receipt(receipt, load_verification_key(key))
    if as_json:
        print_json(dict(content))
        return
    click.echo(f"{receipt}: genuine")
    for name, value in content.items():
        if isinstance(value, list):
            for each in value:
                text = " ".join(f"{k}={v}" for k, v in each.items()) if isinstance(each, dict) else str(each)
                click.echo(f"{name}: {shown(text)}")
        else:
            click.echo(f"{name}: {shown(value)}")
