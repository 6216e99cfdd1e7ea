"""How far a job has come: what it moves, the ranges of `_id` that it works through, and what it has met."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError

from sealwire.sidecars.errors import MigrationReason, Unsound
from sealwire.sidecars.migration.forms import Left, WrongType
from sealwire.sidecars.migration.moves import Direction, Move
from sealwire.wire.raw_bson import enclosed

MAX_REPORTED = 100
"""Documents that a job names; beyond them it only counts."""
_MAX_REPORTED_ID_BYTES = 512
"""A longer `_id` is not noted: the job's document stays small."""

_NUMBERS: Final = ("expected", "read", "documents", "values", "races")
"""What a job counts, in the order in which it is written."""
_UTC = CodecOptions[dict[str, Any]](tz_aware=True, tzinfo=UTC)


class Standing(Enum):
    """How a job stands. All but DONE and ABORTED can be resumed."""

    RUNNING = "running"
    """Also one whose process was killed."""
    PAUSED = "paused"
    REFUSED = "refused"
    """It met a value of a wrong type, and was told to stop at one."""
    DONE = "done"
    ABORTED = "aborted"

    @property
    def is_over(self) -> bool:
        """Whether it will never move anything again."""
        return self in (Standing.DONE, Standing.ABORTED)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A range of one collection's `_id`, worked through in that order."""

    namespace: str
    start: bytes = b""
    """The element `_id` of its first document, as raw bytes; empty: the collection's first."""
    end: bytes = b""
    """That of the first document behind it; empty: to the collection's end."""
    at: bytes = b""
    """That of the last document that is done."""
    done: bool = False


@dataclass(frozen=True, slots=True)
class LeftValue:
    """A value that was left as it is; the document by its id, never the value."""

    namespace: str
    path: str
    identity: bytes
    why: Left
    code: int = 0

    @property
    def document_id(self) -> str:
        """The `_id` for people; empty where it is too long to be noted."""
        return repr(bson.decode(enclosed(self.identity))["_id"]) if self.identity else ""


@dataclass(slots=True)
class Tally:
    """What comes of a batch or a window while it is worked on."""

    documents: int = 0
    """Those of which values were moved."""
    values: int = 0
    """About, where the application wrote the same documents meanwhile."""
    races: int = 0
    """Updates that found other values than were read, and were tried again."""
    left: dict[tuple[str, str, Left], int] = field(default_factory=dict)
    """What stays. Of a window, in the last pass over it: it looks like an old form and does not open, or is
    no value of the class. No value has this form, so that nobody misses it."""
    reported: list[LeftValue] = field(default_factory=list)
    """The first MAX_REPORTED of them."""

    def leave(self, left: LeftValue) -> None:
        """Count a value that stays."""
        key = left.namespace, left.path, left.why
        self.left[key] = self.left.get(key, 0) + 1
        if len(self.reported) < MAX_REPORTED:
            self.reported.append(left)


