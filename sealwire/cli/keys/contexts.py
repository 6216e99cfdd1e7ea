"""`sealwire keys contexts` and `rewrap-contexts`: how many contexts have keys, and who wraps them."""

import click

from sealwire.cli.keys.context_options import (
    ClassOfContexts,
    class_options,
    context_argument,
    read_context,
    type_option,
)
from sealwire.cli.output import Manner, manner_options
from sealwire.keys.contexts import shredding
from sealwire.keys.contexts.store import every_row
from sealwire.keys.contexts.wrapping import wrapping_cipher


@click.command()
@class_options()
@context_argument
@type_option
@click.option("--readmit", is_flag=True, help="Let a context whose key was destroyed have another one.")
@manner_options
def contexts(
    subject: ClassOfContexts, context: str | None, context_type: str, manner: Manner, *, readmit: bool
) -> None:
    """Count the contexts of CLASS; with --readmit, let a destroyed CONTEXT be written to again.

    \b
    Examples:
      sealwire keys contexts notes --contexts contexts.db --keyring keyring.json --json
      sealwire keys contexts notes patient-17 --readmit --contexts contexts.db --keyring keyring.json
    """
    if readmit:
        named = read_context(context, context_type)
        with subject.opened() as opened:
            row = opened.row_of(named)
            if not manner.dry_run:
                shredding.readmit(opened.store, row)
        manner.answer("the context gets a new key with its next value", {"former_key_id": row.key_id.hex()})
        return
    with subject.opened() as opened:
        count = opened.store.count(opened.class_id)
    versions = {str(version): number for version, number in count.wrapped_by.items()}
    document = {
        "class": opened.class_name,
        "live": count.live,
        "announced": count.announced,
        "destroyed": count.destroyed,
        "wrapped_by_version": versions,
    }
    by = ", ".join(f"{number} by version {version}" for version, number in versions.items()) or "none"
    text = f"{count.live} contexts, {count.announced} to be destroyed; {count.destroyed} destroyed"
    manner.answer(f"{opened.class_name}: {text}\nkeys wrapped: {by}", document)


@click.command(name="rewrap-contexts")
@class_options()
@manner_options
def rewrap_contexts(subject: ClassOfContexts, manner: Manner) -> None:
    """Wrap the keys of all contexts of CLASS with the class's active key. No data is touched.

    Do so after `sealwire keys rotate CLASS`, before the older version is retired. It may be repeated.

    \b
    Examples:
      sealwire keys rewrap-contexts notes --contexts contexts.db --keyring keyring.json
    """
    with subject.opened() as opened:
        if manner.dry_run:
            active = wrapping_cipher(opened.keyring, opened.class_name).key_version
            rows = every_row(opened.store, opened.class_id)
            done = sum(not row.is_destroyed and row.wrap_version != active for row in rows)
        else:
            done = sum(shredding.rewrap(opened.store, opened.keyring, opened.class_name))
    verb = "would be wrapped" if manner.dry_run else "wrapped"
    manner.answer(f"{opened.store}: {done} keys {verb} anew", {"class": opened.class_name, "keys": done})
