"""Legal holds: persons whose data must not be erased, by pseudonym, with the case that says why.

A hold that was released stays in the file, with who released it. The file is written under its lock, which
an erasure holds until it has ended: no hold can come between its look and what it does. An older copy of
the file passes for the newest: the audit log says which holds were placed and released.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from sealwire.audit.pseudonyms import PSEUDONYM_BYTES, PseudonymKey
from sealwire.keys.keyring.record import format_time
from sealwire.keys.private_file import create_private, replace_private, writer_lock
from sealwire.keys.strict_json import Fields
from sealwire.sidecars.erasure.journal import read_sealed, sealed
from sealwire.sidecars.errors import Denied, ErasureReason, Unusable

FORMAT: Final = "sealwire-holds"
MAX_CASE: Final = 200
_MAX_HOLDS: Final = 100_000


@dataclass(frozen=True, slots=True)
class LegalHold:
    """One hold."""

    number: int
    """From 1 on, in the order in which they were placed."""
    subject: str
    """A pseudonym."""
    case: str
    by: str
    """User and machine, as the operating system names them."""
    placed: str
    released: str | None = None
    released_by: str | None = None

    @property
    def stands(self) -> bool:
        """Whether it was not released."""
        return self.released is None


def create_holds(path: Path, key: PseudonymKey) -> None:
    """Make a file without holds. Raises AlreadyExists, KeySettingError FILE_UNWRITABLE, KeyringBusy."""
    with writer_lock(path):
        create_private(path, _written(key, ()))


def load_holds(path: Path, key: PseudonymKey) -> tuple[LegalHold, ...]:
    """All holds, released ones too. Raises as `read_sealed`, also where the file is missing."""
    fields = read_sealed(path, key, FORMAT)
    rows = fields.sequence("holds", _MAX_HOLDS)
    fields.done()
    return tuple(_hold(Fields(row, f"{path}: holds[{number}]"), number) for number, row in enumerate(rows, 1))


def place(  # noqa: PLR0913 - what a hold is, and where it goes
    path: Path,
    key: PseudonymKey,
    pseudonym: str,
    case: str,
    by: str,
    now: datetime,
    *,
    dry_run: bool = False,
) -> LegalHold:
    """Add a hold. Raises Unusable CASE; as `load_holds`; KeyringBusy while an erasure runs."""
    if not case.strip() or len(case) > MAX_CASE or not case.isprintable():
        raise Unusable(
            ErasureReason.CASE,
            f"a case is 1 to {MAX_CASE} printable characters",
            "give the reference of the case, and no person's name",
        )
    with writer_lock(path):
        holds = load_holds(path, key)
        hold = LegalHold(len(holds) + 1, pseudonym, case, by, format_time(now))
        if not dry_run:
            replace_private(path, _written(key, (*holds, hold)))
    return hold


def release(
    path: Path, key: PseudonymKey, number: int, by: str, now: datetime, *, dry_run: bool = False
) -> LegalHold:
    """End a hold. Raises Unusable HOLD_MISSING, RELEASED; as `load_holds`; KeyringBusy."""
    with writer_lock(path):
        holds = list(load_holds(path, key))
        if not 1 <= number <= len(holds):
            raise Unusable(
                ErasureReason.HOLD_MISSING, f"there is no hold {number}", "sealwire hold list shows them"
            )
        hold = holds[number - 1]
        if not hold.stands:
            raise Unusable(
                ErasureReason.RELEASED, f"hold {number} was released already", "sealwire hold list --all"
            )
        holds[number - 1] = replace(hold, released=format_time(now), released_by=by)
        if not dry_run:
            replace_private(path, _written(key, holds))
    return holds[number - 1]


def refuse_held(holds: Iterable[LegalHold], pseudonyms: Collection[str]) -> None:
    """Raises Denied where a hold stands on one of these persons."""
    refuse_any(hold for hold in holds if hold.subject in pseudonyms)


def refuse_any(holds: Iterable[LegalHold]) -> None:
    """Raises Denied where one of these holds stands."""
    found = [hold for hold in holds if hold.stands]
    if found:
        numbers = ", ".join(str(hold.number) for hold in found)
        raise Denied(
            ErasureReason.HELD,
            f"a legal hold stands: {numbers}",
            "sealwire hold list names the case; whoever answers for it may release it",
        )


def _written(key: PseudonymKey, holds: Sequence[LegalHold]) -> bytes:
    """Without numbers: the number of a hold is its place."""
    rows = [{name: value for name, value in asdict(hold).items() if name != "number"} for hold in holds]
    return sealed(key, FORMAT, {"holds": rows})


def _hold(fields: Fields, number: int) -> LegalHold:
    hold = LegalHold(
        number,
        *(fields.text(name) for name in ("subject", "case", "by", "placed")),
        *(fields.optional_text(name) for name in ("released", "released_by")),
    )
    fields.done()
    if len(hold.subject) != 2 * PSEUDONYM_BYTES:
        fields.refuse("has a subject that is no pseudonym")
    return hold
