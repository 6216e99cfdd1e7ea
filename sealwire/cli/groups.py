"""Groups of commands. A command is found by its name and imported when it is called: `--help` starts fast.

Help fits terminals of 80 columns: longer lines of examples and tables, which click prints as they are, are
folded here.
"""

import inspect
import re
import textwrap
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any, Final

import click

from sealwire.cli.exit_codes import EX_NO

ALWAYS = {0: "done", 2: "wrong usage"}

Named = str | Mapping[str, str]
"""Commands of one module: their names, or these with the first sentence of their help."""


_COLUMNS = 78
"""The widest line of help, which click indents by two."""
_ROW = re.compile(r" *\S+(?:, \S+)* {2,}(?=\S)")
"""The first column of a table's row."""


def folded(text: str) -> str:
    """`text` with no preformatted line of more than 78 columns: click fills the other paragraphs itself."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        "\n".join(line for each in paragraph.split("\n") for line in _folded_line(each))
        if paragraph.startswith("\b")
        else paragraph
        for paragraph in paragraphs
    )


def _folded_line(line: str) -> list[str]:
    """A row goes on below its last column, a command after a backslash: before an option, if there is one."""
    if len(line) <= _COLUMNS:
        return [line]
    row = _ROW.match(line)
    if row is not None:
        below, rest = " " * row.end(), line[row.end() :]
        return textwrap.wrap(
            rest, _COLUMNS, initial_indent=row[0], subsequent_indent=below, break_on_hyphens=False
        )
    indent = len(line) - len(line.lstrip())
    at = max(line.rfind(mark, indent, _COLUMNS - 2) for mark in (" -", " <", " |"))
    if at <= indent:
        at = line.rindex(" ", indent, _COLUMNS - 2)
    return [f"{line[:at]} \\", *_folded_line(f"{' ' * (indent + 4)}{line[at:].lstrip()}")]


class LazyGroup(click.Group):
    """`modules` of `package` by name, and the commands that each one holds.

    A group may have all commands with the first sentence of their help: then its own help imports none.
    """

    def __init__(self, *args: Any, package: str, modules: Mapping[str, Named], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        with_lines = (names for names in modules.values() if isinstance(names, Mapping))
        self._lines = {name: line for names in with_lines for name, line in names.items()}
        self._module_of = {
            name: f"{package}.{module}"
            for module, names in modules.items()
            for name in (names.split() if isinstance(names, str) else names)
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._module_of])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = self._module_of.get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        found = vars(import_module(module)).values()
        command = next(each for each in found if isinstance(each, click.Command) and each.name == cmd_name)
        command.help = folded(command.help or "")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # noqa: PLC0415 - for a mistake alone

            close = get_close_matches(args[0], self.list_commands(ctx), 1)
            if not close:
                raise
            raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{close[0]}'?", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self._lines:
            known = {name: click.Command(name, help=line) for name, line in self._lines.items()}
            click.Group(commands=known).format_commands(ctx, formatter)
        else:
            super().format_commands(ctx, formatter)


class DocumentedGroup(LazyGroup):
    """Its help, and that of each command, ends with `exit_codes`: when a command ends with which code.

    Those in ALWAYS are added.
    """

    def __init__(self, *args: Any, exit_codes: Mapping[int, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exit_codes = dict(sorted({**ALWAYS, **exit_codes}.items()))
        lines = (f"  {code:<3} {meaning}" for code, meaning in self.exit_codes.items())
        self.epilog = folded("\n".join(("\b", "Exit codes (docs/errors.md has all cases):", *lines)))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.epilog = self.epilog
        return command


GROUPS: Final[dict[str, str]] = {}
"""The groups below, each with the first sentence of its help."""


def _group(
    name: str, text: str, modules: Mapping[str, Named], exit_codes: Mapping[int, str] | None = None
) -> click.Group:
    """The group `name`, whose help is `text`; `modules` and `exit_codes` as of the classes."""
    GROUPS[name] = text.partition("\n")[0]
    make = LazyGroup if exit_codes is None else partial(DocumentedGroup, exit_codes=exit_codes)
    return make(name, help=inspect.cleandoc(text), package="sealwire", modules=modules)


observe = _group(
    "observe",
    "Say what a policy would do to the commands of an application, before it counts.",
    {"cli.top": "report"},
    {
        1: "a command would be refused",
        69: "the proxy does not answer, or observes nothing",
        78: "the configuration cannot be read",
    },
)
audit = _group(
    "audit",
    "Read and verify the audit log.",
    {
        "cli.audit": "create-key report tail verify",
        "sidecars.detection.subject": "subject",
    },
    {
        1: "the log is not whole, or nothing vouches for it",
        2: "the policy does not say whose data documents are, or there is no identifier",
        65: "a key is malformed, or a file is no log",
        69: "Sealwire does not answer (--through-file)",
        73: "a file is there already",
        77: "a file may not be read or written",
        78: "there is no such log, or a path cannot be used",
    },
)
backup = _group(
    "backup",
    "Make, check, keep and restore encrypted backups.",
    {
        "sidecars.backup.commands": "create-key delete list prune rekey schedule transition verify",
        "sidecars.backup.server_commands": "create restore restore-dump unpack",
    },
    {
        65: "damaged, incomplete, not the same after a restore; plaintext left after the transition",
        66: "no such backup or directory, or a sidecar is missing",
        67: "the wrong key-encryption key or passphrase",
        69: "the server, the store or a key provider does not answer, or the store is full",
        70: "the cryptographic self-test failed",
        73: "the name is taken, or a restore would go where something is",
        77: "no given key opens it, the server denies, a legal hold stands, or it is the last good backup",
        78: "an option, the address, the journal or a key's place cannot be used",
    },
)
compliance = _group(
    "compliance",
    "Check a deployment, and write what was found for UK GDPR, Caldicott and DSPT.",
    {
        "sidecars.compliance.commands": "report",
        "sidecars.compliance.verify_command": "verify",
    },
    {
        EX_NO: "a requirement is not met",
        65: "a key or an earlier report is not what it should be",
        73: "a report cannot be written",
        78: "the settings are wrong, or a file cannot be read",
    },
)
erase = _group(
    "erase",
    "Find and erase a person's data, and prove it.",
    {
        "sidecars.erasure.commands": "check find run",
        "sidecars.erasure.file_commands": "verify-receipt",
    },
    {
        1: "documents remain, and run goes on; or check: somebody who was erased is there again",
        65: "a journal, receipt, file of holds or key is damaged, or they do not belong together",
        66: "no document has this identifier",
        67: "the wrong key-encryption key or passphrase",
        69: "the server does not answer, or another erasure runs",
        73: "the receipt is there already",
        77: "a legal hold stands, or the server or a file denies access",
        78: "it would erase too much or too little, or a setting or the policy is wrong",
    },
)
hold = _group(
    "hold",
    "Place and release legal holds: `sealwire erase` leaves these persons' data alone.",
    {"sidecars.erasure.file_commands": "create list place release"},
    {
        65: "the file of holds or a key is damaged, or they do not belong together",
        69: "an erasure runs, or another hold is being placed",
        73: "the file is there already",
        77: "a file may not be read",
        78: "a hold cannot be placed or released so, or a file is missing",
    },
)
incident = _group(
    "incident",
    "Keep incidents that alerts of `sealwire watch` have shown, and report them.",
    {
        "sidecars.detection.commands": "acknowledge alerts assess close dismiss list note notify open show",
        "sidecars.detection.report_command": "report",
    },
    {
        1: "an incident has less than 24 of its 72 hours left, or a report is not proved",
        65: "the audit log is not whole, or a file is damaged",
        66: "there is no such alert or incident",
        69: "the state file is busy",
        77: "a file may not be read or written",
        78: "the file of the rules cannot be used, or the step does not fit the incident",
    },
)
luks = _group(
    "luks",
    "Put MongoDB's data directory on a LUKS volume, watch it, and go back.",
    {
        "sidecars.luks.commands": "finish plan rollback setup status",
        "sidecars.luks.volume_commands": "open close add-key backup-header restore-header unseal-header",
    },
    {
        EX_NO: "`plan`: something stands against it; `status`: something is not encrypted",
        65: "a copy or a header backup is not what it has to be",
        67: "the wrong key-encryption key",
        69: "a program, systemd or a privilege is missing, or another command is at work",
        71: "a program of the system failed",
        73: "the device or directory may not be used: not empty, in use, read-only, too small",
        77: "not confirmed, or no key slot opens with this secret",
        78: "an option cannot be used, or the journal says that this is not the moment",
    },
)
policy = _group(
    "policy",
    "Check a policy, lint it, explain what it does and who may do what, enforce it, find what it misses.",
    {
        "cli.explain": "access explain",
        "cli.policy": "check lint",
        "cli.verdicts": "test",
        "sidecars.coverage.commands": "coverage suggest",
        "sidecars.drift.commands": "drift",
        "sidecars.enforcement.commands": "enforce",
    },
)
tls = _group(
    "tls",
    "Verify the TLS of databases and web servers.",
    {"sidecars.tls_check.commands": "rules verify"},
    {
        EX_NO: "a rule fails (with --strict: or warns)",
        73: "a report or the metrics cannot be written",
        78: "a target, a file of rules, authorities or a client certificate cannot be read",
    },
)
vault = _group(
    "vault",
    "Set up Vault or OpenBao, check it, rotate its keys, hand out and revoke logins.",
    {
        "sidecars.vault_setup.commands": "credentials init remove revoke rotate-policy setup status unseal "
        "unwrap"
    },
    {
        EX_NO: "something differs, a share is missing, or an operator has to do a step",
        69: "the server is down, sealed, not initialised or not set up",
        73: "an output file exists, a share could not be handed over, or a needed name is another thing's",
        77: "the login is refused, or the role may not do this",
        78: "an option, a name or a period cannot be used",
    },
)
config = _group(
    "config",
    "Write a configuration file to begin with.",
    {"cli.config": "init"},
    {73: "the file is there already", 78: "the file cannot be written"},
)
keys = _group(
    "keys",
    "Create, list, verify, renew, end, export and import keys.",
    {
        "cli.keys.create": "create create-kek rewrap",
        "cli.keys.rotate": "rotate",
        "cli.keys.ending": "cancel retire destroy",
        "cli.keys.export": "export import",
        "cli.keys.show": "list status verify",
        "cli.keys.contexts": "contexts move-contexts rewrap-contexts shred",
    },
)
migrate = _group(
    "migrate",
    """Encrypt, re-encrypt and decrypt what is stored, while the application runs.

    A job works on the server past Sealwire, in small steps that it writes down: it can be paused, and after a
    kill at any point it is resumed. All values of a deterministic class move together, in windows.
    """,
    {
        "cli.migrate.plan": "plan verify remains",
        "cli.migrate.rehearse": "rehearse",
        "cli.migrate.begin": "encrypt reencrypt decrypt",
        "cli.migrate.repair": "repair",
        "cli.migrate.jobs": "status pause resume abort forget-worker",
    },
    {
        1: "not all of it: values were left, it was paused; verify or remains found older forms",
        65: "the job's document or the keyring is damaged, or a key is missing",
        66: "the server has no such job",
        67: "the wrong key-encryption key or passphrase",
        69: "the server or a key provider does not answer, or another process took the job over",
        77: "the server or a provider denies, or the question was not answered as it has to be",
        78: "the policy, the collections or an option do not allow it",
    },
)
