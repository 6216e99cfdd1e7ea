"""`sealwire keys create`, `create-kek` and `rewrap`: data keys, and the key that wraps them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

import click
from rich.console import Console

from sealwire.cli import key_options, options
from sealwire.cli.keys.options import require_alike, shown_key_of
from sealwire.cli.output import Manner, manner_options
from sealwire.cli.subjects import read_policy
from sealwire.crypto import selftest
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.kek.kek import KeyEncryptionKey, generate_encoded_kek
from sealwire.keys.kek.passphrase import create_key_file
from sealwire.keys.keyring.file import KeyringWriter, add_classes, create_keyring, load_keyring, read_record
from sealwire.keys.keyring.file import rewrap as rewrap_keys
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.store import KeyringStore
from sealwire.keys.keyring.turning import create_borrowed
from sealwire.policies.file.schema import FieldClass, Mode

_MADE_BY = {
    KeysReason.VARIABLE_UNSET: "sealwire keys create-kek prints a fresh one",
    KeysReason.VARIABLE_MALFORMED: "sealwire keys create-kek prints a fresh one",
    KeysReason.FILE_MISSING: "check the path, or make the key file: sealwire keys create-kek --output PATH",
}


@click.command()
@click.argument("class_names", metavar="[CLASS]...", nargs=-1)
@click.option(
    "--policy", type=options.PRESENT_FILE, help="Make a key for every class of this policy that has none."
)
@click.option(
    "--plaintext",
    metavar="CLASS",
    multiple=True,
    help="A deterministic class whose collections hold plaintext already: it begins in clear. Repeatable.",
)
@click.option(
    "--sharing",
    metavar="LENDER",
    help="CLASS begins with the key that this class has now, for paths of it that are to leave it.",
)
@click.option("--plaintext-all", is_flag=True, help="All new deterministic classes of --policy begin so.")
@key_options.keys_options
def create(
    class_names: tuple[str, ...],
    policy: Path | None,
    plaintext: tuple[str, ...],
    sharing: str | None,
    keys: key_options.KeyringOptions,
    *,
    plaintext_all: bool,
) -> None:
    """Make a key for each CLASS, and the keyring if there is none.

    A class named here must not have a key yet, and must be in --policy if that is given; a class of --policy
    that has a key keeps it, so the command may be run again after every change of the policy.

    A class that begins in clear is stored as it is until `sealwire migrate encrypt` takes it in. A random
    class needs no such beginning: plaintext beside its envelopes is read as it is.

    With --sharing, the one CLASS has no key of its own at first: it encrypts as LENDER does. --policy has to
    declare both alike.

    \b
    Examples:
      sealwire keys create --keyring keyring.json --policy policy.yaml
      sealwire keys create --keyring keyring.json nhs_number postcode
      sealwire keys create --keyring keyring.json --policy policy.yaml --plaintext nhs_number
      sealwire keys create --keyring keyring.json --policy policy.yaml --plaintext-all
      sealwire keys create --keyring keyring.json --policy policy.yaml nhs_intake --sharing nhs_number
      sealwire keys create --keyring keyring.json --kek file:kek.json notes
      sealwire keys create --keyring vault:secret/sealwire/keyring --kek vault:transit/sealwire notes
    """
    if sharing is not None:
        if len(class_names) != 1 or plaintext or plaintext_all:
            raise click.UsageError("--sharing takes one CLASS, and no --plaintext")
        require_alike(policy, class_names[0], sharing)
        _create_borrowed(keys, (class_names[0], sharing))
        return
    class_names += tuple(name for name in plaintext if name not in class_names)
    if policy is None and (plaintext_all or not class_names):
        raise click.UsageError("give --policy" if plaintext_all else "name a class, or give --policy")
    classes = {} if policy is None else read_policy(policy, may_observe=True).classes
    wanted = tuple(classes)
    if policy is not None:
        _require_declared(class_names, wanted)
    in_clear = _in_clear(classes, plaintext, every=plaintext_all)
    selftest.run()
    store = keys.store()
    now = datetime.now(UTC)
    is_first = not store.exists()
    opened = _open_first(keys) if is_first else keys.open_kek()
    if is_first:
        new = _in_order(class_names, wanted)
        _report(store, create_keyring(store, opened, new, now, in_clear), new)
        click.echo(
            "Back up the keyring and the key-encryption key, apart from each other and from the database.\n"
            f"Without both ({opened.id}) nothing that is encrypted can be read again by anyone.",
            err=True,
        )
        return
    present = load_keyring(store, opened).class_names
    new = _in_order(class_names, (name for name in wanted if name not in present))
    if new:
        _report(store, add_classes(store, opened, new, now, in_clear), new)
    else:
        click.echo(f"{store}: every class has a key already")


def _create_borrowed(keys: key_options.KeyringOptions, names: tuple[str, str]) -> None:
    selftest.run()
    store = keys.store()
    made = create_borrowed(KeyringWriter(store, keys.open_kek(), datetime.now(UTC)), names)
    lent = shown_key_of(made.lender, read_record(store).names)
    click.echo(f"{store}: created key {names[0]}, id {made.class_id}, version {made.version}{lent}")


def _require_declared(named: Iterable[str], declared: Sequence[str]) -> None:
    """Raises KeySettingError POLICY for a class that the policy lacks: nothing would be encrypted with it."""
    for name in named:
        if name not in declared:
            close = get_close_matches(name, declared, 1)
            raise KeySettingError(
                KeysReason.POLICY,
                f"the policy has no class {name}",
                f"did you mean {close[0]}?" if close else "declare the class in the policy first",
            )


def _in_clear(classes: Mapping[str, FieldClass], named: Collection[str], *, every: bool) -> frozenset[str]:
    """The classes that begin in clear if they are new. Raises KeySettingError POLICY for one that cannot."""
    for name in named:
        if name in classes and not _can_be_clear(classes[name]):
            raise KeySettingError(
                KeysReason.POLICY,
                f"class {name} is random in the policy, and never begins in clear",
                f"leave out --plaintext {name}: plaintext is read as it is until it is encrypted",
            )
    found = {name for name, each in classes.items() if every and _can_be_clear(each)}
    return frozenset(found.union(named))


def _can_be_clear(field_class: FieldClass) -> bool:
    return field_class.mode is Mode.DETERMINISTIC


def _open_first(keys: key_options.KeyringOptions) -> KeyEncryptionKey:
    """The key for a first keyring. Only here a hint says how to make one: other data needs the old one."""
    try:
        return keys.open_kek()
    except KeySettingError as error:
        how = _MADE_BY.get(error.reason)
        if how is None:
            raise
        raise KeySettingError(error.reason, str(error), how) from None


def _in_order(named: tuple[str, ...], from_policy: Iterable[str]) -> tuple[str, ...]:
    """Classes named twice on the command line stay twice, and are refused; the policy only adds to them."""
    return (*named, *(name for name in from_policy if name not in named))


def _report(store: KeyringStore, keyring: Keyring, names: Iterable[str]) -> None:
    for name in names:
        cipher = keyring.cipher_for(name)
        clear = "; the class is in clear" if keyring.is_plaintext(cipher) else ""
        click.echo(f"{store}: created key {name}, id {cipher.class_id}, version {cipher.key_version}{clear}")


@click.command()
@click.option("--output", "path", type=options.PATH, help="Write a passphrase-protected key file.")
@click.option("--file", "older_path", type=options.PATH, hidden=True)
@key_options.passphrase_file_option
def create_kek(path: Path | None, older_path: Path | None, passphrase_file: Path | None) -> None:
    """Make a key-encryption key: printed as base64, or in a file under a passphrase.

    The passphrase never comes from the command line: from --passphrase-file, $SEALWIRE_PASSPHRASE, or a
    prompt. At least 20 characters.

    \b
    Examples:
      export SEALWIRE_KEK="$(sealwire keys create-kek)"
      sealwire keys create-kek --output kek.json
      sealwire keys create-kek --output kek.json --passphrase-file passphrase.txt
    """
    path = path or older_path
    if path is None:
        click.echo(generate_encoded_kek())
        click.echo(
            f"This line is the key itself, for the environment variable {DEFAULT_VARIABLE}. Keep it in a\n"
            "secret store, not in a file beside the keyring. It is shown once and stored nowhere.",
            err=True,
        )
        return
    passphrase = key_options.ask_new_passphrase(passphrase_file)
    with Console(stderr=True).status("deriving a key from the passphrase"):
        kek_id = create_key_file(path, passphrase)
    click.echo(f"{path}: created key-encryption key {kek_id}")
    click.echo("Back up the file and its passphrase, apart from each other.", err=True)


# `sealwire keys rewrap`: another key-encryption key, or a newer version of it, for the same data keys


@click.command()
@key_options.keys_options
@click.option(
    "--to",
    metavar="KEK",
    help="The new key-encryption key, as --kek. Without it, wrap under the newest version of the old one.",
)
@click.option("--to-passphrase-file", type=options.PATH, help="Passphrase of a new key file.")
@manner_options
def rewrap(
    keys: key_options.KeyringOptions, to: str | None, to_passphrase_file: Path | None, manner: Manner
) -> None:
    """Wrap all data keys anew. No data is touched, and nothing is encrypted again.

    Proxies that run keep the keys that they have. After a change of the key-encryption key set `kek` in their
    configuration and restart them one after the other. Until then they cannot read the keyring anew.

    Whoever has an old copy of the keyring and the old key-encryption key still opens all data keys. When both
    were seen by others, the data keys themselves have to be replaced.

    \b
    Examples:
      sealwire keys rewrap --keyring keyring.json --kek vault:transit/sealwire
      sealwire keys rewrap --keyring keyring.json --kek env:OLD_KEK --to env:NEW_KEK --dry-run
      sealwire keys rewrap --keyring keyring.json --kek env:SEALWIRE_KEK --to aws:alias/sealwire
    """
    selftest.run()
    store, old = keys.store(), keys.open_kek()
    new = old if to is None else key_options.open_kek(to, to_passphrase_file, keys.providers)
    record = rewrap_keys(KeyringWriter(store, old, datetime.now(UTC), manner.dry_run), new)
    count = sum(len(entry.keys) for entry in record.classes)
    done = "would be wrapped" if manner.dry_run else "wrapped"
    document = {"keys": count, "generation": record.generation, "before": old.id, "kek_id": new.id}
    manner.answer(f"{store}: {count} keys {done} anew under {new.id}", document)
