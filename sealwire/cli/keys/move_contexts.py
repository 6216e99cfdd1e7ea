"""`sealwire keys move-contexts`: the store of the keys of contexts from a file to Vault, or back."""

from contextlib import ExitStack, closing
from pathlib import Path

import click

from sealwire.cli.options import contexts_option
from sealwire.cli.output import Manner, document_count_bar, manner_options
from sealwire.keys.contexts import transfer
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.store import Place, parse_place
from sealwire.keys.providers import Providers


@click.command(name="move-contexts")
@contexts_option("The store that is to be left, as keys.contexts names it.", required=True)
@click.option("--to", metavar="PATH|vault:MOUNT/PATH", required=True, help="Where no store is yet.")
@click.option("--cancel", is_flag=True, help="Call off a move that is not over: use the old store again.")
@manner_options
def move_contexts(contexts: str, to: str, manner: Manner, *, cancel: bool) -> None:
    """Move the keys of all contexts, destroyed ones too, to another store. No keyring is needed.

    From the first moment on, the old store makes and changes no key: proxies serve the keys that are there,
    and a command that needs a new one fails with code 262 and may be tried again. When the move is over, set
    keys.contexts to the new place on every proxy, and restart them one after the other. Shred nothing before
    all have it; then delete the old store, which has copies of all keys.

    Run it again after it was killed. With --cancel the old store is used as before.

    \b
    Examples:
      sealwire keys move-contexts --contexts contexts.db --to vault:secret/sealwire/contexts --dry-run
      sealwire keys move-contexts --contexts contexts.db --to vault:secret/sealwire/contexts
      sealwire keys move-contexts --contexts vault:secret/sealwire/contexts --to contexts.db --json
      sealwire keys move-contexts --contexts contexts.db --to vault:secret/sealwire/contexts --cancel
    """
    old_place, new_place = _place(contexts), _place(to)
    if old_place == new_place:
        raise click.UsageError("--to names the store that is to be left")
    providers = Providers()
    with ExitStack() as stack:
        old = stack.enter_context(closing(providers.context_store(old_place, create=False, for_move=True)))
        if cancel:
            if not manner.dry_run:
                transfer.call_off(old, str(new_place))
            _show_call_off(str(old), str(new_place), manner)
            return
        transfer.require_room(old, _present(providers, new_place, stack), str(new_place))
        if manner.dry_run:
            done = transfer.count_rows(old)
        else:
            new = providers.context_store(new_place, create=True, for_move=True)
            stack.enter_context(closing(new))
            with document_count_bar(f"to {new}", old.size()) as moved:
                done = transfer.transfer(old, new, moved)
    _show(str(old), str(new_place), done, manner)


def _place(setting: str) -> Place:
    """A file by its full path, so that both stores name each other alike from wherever they are looked at."""
    place = parse_place(setting)
    return place.resolve() if isinstance(place, Path) else place


def _present(providers: Providers, place: Place, stack: ExitStack) -> ContextStore | None:
    """The store at a place, if there is one."""
    try:
        found = providers.context_store(place, create=False, for_move=True)
    except KeySettingError as error:
        if error.reason is not KeysReason.FILE_MISSING:
            raise
        return None
    return stack.enter_context(closing(found))


def _show_call_off(old: str, new: str, manner: Manner) -> None:
    step = f"run the move again, or delete {new}: what was copied is there, and no key is shredded in it"
    done = "would be" if manner.dry_run else "is"
    document = {"from": old, "to": new, "cancelled": True, "next": [step]}
    manner.answer(f"{old}: {done} in use again\nnext: {step}", document)


def _show(old: str, new: str, done: transfer.Transferred, manner: Manner) -> None:
    steps = [
        f"set keys.contexts to {new} on every proxy, and restart them one after the other",
        f"then delete {old}: it has a copy of each key, and none is shredded there any more",
    ]
    verb = "would be moved" if manner.dry_run else "are moved"
    text = f"{new}: {done.rows} keys, {done.destroyed} of them destroyed, {verb} from {old}"
    document = {"from": old, "to": new, "keys": done.rows, "destroyed": done.destroyed, "next": steps}
    manner.answer("\n".join([text, *(f"next: {step}" for step in steps)]), document)
