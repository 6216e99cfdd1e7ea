"""From an empty server to an unsealed one: the first keys, handed over once, and the shares given back.

Nothing keeps the shares but those who get them. What can fail is tried before the server is initialised, for
afterwards there is no second copy.

A share is encrypted so that nobody reads it on the way to its holder. PGP keys go to the server, which
encrypts each share before it leaves. For age recipients the shares come in clear to this process, which gives
each to the `age` program on its standard input, never in its arguments.
"""

import base64
import binascii
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.files.child_environment import child_environment
from sealwire.keys.errors import KekDenied, KeysError
from sealwire.keys.private_file import create_private
from sealwire.keys.vault.admin import SealStatus, VaultSeal
from sealwire.sidecars.errors import CannotCreate, SetupReason, Unavailable, Unusable

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

    Raises Unusable HOLDER.
    """
    ages = tuple(name for name in names if _AGE_RECIPIENT.fullmatch(name))
    if ages and len(ages) < len(names):
        text = "the holders are neither all age recipients nor all PGP keys"
        hint = "give age1... for everyone, or a file with a PGP public key for everyone"
        raise Unusable(SetupReason.HOLDER, text, hint)
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


def _no_key(path: Path, what: str) -> Unusable:
    return Unusable(SetupReason.HOLDER, f"{path} {what}", "write one with: gpg --export HOLDER > FILE")


def seal_for(recipient: str, secret: str) -> bytes:
    """`secret` encrypted for an age recipient, armoured. Raises CannotCreate AGE_MISSING, AGE_FAILED."""
    program = shutil.which("age")
    if program is None:
        text = "the program age is not on the path"
        raise CannotCreate(SetupReason.AGE_MISSING, text, "install age, or use PGP keys")
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
        raise CannotCreate(SetupReason.AGE_FAILED, text, hint)
    return encrypted


MAX_SHARES = 16


@dataclass(frozen=True, slots=True)
class HandOver(Unpicklable):
    """What leaves the process, once: a share for each holder, and the root token."""

    shares: tuple[bytes, ...] = field(repr=False)
    """Text in clear, armoured age, or binary PGP, as the holders are."""
    root_token: bytes = field(repr=False)
    """The root token, in clear or encrypted for the first holder as the shares are."""
    suffix: str
    """What a file with a share ends in: nothing, `.age` or `.pgp`."""
    clear_shares: tuple[str, ...] = field(repr=False)
    """The shares in clear, for unsealing at once; empty where the server encrypted them."""


def check_numbers(shares: int, threshold: int, holders: Holders) -> None:
    """Raises Unusable SHARES where these numbers make no sense or protect nothing."""
    if not 1 <= threshold <= shares <= MAX_SHARES or (shares > 1 and threshold == 1):
        hint = f"at most {MAX_SHARES} shares, and a threshold of at least 2 and at most the number of shares"
        raise Unusable(SetupReason.SHARES, f"{threshold} of {shares} shares cannot be", hint)
    people = holders.ages or holders.pgp_keys
    if people and len(people) != shares:
        text = f"there are {len(people)} holders for {shares} shares"
        raise Unusable(SetupReason.SHARES, text, "name one for each share")


def require_empty(seal: VaultSeal) -> None:
    """Raises Unavailable ALREADY_INITIALISED where the server has keys."""
    if seal.status().initialised:
        hint = "unseal it with its shares: sealwire vault unseal"
        raise Unavailable(SetupReason.ALREADY_INITIALISED, "the server is initialised already", hint)


def require_unsealed(status: SealStatus) -> None:
    """Raises Unavailable NOT_INITIALISED, SEALED."""
    _require_initialised(status)
    if status.sealed:
        text = f"the server is sealed; {status.progress} of {status.threshold} shares were given"
        raise Unavailable(SetupReason.SEALED, text, "give the shares: sealwire vault unseal")


def _require_initialised(status: SealStatus) -> None:
    if not status.initialised:
        hint = "make them: sealwire vault init"
        raise Unavailable(SetupReason.NOT_INITIALISED, "the server has no keys yet", hint)


def initialise(
    seal: VaultSeal, shares: int, threshold: int, holders: Holders, *, clear_root_token: bool = False
) -> HandOver:
    """Make the server's first keys. The caller hands them over, and only then unseals.

    `clear_root_token` is for a set-up that follows at once; else the token is encrypted for the first holder.
    Raises:  Unusable SHARES, Unavailable ALREADY_INITIALISED, CannotCreate before anything happened;
             what the server refuses with
    """
    check_numbers(shares, threshold, holders)
    require_empty(seal)
    for recipient in holders.ages:
        seal_for(recipient, "a trial")
    root_pgp_key = holders.pgp_keys[0] if holders.pgp_keys and not clear_root_token else None
    keys = seal.initialise(shares, threshold, holders.pgp_keys, root_pgp_key)
    root = keys.root_token.encode()
    if holders.pgp_keys:
        try:
            sealed = tuple(base64.b64decode(share, validate=True) for share in keys.shares)
            return HandOver(sealed, root if clear_root_token else base64.b64decode(root), ".pgp", ())
        except binascii.Error:
            text = "the server did not encrypt the shares"
            raise CannotCreate(SetupReason.HOLDER, text, "empty its storage and begin again") from None
    if not holders.ages:
        return HandOver(tuple(share.encode() for share in keys.shares), root, "", keys.shares)
    sealed = tuple(seal_for(to, share) for to, share in zip(holders.ages, keys.shares, strict=True))
    if not clear_root_token:
        root = seal_for(holders.ages[0], keys.root_token)
    return HandOver(sealed, root, ".age", keys.shares)


def unseal(seal: VaultSeal, shares: Iterable[str]) -> SealStatus:
    """Give shares, one after the other, until the server is unsealed and active; how it stands then.

    Others may give theirs at the same time or later: progress is kept at the server.
    Raises:  Unavailable NOT_INITIALISED, SHARE_REFUSED, with how many still count; KekUnavailable
    """
    status = seal.status()
    _require_initialised(status)
    if not status.sealed:
        return status
    for share in shares:
        try:
            status = seal.unseal(share)
        except KekDenied as error:
            status = seal.status()
            hint = f"give the right one; {status.progress} of {status.threshold} shares count by now"
            raise Unavailable(SetupReason.SHARE_REFUSED, str(error), hint) from None
        if not status.sealed:
            seal.wait_until_active()
            break
    return status


Show = Callable[[str], None]
"""Shows a secret to the holders who stand by."""


@dataclass(frozen=True, slots=True)
class Places:
    """`output` is a new directory for the shares, None a terminal; the root token may have its own file."""

    output: Path | None
    root_token_file: Path | None

    def prepare(self) -> None:
        """What can go wrong with the places has to go wrong before there is anything to lose.

        No writer's lock: the server makes its first keys once, so nobody else gets as far as writing.
        Raises AlreadyExists and its kin for the file, CannotCreate OUTPUT for the directory
        """
        if self.root_token_file is not None:
            create_private(self.root_token_file, b"")
            self.root_token_file.unlink()
        if self.output is not None:
            try:
                self.output.mkdir(mode=0o700)
            except OSError as error:
                text = f"{self.output} cannot be made: {error.strerror}"
                raise CannotCreate(SetupReason.OUTPUT, text, "name a new directory") from None

    def give_up(self) -> None:
        """Take away what `prepare` made, while nothing is in it."""
        if self.output is not None:
            self.output.rmdir()

    def fill(self, make: Callable[[], HandOver], show: Show) -> HandOver:
        """Make the first keys, and put their only copy where it belongs; `show` is for what has no file.

        Raises what `make` raises; CannotCreate OUTPUT for what could not be written
        """
        try:
            made = make()
        except BaseException:
            self.give_up()
            raise
        try:
            self._hand_over(made, show)
        except KeysError as error:
            text = f"the server has keys that nobody holds: {error}"
            hint = "empty the server's storage, and begin again"
            raise CannotCreate(SetupReason.OUTPUT, text, hint) from None
        return made

    def _hand_over(self, made: HandOver, show: Show) -> None:
        items = {f"share-{number}{made.suffix}": share for number, share in enumerate(made.shares, start=1)}
        if self.root_token_file is None:
            items[f"root-token{made.suffix}"] = made.root_token
        else:
            create_private(self.root_token_file, made.root_token + b"\n")
        for name, content in items.items():
            if self.output is not None:
                end = b"" if name.endswith((".age", ".pgp")) else b"\n"
                create_private(self.output / name, content + end)
            else:
                show(f"{name}:\n{content.hex() if name.endswith('.pgp') else content.decode('ascii')}\n")
