"""A click group whose help, and that of each of its commands, ends with the exit codes."""

from collections.abc import Mapping
from typing import Any

import click

from sealwire.cli.lazy_group import LazyGroup

ALWAYS = {0: "done", 2: "wrong usage"}


class DocumentedGroup(LazyGroup):
    """`exit_codes` says when a command of this group ends with which code, besides those in ALWAYS."""

    def __init__(
        self,
        *args: Any,
        exit_codes: Mapping[int, str],
        modules: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, modules=modules or {}, **kwargs)
        self.exit_codes = dict(sorted({**ALWAYS, **exit_codes}.items()))
        lines = (f"  {code:<3} {meaning}" for code, meaning in self.exit_codes.items())
        self.epilog = "\n".join(("\b", "Exit codes (docs/errors.md has all cases):", *lines))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.epilog = self.epilog
        return command
