"""Which error ends the process with which exit code (sysexits.h numbers), and how it is shown."""

import sys
from collections.abc import Mapping
from typing import Final, NoReturn

import click

EX_NO = 1
"""The command ran, and its answer is no."""
EX_DATAERR = 65
EX_NOINPUT = 66
EX_WRONG_KEK = 67
"""EX_NOUSER in sysexits.h: no command here has the name of a user as its argument."""
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_OSERR = 71
EX_CANTCREAT = 73
EX_NOPERM = 77
EX_CONFIG = 78

# The names of error classes, which are unique in the product. As text, so that no room is imported for them.
_CLASSES: Final[Mapping[int, str]] = {
    EX_DATAERR: """
        AuditKeyProblem DamagedFile DecryptionFailed InvalidEnvelope KeyDestroyed KeyringIncomplete
        LogDamaged UnknownKey Unsound UnsupportedValue UnwrapFailed
    """,
    EX_NOINPUT: "Missing",
    EX_WRONG_KEK: "WrongKek",
    EX_UNAVAILABLE: """
        JobTaken KekUnavailable KeyringBusy NotReady TestbedError Unavailable UpstreamUnavailable
    """,
    EX_SOFTWARE: "SelfTestFailed WorkersFailed",
    EX_OSERR: "CommandFailed ListenProblem NotAudited",
    EX_CANTCREAT: "AlreadyExists CannotCreate ConfigExists FigureProblem",
    EX_NOPERM: "Denied KekDenied PermissionProblem UnsafeFile",
    EX_CONFIG: """
        AccessProblem AuditFileProblem FileProblem KeySettingError PlaintextStored Unusable SourceError
        TopologyProblem TracesUnavailable
    """,
}
EXIT_CODES: Final = {name: code for code, names in _CLASSES.items() for name in names.split()}


def exit_code(error: Exception) -> int | None:
    """The documented exit code for `error`, or None when it is not an error an operator can mend.

    It is looked up along the class's own bases, nearest first.
    """
    ours = (base.__name__ for base in type(error).__mro__ if base.__module__.startswith("sealwire."))
    return next((EXIT_CODES[name] for name in ours if name in EXIT_CODES), None)


def described(error: Exception) -> list[dict[str, str | None]]:
    """The error and its others for programs: what `show_error` prints, and the stable reason, if any."""
    reason = getattr(getattr(error, "reason", None), "value", None)
    first = {"reason": reason, "problem": str(error), "hint": getattr(error, "hint", "")}
    return [first, *(each for other in getattr(error, "others", ()) for each in described(other))]


def fail(error: Exception) -> NoReturn:
    """Print `error:` and `hint:` lines and exit; raise `error` again when the table does not know it."""
    code = exit_code(error)
    if code is None:
        raise error
    show_error(error)
    sys.exit(code)


def show_error(error: Exception, about: str = "") -> None:
    """One line, which begins with `about`, and one with the hint, if any; then its others."""
    click.echo(f"sealwire: error: {about}{error}", err=True)
    hint = getattr(error, "hint", "")
    if hint:
        click.echo(f"sealwire: hint: {hint}", err=True)
    for other in getattr(error, "others", ()):
        show_error(other, about)