@dataclass(frozen=True, slots=True)
class Job:
    """Never changes: each step makes a new one, which is written down before the next step."""

    name: str
    direction: Direction
    wrong_type: WrongType
    moves: tuple[Move, ...]
    stretches: tuple[Stretch, ...]
    created: datetime
    updated: datetime
    standing: Standing = Standing.RUNNING
    revision: int = 0
    """Counts the writes: a process that finds another one is not the only one any more."""
    expected: int = 0
    """Documents that there were about at the beginning."""
    read: int = 0
    documents: int = 0
    values: int = 0
    races: int = 0
    left: Mapping[tuple[str, str, Left], int] = field(default_factory=dict)
    reported: tuple[LeftValue, ...] = ()
    """The first MAX_REPORTED of them."""
    refusal: tuple[LeftValue, ...] = ()
    """What made it stop; where it stands REFUSED."""

    def after(self, index: int, stretch: Stretch, tally: Tally, read: int, now: datetime) -> "Job":
        """The job once a batch of the stretch `index` is done, which then stands as `stretch` says."""
        stretches = (*self.stretches[:index], stretch, *self.stretches[index + 1 :])
        left = dict(self.left)
        for key, count in tally.left.items():
            left[key] = left.get(key, 0) + count
        done = all(each.done for each in stretches)
        return replace(
            self.counted(tally, read, now),
            stretches=stretches,
            standing=Standing.DONE if done else self.standing,
            left=left,
            reported=(*self.reported, *map(short, tally.reported))[:MAX_REPORTED],
        )

    def counted(self, tally: Tally, read: int, now: datetime) -> "Job":
        """The job once it has come by a batch, a window or a sweep, and has read so many documents for it."""
        return replace(
            self.noted(now),
            read=self.read + read,
            documents=self.documents + tally.documents,
            values=self.values + tally.values,
            races=self.races + tally.races,
        )

    def stopped(self, standing: Standing, now: datetime, refusal: Iterable[LeftValue] = ()) -> "Job":
        """The job as it stands from now on."""
        shown = tuple(map(short, refusal))[:MAX_REPORTED]
        return replace(self.noted(now), standing=standing, refusal=shown)

    def noted(self, now: datetime) -> "Job":
        """The same with the next revision."""
        return replace(self, revision=self.revision + 1, updated=now)


def new_job(
    direction: Direction,
    wrong_type: WrongType,
    moves: tuple[Move, ...],
    stretches: Iterable[Stretch] = (),
    expected: int = 0,
) -> Job:
    """A job of a name that no other one has, not written down yet."""
    began = now()
    name = f"{direction.value}-{secrets.token_hex(3)}"  # short: it is copied by hand, and the job says when
    return Job(name, direction, wrong_type, moves, tuple(stretches), began, began, expected=expected)


def now() -> datetime:
    """The time as jobs note it."""
    return datetime.now(UTC).replace(microsecond=0)


def short(left: LeftValue) -> LeftValue:
    """As a job notes it: without an `_id` that is too long."""
    return left if len(left.identity) <= _MAX_REPORTED_ID_BYTES else replace(left, identity=b"")


def serialize(job: Job) -> bytes:
    """The job as BSON. Cost: O(stretches + reported)."""
    return bson.encode(
        {
            "name": job.name,
            "direction": job.direction.value,
            "wrong_type": job.wrong_type.value,
            "moves": list(map(astuple, job.moves)),
            "stretches": list(map(astuple, job.stretches)),
            "created": job.created,
            "updated": job.updated,
            "standing": job.standing.value,
            "revision": job.revision,
            "numbers": [getattr(job, name) for name in _NUMBERS],
            "left": [[*key[:2], key[2].value, count] for key, count in job.left.items()],
            "reported": list(map(_row, job.reported)),
            "refusal": list(map(_row, job.refusal)),
        }
    )


def parse(data: bytes) -> Job:
    """The job that `serialize` wrote; `data` is authenticated. Raises Unsound."""
    try:
        found = bson.decode(data, _UTC)
        return Job(
            found["name"],
            Direction(found["direction"]),
            WrongType(found["wrong_type"]),
            tuple(Move(*each) for each in found["moves"]),
            tuple(Stretch(*each) for each in found["stretches"]),
            found["created"],
            found["updated"],
            Standing(found["standing"]),
            found["revision"],
            **dict(zip(_NUMBERS, found["numbers"], strict=True)),
            left={(namespace, path, Left(why)): count for namespace, path, why, count in found["left"]},
            reported=tuple(map(_left_value, found["reported"])),
            refusal=tuple(map(_left_value, found["refusal"])),
        )
    except (BSONError, KeyError, ValueError, TypeError):
        text = "the job's document is of another form than this version writes"
        raise Unsound(MigrationReason.DAMAGED, text, "carry it on with the version that began it") from None


def _row(each: LeftValue) -> list[Any]:
    return [each.namespace, each.path, each.identity, each.why.value, each.code]


def _left_value(row: list[Any]) -> LeftValue:
    namespace, path, identity, why, code = row
    return LeftValue(namespace, path, identity, Left(why), code)
