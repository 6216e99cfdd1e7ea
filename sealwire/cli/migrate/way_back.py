"""What `abort` says of a deterministic class whose move it ends half-way: how to go on, and how to get back.

No move turns round: versions only rise, and a frontier too. The way back is a move of its own, once this one
is over. docs/adr/0031 says why.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from sealwire.keys.frontier.versions import pending_version_of, version_of
from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.moves import Direction

_WAYS: Final[Mapping[tuple[bool, bool], tuple[Direction, Direction | None]]] = {
    (True, False): (Direction.ENCRYPT, Direction.DECRYPT),
    (False, True): (Direction.DECRYPT, Direction.ENCRYPT),
    (False, False): (Direction.REENCRYPT, None),
}
"""By whether the old version is plaintext, and the new one: what goes on, and what then leads back."""


class Ways(NamedTuple):
    """Commands for one class that lies in two parts."""

    class_name: str
    on: str
    back: str | None
    """What follows when `on` has come to its end; None between two keys, where nothing leads back."""

    @property
    def text(self) -> str:
        """For people."""
        on = f"class {self.class_name} stays half-way, and its answers right; to go on: {self.on}"
        if self.back is None:
            return on
        return f"{on}\nto get back: go on to the end, and then: {self.back}"

    @property
    def document(self) -> dict[str, str | None]:
        """For programs."""
        return {"class": self.class_name, "on": self.on, "back": self.back}


def ways(keyring: Keyring, job: Job) -> list[Ways]:
    """Those of the classes that an aborted job leaves half-way; none of a random class.

    Raises nothing: a class in question has an active key.
    """
    if job.standing is not Standing.ABORTED:
        return []
    names = dict.fromkeys(move.class_name for move in job.moves)
    return [_ways(keyring, name) for name in names if name in keyring.pending_classes]


def _ways(keyring: Keyring, name: str) -> Ways:
    new = pending_version_of(keyring, name)
    on, back = _WAYS[version_of(keyring, name).is_plaintext, new is not None and new.is_plaintext]
    return Ways(name, _command(on, name), None if back is None else _command(back, name))


def _command(direction: Direction, class_name: str) -> str:
    return f"sealwire migrate {direction.value} POLICY {class_name}"
