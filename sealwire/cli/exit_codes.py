"""Which error ends the process with which exit code (sysexits.h numbers), and how it is shown."""

import sys
from typing import NoReturn

import click

from sealwire.audit import errors as audit
from sealwire.cli.task_figures import FigureProblem
from sealwire.crypto import errors as crypto
from sealwire.files import errors as files
from sealwire.keys import errors as keys
from sealwire.proxy.server import errors as server
from sealwire.sidecars import errors as direct
from sealwire.sidecars.backup import errors as backup
from sealwire.sidecars.detection import errors as detection
from sealwire.sidecars.erasure import errors as erasure
from sealwire.sidecars.luks import errors as luks
from sealwire.sidecars.migration import errors as migration
from sealwire.sidecars.tls_check import errors as tls
from sealwire.sidecars.vault_setup import errors as vault_setup
from sealwire.testbed import errors as testbed

EX_NO = 1
"""The command ran, and its answer is no."""
EX_DATAERR = 65
EX_NOINPUT = 66
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_OSERR = 71
EX_CANTCREAT = 73
EX_NOPERM = 77
EX_CONFIG = 78

# Filled by the rooms' error classes; looked up along the class's own bases, nearest first.
EXIT_CODES: dict[type[Exception], int] = {
    crypto.InvalidEnvelope: EX_DATAERR,
    crypto.UnsupportedValue: EX_DATAERR,
    crypto.DecryptionFailed: EX_DATAERR,
    crypto.SelfTestFailed: EX_SOFTWARE,
    keys.KeySettingError: EX_CONFIG,
    keys.UnsafeFile: EX_NOPERM,
    keys.DamagedFile: EX_DATAERR,
    keys.AlreadyExists: EX_CANTCREAT,
    keys.KeyringBusy: EX_UNAVAILABLE,
    keys.KekUnavailable: EX_UNAVAILABLE,
    keys.KekDenied: EX_NOPERM,
    keys.UnwrapFailed: EX_DATAERR,
    keys.UnknownKey: EX_DATAERR,
    keys.KeyDestroyed: EX_DATAERR,
    files.SourceError: EX_CONFIG,
    audit.AuditFileProblem: EX_CONFIG,
    audit.LogDamaged: EX_DATAERR,
    audit.NotAudited: EX_OSERR,
    audit.AuditKeyProblem: EX_DATAERR,
    server.FileProblem: EX_CONFIG,
    server.ConfigExists: EX_CANTCREAT,
    server.PermissionProblem: EX_NOPERM,
    server.KeyringIncomplete: EX_DATAERR,
    server.TopologyProblem: EX_CONFIG,
    server.AccessProblem: EX_CONFIG,
    server.PlaintextStored: EX_CONFIG,
    server.TracesUnavailable: EX_CONFIG,
    server.ListenProblem: EX_OSERR,
    server.UpstreamUnavailable: EX_UNAVAILABLE,
    server.NotReady: EX_UNAVAILABLE,
    server.WorkersFailed: EX_SOFTWARE,
    testbed.TestbedError: EX_UNAVAILABLE,
    FigureProblem: EX_CANTCREAT,
    direct.UnusableUri: EX_CONFIG,
    direct.ServerUnreachable: EX_UNAVAILABLE,
    direct.ServerDenied: EX_NOPERM,
    backup.BackupSettingError: EX_CONFIG,
    backup.BackupMissing: EX_NOINPUT,
    backup.BackupExists: EX_CANTCREAT,
    backup.BackupKept: EX_NOPERM,
    backup.BackupDamaged: EX_DATAERR,
    backup.BackupKeyDenied: EX_NOPERM,
    backup.BackupUnsigned: EX_DATAERR,
    backup.BackupIncomplete: EX_DATAERR,
    backup.StoreUnavailable: EX_UNAVAILABLE,
    backup.SourceFailed: EX_UNAVAILABLE,
    backup.TargetOccupied: EX_CANTCREAT,
    backup.RestoreStopped: EX_UNAVAILABLE,
    backup.PlaintextOverdue: EX_DATAERR,
    direct.LibraryMissing: EX_UNAVAILABLE,
    tls.UnusableTarget: EX_CONFIG,
    tls.UnusableFile: EX_CONFIG,
    tls.OutputProblem: EX_CANTCREAT,
    vault_setup.UnusableSetting: EX_CONFIG,
    vault_setup.ServerState: EX_UNAVAILABLE,
    vault_setup.HandOverFailed: EX_CANTCREAT,
    vault_setup.NotChangeable: EX_CANTCREAT,
    luks.LuksSettingError: EX_CONFIG,
    luks.MachineUnfit: EX_UNAVAILABLE,
    luks.DeviceRefused: EX_CANTCREAT,
    luks.LuksKeyDenied: EX_NOPERM,
    luks.CommandFailed: EX_OSERR,
    luks.VerificationFailed: EX_DATAERR,
    luks.WrongState: EX_CONFIG,
    luks.NotConfirmed: EX_NOPERM,
    migration.MigrationRefused: EX_CONFIG,
    migration.JobMissing: EX_NOINPUT,
    migration.JobDamaged: EX_DATAERR,
    migration.JobTaken: EX_UNAVAILABLE,
    migration.DecryptNotConfirmed: EX_NOPERM,
    migration.ServerFailed: EX_UNAVAILABLE,
    detection.UnusableWatchFile: EX_CONFIG,
    detection.StateProblem: EX_UNAVAILABLE,
    detection.StateDamaged: EX_DATAERR,
    detection.NoSuchRecord: EX_NOINPUT,
    detection.WrongStep: EX_CONFIG,
    detection.UnprovedLog: EX_DATAERR,
    erasure.SubjectMissing: EX_NOINPUT,
    erasure.ErasureRefused: EX_CONFIG,
    erasure.SubjectHeld: EX_NOPERM,
    erasure.HoldProblem: EX_CONFIG,
    erasure.ErasureDamaged: EX_DATAERR,
    erasure.ErasureFailed: EX_UNAVAILABLE,
}


def exit_code(error: Exception) -> int | None:
    """The documented exit code for `error`, or None when it is not an error an operator can mend."""
    for base in type(error).__mro__:
        if base in EXIT_CODES:
            return EXIT_CODES[base]
    return None


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
