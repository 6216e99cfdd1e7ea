"""`sealwire policy enforce`: let the server itself reject plaintext in covered fields."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click

from sealwire.cli import key_options, options
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.output import Manner, manner_options, question_console, show_table, with_bar
from sealwire.cli.subjects import policy_argument, read_policy
from sealwire.crypto import selftest
from sealwire.crypto.envelope import beginning
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass, Mode, PolicySet
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.enforcement import validators
from sealwire.sidecars.migration.windows.frontiers import require_unbegun


def _wish(
    remove: bool, create: bool, level: str | None, action: str | None, allow_existing: bool, versions: bool
) -> validators.Options | None:
    """The options to install with, or None to remove what was installed."""
    if not remove:
        return validators.Options(level, action, create, allow_existing, versions)
    if create or allow_existing or level or action or versions:
        raise click.UsageError(
            "--remove takes none of --create, --allow-existing, --level, --action and --versions"
        )
    return None


@click.command()
@policy_argument
@options.variable_option(
    "--uri",
    required=True,
    envvar="SEALWIRE_SERVER_URI",
    help="The server itself, not Sealwire. From the environment no other user of the machine sees it.",
)
@options.settings(
    "wanted",
    _wish,
    click.option(
        "--remove", is_flag=True, help="Take the validators away; what was there before comes back."
    ),
    click.option(
        "--create", is_flag=True, help="Create collections that POLICY names and that do not exist."
    ),
    click.option(
        "--level", type=click.Choice(["strict", "moderate"]), help="validationLevel. Default: see above."
    ),
    click.option(
        "--action", type=click.Choice(["error", "warn"]), help="validationAction. Default: see above."
    ),
    click.option("--allow-existing", is_flag=True, help="Install although documents hold plaintext already."),
    click.option(
        "--versions",
        is_flag=True,
        help="Of deterministic classes, also reject everything but envelopes of the active key. "
        "Needs --keyring.",
    ),
)
@key_options.optional_keyring_option
@key_options.kek_options
@options.yes_option
@manner_options
def enforce(  # noqa: PLR0913 - one parameter an option
    *,
    policy: Path,
    uri: str,
    wanted: validators.Options | None,
    keyring: str | None,
    kek: key_options.KekOptions,
    manner: Manner,
    yes: bool,
) -> None:
    """Install validators that reject plaintext in the fields that POLICY covers.

    A client that goes round Sealwire then gets error 121 instead of writing plaintext. Validators that are
    there already are kept and go on counting. Level and action are those that the collection's validator has;
    where it has none, strict and error. Exit code 1 when a collection failed.

    With --versions the server also rejects what an older key of a deterministic class encrypted. Give it
    after a move. Before the next move, run the command without it.

    \b
    Examples:
      sealwire policy enforce policy.yaml --uri mongodb://mongo.example:27017/?tls=true --dry-run
      SEALWIRE_SERVER_URI=mongodb://... sealwire policy enforce policy.yaml --yes --json
      sealwire policy enforce policy.yaml --uri mongodb://... --remove
      sealwire policy enforce policy.yaml --uri mongodb://... --versions --keyring keyring.json
    """
    policies = read_policy(policy)
    opened = None
    if wanted is not None and wanted.versions:
        opened = _open(keyring, kek)
        wanted = replace(wanted, headers=_headers(policies, opened))
    with connected(uri, validators.RIGHTS) as client:
        _require_unmoved(client, policies, opened)
        found = covered_collections(client, policies)
        changes = with_bar(
            found,
            len(found),
            lambda each: f"looking at {each.namespace}",
            lambda each: (
                validators.plan_removal(each)
                if wanted is None
                else validators.plan_install(client, each, wanted)
            ),
        )
        pending = [change for change in changes if change.command is not None]
        if pending and not manner.dry_run:
            if not yes:
                show_table(_columns(will=True), map(_cells, changes), question_console())
                click.confirm(f"Change {len(pending)} collections?", abort=True, err=True)
                _require_unmoved(client, policies, opened)
            changes = with_bar(
                changes,
                len(changes),
                lambda change: f"changing {change.namespace}",
                lambda change: validators.carry_out(client, change),
            )
    rows = [
        {
            "namespace": change.namespace,
            "outcome": change.outcome.value,
            "reason": change.reason,
            "plaintext": dict(change.plaintext),
        }
        for change in changes
    ]
    manner.show_table(_columns(will=manner.dry_run), map(_cells, changes), {"collections": rows})
    sys.exit(
        EX_NO if any(change.outcome is validators.EnforcementOutcome.FAILED for change in changes) else 0
    )


def _open(keyring: str | None, kek: key_options.KekOptions) -> Keyring:
    if keyring is None:
        raise click.UsageError("--versions needs --keyring")
    selftest.run()
    return key_options.KeyringOptions(keyring, kek).load()


def _versioned(policies: PolicySet) -> Iterable[FieldClass]:
    """The classes whose envelopes say a version and have to be of one: contexts have one key each."""
    for name in sorted(policies.used_classes):
        found = policies.classes[name]
        if found.mode is Mode.DETERMINISTIC and found.per is None:
            yield found


def _headers(policies: PolicySet, keyring: Keyring) -> dict[str, bytes]:
    """By class, how every stored value begins. Raises KeySettingError KEY_STATE; UnknownKey."""
    headers = {}
    for found in _versioned(policies):
        cipher = keyring.cipher_for(found.name)
        if keyring.pending_cipher_for(found.name) is not None or keyring.is_plaintext(cipher):
            text = f"class {found.name} has a pending key, or is in clear: its values have no one version"
            hint = "let the move end first (sealwire migrate status), or enforce without --versions"
            raise KeySettingError(KeysReason.KEY_STATE, text, hint)
        headers[found.name] = beginning(*cipher.named)
    return headers


def _require_unmoved(client: Client, policies: PolicySet, keyring: Keyring | None) -> None:
    """See that no class moves, or has moved on from what the keyring says. Raises as `require_unbegun`."""
    if keyring is None:
        return
    for found in _versioned(policies):
        version = keyring.cipher_for(found.name).key_version + 1
        require_unbegun(client, keyring, found.name, version)


def _columns(*, will: bool) -> tuple[str, ...]:
    return "collection", "would be" if will else "outcome", "documents in the way", "reason"


def _cells(change: validators.Change) -> tuple[str, ...]:
    counts = "\n".join(f"{path}: {count}" for path, count in change.plaintext.items())
    return change.namespace, change.outcome.value, counts, change.reason
