"""Click groups whose commands are found by name and imported when they are called: `--help` starts fast."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

NO_MODULES: Mapping[str, Sequence[str]] = {}
ALWAYS = {0: "done", 2: "wrong usage"}


class LazyGroup(click.Group):
    """`modules` of `package` by name, with the commands that each one has. Commands may be added as well."""

    def __init__(
        self, *args: Any, package: str = "", modules: Mapping[str, Sequence[str]] = NO_MODULES, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._module_of = {name: f"{package}.{module}" for module, names in modules.items() for name in names}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._module_of])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = self._module_of.get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        found = vars(import_module(module)).values()
        return next(each for each in found if isinstance(each, click.Command) and each.name == cmd_name)


class DocumentedGroup(LazyGroup):
    """Its help, and that of each command, ends with `exit_codes`: when a command ends with which code.

    Those in ALWAYS are added.
    """

    def __init__(self, *args: Any, exit_codes: Mapping[int, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exit_codes = dict(sorted({**ALWAYS, **exit_codes}.items()))
        lines = (f"  {code:<3} {meaning}" for code, meaning in self.exit_codes.items())
        self.epilog = "\n".join(("\b", "Exit codes (docs/errors.md has all cases):", *lines))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.epilog = self.epilog
        return command
