"""`sealwire manual` and `completion`: a page for `man` of every command, and a shell's completion of them."""

import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from sealwire import __version__
from sealwire.cli.options import PATH
from sealwire.proxy.server.errors import FileProblem, StartReason

# -------------------- manual pages of the command line, made from what `--help` shows: one for each command
#
# Source: man(7), of groff. click-man makes such pages too, but sees no command that is found when it is
# called.

_PREFORMATTED = "\b"


def man_pages(context: click.Context) -> Iterator[tuple[str, str]]:
    """The page of a command, and of every command below it: the name of its file, and its text in roff.

    Cost: the import of all of them, about a second.
    """
    below = _commands(context)
    yield f"{_page_name(context)}.1", "\n".join(_lines(context, below)) + "\n"
    for each in below:
        yield from man_pages(each)


def _commands(context: click.Context) -> list[click.Context]:
    command = context.command
    if not isinstance(command, click.Group):
        return []
    found = ((name, command.get_command(context, name)) for name in command.list_commands(context))
    return [
        click.Context(each, info_name=name, parent=context)
        for name, each in found
        if each is not None and not each.hidden
    ]


def _lines(context: click.Context, below: list[click.Context]) -> Iterator[str]:
    command, page = context.command, _page_name(context)
    yield f'.TH "{_text(page.upper())}" 1 "" "Sealwire {__version__}" "Sealwire"'
    yield from (".SH NAME", f"{_text(page)} \\- {_text(_short(command))}")
    yield from (".SH SYNOPSIS", f".B {_text(context.command_path)}")
    yield _text(" ".join(command.collect_usage_pieces(context)))
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help or "")
    records = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) is not None
    ]
    yield from _list("OPTIONS", records)
    yield from _list("COMMANDS", [(each.command_path, _short(each.command)) for each in below])
    if command.epilog:
        yield ".SH NOTES"
        yield from _paragraphs(command.epilog)
    others = [*below, *([] if context.parent is None else [context.parent])]
    if others:
        yield ".SH SEE ALSO"
        yield ", ".join(f"{_text(_page_name(each))}(1)" for each in others)


def _list(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield f".SH {title}"
    for names, text in rows:
        yield from (".TP", f".B {_text(names)}", _text(" ".join(text.split())) or "\\&")


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith(_PREFORMATTED):
            yield ".nf"
            yield from map(_text, paragraph.removeprefix(_PREFORMATTED).strip("\n").splitlines())
            yield ".fi"
        else:
            yield from map(_text, paragraph.splitlines())


def _page_name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _short(command: click.Command) -> str:
    return " ".join(command.get_short_help_str(200).split())


def _text(line: str) -> str:
    """A line that roff prints as it is: no escape, and no request at its beginning."""
    escaped = line.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


@click.command(name="manual")
@click.argument("folder", type=PATH)
def manual(folder: Path) -> None:
    """Write a manual page for every command into FOLDER.

    Pages that are there already are replaced: they belong to the version that wrote them.

    \b
    Examples:
      sealwire manual /usr/local/share/man/man1
      sealwire manual ./man && man ./man/sealwire-keys.1
    """
    root = click.get_current_context().find_root().command
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pages = list(man_pages(click.Context(root, info_name="sealwire")))
        for filename, text in pages:
            (folder / filename).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileProblem(
            StartReason.FILE_UNWRITABLE,
            f"{folder}: pages cannot be written: {os.strerror(error.errno or 0)}",
            "name a folder that you may write to",
        ) from None
    click.echo(f"{folder}: {len(pages)} pages")


_VARIABLE = "_SEALWIRE_COMPLETE"
"""By which click knows that a shell asks; it is made of the program's name."""


@click.command(name="completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands and options of sealwire.

    bash has to be 4.4 or newer.

    \b
    Examples:
      sealwire completion bash > /usr/share/bash-completion/completions/sealwire
      sealwire completion zsh > /usr/local/share/zsh/site-functions/_sealwire
      sealwire completion fish > ~/.config/fish/completions/sealwire.fish
    """
    root = click.get_current_context().find_root().command
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(made(root, {}, "sealwire", _VARIABLE).source())
