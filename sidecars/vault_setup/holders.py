"""Who gets an unseal share, and how it is encrypted so that nobody else on the way reads it.

PGP keys go to the server, which encrypts each share before it leaves. For age recipients the shares come in
clear to this process, which gives each to the `age` program on its standard input, never in its arguments.
"""

import base64
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sealwire.files.child_environment import child_environment
from sealwire.sidecars.vault_setup.errors import HandOverFailed, SetupReason, UnusableSetting

_AGE_RECIPIENT = re.compile(r"age1[02-9ac-hj-np-z]{50,2000}")
# A 4096-bit RSA key with many signatures stays below this.
_MAX_KEY_BYTES = 256 * 1024
_MAX_SEALED_BYTES = 64 * 1024
_ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n]+\r?\n)*\r?\n(.*?)\r?\n(?:=[^\r\n]*\r?\n)?"
    rb"-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
_AGE_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Holders:
    """Who gets a share, all in one way or the other; nobody in both."""

    ages: tuple[str, ...] = ()
    """Age recipients, which are public."""
    pgp_keys: tuple[str, ...] = ()
    """PGP public keys as the server wants them: base64 of the binary key."""


def parse_holders(names: Sequence[str]) -> Holders:
    """Holders from age recipients, or from paths of PGP public keys (binary or armoured); not from both.

    Raises UnusableSetting HOLDER.
    """
    ages = tuple(name for name in names if _AGE_RECIPIENT.fullmatch(name))
    if ages and len(ages) < len(names):
        text = "the holders are neither all age recipients nor all PGP keys"
        hint = "give age1... for everyone, or a file with a PGP public key for everyone"
        raise UnusableSetting(SetupReason.HOLDER, text, hint)
    return Holders(ages) if ages else Holders(pgp_keys=tuple(_read_pgp_key(Path(name)) for name in names))


def _read_pgp_key(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_KEY_BYTES + 1)
    except OSError as error:
        raise _no_key(path, f"cannot be read: {error.strerror}") from None
    if len(content) > _MAX_KEY_BYTES:
        raise _no_key(path, "is too large for one public key")
    armour = _ARMOUR.search(content)
    if armour is not None:
        try:
            content = base64.b64decode(b"".join(armour[1].split()), validate=True)
        except ValueError:
            raise _no_key(path, "is not a PGP public key") from None
    # The first packet of a public key: tag 6, in the old or the new form of the header (RFC 9580, 4.2).
    if not content or content[0] not in (0x98, 0x99, 0x9A, 0xC6):
        raise _no_key(path, "is not a PGP public key")
    return base64.b64encode(content).decode("ascii")


def _no_key(path: Path, what: str) -> UnusableSetting:
    return UnusableSetting(SetupReason.HOLDER, f"{path} {what}", "write one with: gpg --export HOLDER > FILE")


def seal_for(recipient: str, secret: str) -> bytes:
    """`secret` encrypted for an age recipient, armoured. Raises HandOverFailed AGE_MISSING, AGE_FAILED."""
    program = shutil.which("age")
    if program is None:
        text = "the program age is not on the path"
        raise HandOverFailed(SetupReason.AGE_MISSING, text, "install age, or use PGP keys")
    command = [program, "--armor", "--recipient", recipient]
    try:
        done = subprocess.run(  # noqa: S603 - the program found on the path, a checked recipient
            command,
            input=secret.encode(),
            capture_output=True,
            check=True,
            timeout=_AGE_TIMEOUT_S,
            env=child_environment(),
        )
        encrypted = done.stdout
    except (OSError, subprocess.SubprocessError):
        encrypted = b""
    if not 0 < len(encrypted) <= _MAX_SEALED_BYTES:
        text = f"age does not encrypt for {recipient[:20]}..."
        hint = "check the recipient: the line that age-keygen prints as the public key"
        raise HandOverFailed(SetupReason.AGE_FAILED, text, hint)
    return encrypted
