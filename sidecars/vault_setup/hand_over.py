"""Where a server's first shares and its root token go, which exist once: a file each, or a terminal."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sealwire.keys.errors import KeysError
from sealwire.keys.private_file import create_private
from sealwire.sidecars.vault_setup.errors import HandOverFailed, SetupReason
from sealwire.sidecars.vault_setup.initialise import HandOver

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
        Raises AlreadyExists and its kin for the file, HandOverFailed OUTPUT for the directory
        """
        if self.root_token_file is not None:
            create_private(self.root_token_file, b"")
            self.root_token_file.unlink()
        if self.output is not None:
            try:
                self.output.mkdir(mode=0o700)
            except OSError as error:
                text = f"{self.output} cannot be made: {error.strerror}"
                raise HandOverFailed(SetupReason.OUTPUT, text, "name a new directory") from None

    def give_up(self) -> None:
        """Take away what `prepare` made, while nothing is in it."""
        if self.output is not None:
            self.output.rmdir()

    def fill(self, make: Callable[[], HandOver], show: Show) -> HandOver:
        """Make the first keys, and put their only copy where it belongs; `show` is for what has no file.

        Raises what `make` raises; HandOverFailed OUTPUT for what could not be written
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
            raise HandOverFailed(SetupReason.OUTPUT, text, hint) from None
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
