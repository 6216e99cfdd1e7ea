"""What `sealwire keys rotate --due` does with data keys: what is due, what has to wait, and what it moves.

A class whose policy says `rotate` gets its new key, and its data moves to it by a job of `sealwire migrate`,
one class after the other. A class that is due by `--rotate-every` gets the key only.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

import click

from sealwire.cli.exit_codes import EX_NO, exit_code, show_error
from sealwire.cli.keys.options import QuietInterval
from sealwire.cli.migrate.classes import ClassMove, class_of
from sealwire.cli.migrate.options import (
    Effort,
    Site,
    document_of,
    lifetime_option,
    proxies_option,
    share_option,
)
from sealwire.cli.options import PRESENT_FILE, settings, variable_option
from sealwire.cli.output import Manner
from sealwire.cli.recording import record_event
from sealwire.keys.errors import KeyringBusy, KeysError
from sealwire.keys.keyring.data_key import DataKey
from sealwire.keys.keyring.record import KeyringRecord, format_time
from sealwire.keys.keyring.schedule import Chore, DueChore, QuietHours
from sealwire.keys.private_file import writer_lock
from sealwire.policies.file.schema import FieldClass, Mode, PolicySet
from sealwire.sidecars.errors import SidecarError
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.windows.workers import Workers


@dataclass(frozen=True, slots=True)
class CalendarOptions:
    """When the calendar may move data, and how hard it works then."""

    effort: Effort
    quiet: QuietHours | None = None
    holds: Path | None = None


# Gives the command `options: CalendarOptions`.
calendar_options = settings(
    "options",
    CalendarOptions,
    click.option(
        "--quiet",
        type=QuietInterval(),
        metavar="HH:MM-HH:MM",
        help="With --due: the hours in which data keys are rotated and data is moved, local time.",
    ),
    settings("effort", Effort, proxies_option, share_option, lifetime_option),
    variable_option(
        "--holds",
        type=PRESENT_FILE,
        envvar="SEALWIRE_HOLDS",
        help="With --due: the file of legal holds. No class is rotated while an erasure runs, and none runs "
        "while data moves.",
    ),
)


class RotationOutcome(Enum):
    """What became of a class in one run; the value is what programs read."""

    PLANNED = "planned"
    """It can be done now. After a run it was a dry one."""
    WAITS = "waits"
    """A later run does it."""
    LEFT = "left"
    """Somebody else has to do something first."""
    DONE = "done"
    PAUSED = "paused"
    """A later run goes on with its job."""
    REFUSED = "refused"


_NOT_DONE: Final = {RotationOutcome.WAITS, RotationOutcome.LEFT, RotationOutcome.PAUSED}
_SILENT_S: Final = 600
"""A process that has said nothing of its job for so long was killed, or another one may take the job over."""
_OUTCOMES: Final = {Standing.DONE: RotationOutcome.DONE, Standing.PAUSED: RotationOutcome.PAUSED}
"""By how a job stands after this process has worked on it. In any other standing it needs somebody."""


@dataclass(frozen=True, slots=True)
class ClassRotation:
    """A class whose key is too old, or whose data is to move, and what becomes of it."""

    chore: DueChore
    created: datetime
    """When the version that it is about was made."""
    every: str
    """As the policy says it of the class; empty: it does not."""
    moves: bool
    """Whether its data moves in the same run."""
    outcome: RotationOutcome = RotationOutcome.PLANNED
    why: str = ""
    job: Job | None = None
    code: int = 0
    """The exit code, of one that was refused."""

    def ended(self, outcome: RotationOutcome, why: str = "") -> "ClassRotation":
        """The same with what became of it."""
        return replace(self, outcome=outcome, why=why)

    def line(self, share: float) -> str:
        """For people."""
        chore = self.chore
        steps = ["a new version"] if chore.chore is Chore.ROTATE else []
        steps += [f"re-encryption with share {share:g}"] if self.moves else []
        why = f" {self.why}" if self.why else ""
        return (
            f"{chore.class_name}: version {chore.version} of {self.created:%Y-%m-%d}, due since "
            f"{chore.since:%Y-%m-%d}{f' ({self.every})' if self.every else ''}: "
            f"{', then '.join(steps) or 'its data has to move'}: {self.outcome.value}{why}"
        )

    @property
    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "class": self.chore.class_name,
            "version": self.chore.version,
            "created": format_time(self.created),
            "due_since": format_time(self.chore.since),
            "overdue": self.chore.overdue,
            "rotate": self.every or None,
            "new_version": self.chore.chore is Chore.ROTATE,
            "reencrypts": self.moves,
            "outcome": self.outcome.value,
            "why": self.why or None,
            "job": None if self.job is None else document_of(self.job),
        }


def pends_when_rotated(found: FieldClass) -> bool:
    """Whether a new key of a class is pending, because all of its data has to move to it.

    With a key for each context, the class's own wraps these and encrypts no value: nothing has to move.
    """
    return found.mode is not Mode.RANDOM and found.per is None


@dataclass(frozen=True, slots=True)
class Calendar:
    """The calendar of the data keys of one keyring."""

    policies: PolicySet | None
    site: Site
    options: CalendarOptions
    manner: Manner

    def plan(
        self, record: KeyringRecord, chores: Iterable[DueChore], now: datetime
    ) -> tuple[ClassRotation, ...]:
        """What is due of data keys: moves that have begun first, then in the order of the classes.

        A class that lends its key cannot turn, and must not keep the others from it: it is left.
        """
        created = {(each.name, key.version): key.created for each in record.classes for key in each.keys}
        rotations = []
        for chore in chores:
            found = None if self.policies is None else self.policies.classes.get(chore.class_name)
            rotation = None if found is None else found.rotation
            if chore.chore is Chore.ROTATE or (chore.chore is Chore.REENCRYPT and rotation is not None):
                rotations.append(
                    ClassRotation(
                        chore,
                        created[chore.class_name, chore.version],
                        "" if rotation is None else rotation.value,
                        found is not None and rotation is not None and pends_when_rotated(found),
                    )
                )
        rotations.sort(key=lambda each: each.chore.chore is Chore.ROTATE)
        return tuple(self._judged(each, record, now) for each in rotations)

    def _judged(self, rotation: ClassRotation, record: KeyringRecord, now: datetime) -> ClassRotation:
        chore, quiet = rotation.chore, self.options.quiet
        if chore.chore is Chore.ROTATE and chore.class_name in record.lenders:
            return rotation.ended(RotationOutcome.LEFT, "another class borrows its key: sealwire keys list")
        if rotation.moves and not self.site.uri:
            return rotation.ended(RotationOutcome.LEFT, "which server has its data? Give --uri-file")
        if quiet is not None and not quiet.has(now):
            return rotation.ended(RotationOutcome.WAITS, f"until {quiet.begin:%H:%M}")
        return rotation

    @contextmanager
    def beside_no_erasure(self, rotations: Sequence[ClassRotation]) -> Iterator[tuple[ClassRotation, ...]]:
        """The rotations, of which none can be done if an erasure runs. None begins until the block is left.

        An erasure that began before a class had its new key would not find the values that moved.
        """
        holds = self.options.holds
        if holds is None or not any(each.outcome is RotationOutcome.PLANNED for each in rotations):
            yield tuple(rotations)
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(writer_lock(holds))
            except KeyringBusy:
                why = "until the erasure that runs is over, or the hold is placed"
                rotations = [
                    each.ended(RotationOutcome.WAITS, why)
                    if each.outcome is RotationOutcome.PLANNED
                    else each
                    for each in rotations
                ]
            yield tuple(rotations)

    def carry_out(
        self, rotations: Iterable[ClassRotation], made: Iterable[DataKey]
    ) -> tuple[ClassRotation, ...]:
        """Move what is to move. `made` are the keys that classes got already. Each is on record.

        Raises AuditError.
        """
        names = {key.class_name for key in made}
        ended = []
        for each in rotations:
            after = each
            if each.outcome is RotationOutcome.PLANNED and each.moves:
                after = self._moved(each)
            elif each.chore.class_name in names and not self.manner.dry_run:
                after = each.ended(RotationOutcome.DONE)
            if after.outcome is not each.outcome:
                said = {"class": after.chore.class_name, "outcome": after.outcome.value}
                record_event("rotation", said if after.job is None else {**said, "job": after.job.name})
            ended.append(after)
        return tuple(ended)

    def _moved(self, rotation: ClassRotation) -> ClassRotation:
        """What becomes of a class whose data is to move now: another class's trouble is not its own."""
        now, quiet = datetime.now(UTC), self.options.quiet
        if quiet is not None and not quiet.has(now):
            return rotation.ended(RotationOutcome.WAITS, f"until {quiet.begin:%H:%M}")
        until = None if quiet is None else now + quiet.left(now)
        try:
            return self._move(rotation, replace(self.options.effort, until=until))
        except (SidecarError, KeysError) as error:
            show_error(error, f"class {rotation.chore.class_name}: ")
            code = exit_code(error) or EX_NO
            return replace(rotation.ended(RotationOutcome.REFUSED, str(error)), code=code)

    def _move(self, rotation: ClassRotation, effort: Effort) -> ClassRotation:
        policies, name = self.policies, rotation.chore.class_name
        if policies is None:
            raise ValueError("nothing moves without a policy")
        with self.site.connected() as client:
            jobs = Ledger(client, self.site.keys.load()).jobs()
            workers = Workers(client).listed()
        begun = [each for each in jobs if _is_begun(policies, each, name)]
        ours = {each.name for each in begun}
        at_work = [
            f"{each.place}, of job {each.job}"
            for each in workers
            if each.silent_s < _SILENT_S or each.job not in ours
        ]
        # a job of random classes registers no process; one that was killed says that it runs
        at_work += [
            f"job {each.name}, if it was not killed"
            for each in jobs
            if each.standing is Standing.RUNNING and class_of(policies, each) is None
        ]
        if at_work:
            return rotation.ended(RotationOutcome.WAITS, f"for what moves now: {'; '.join(at_work)}")
        dry_run = self.manner.dry_run
        move = ClassMove(policies, name, Direction.REENCRYPT, self.site, effort, rotates=True)
        job = move.resume(begun[0], dry_run=dry_run) if begun else move.begin(dry_run=dry_run)
        return rotation if dry_run else _after(rotation, job)


def _is_begun(policies: PolicySet, job: Job, class_name: str) -> bool:
    is_ours = job.direction is Direction.REENCRYPT and class_of(policies, job) == class_name
    return is_ours and not job.standing.is_over


def _after(rotation: ClassRotation, job: Job) -> ClassRotation:
    outcome = _OUTCOMES.get(job.standing, RotationOutcome.REFUSED)
    left = sum(job.left.values())
    why = f"by job {job.name}" + (f", {left} values left" if left else "")
    code = EX_NO if outcome is RotationOutcome.REFUSED else 0
    return replace(rotation.ended(outcome, why), job=job, code=code)


def exit_code_after(rotations: Iterable[ClassRotation]) -> int:
    """That of the first that was refused; else 1 if one is overdue and was not done, or 0."""
    found = tuple(rotations)
    refused = next((each.code for each in found if each.outcome is RotationOutcome.REFUSED), 0)
    late = any(each.chore.overdue and each.outcome in _NOT_DONE for each in found)
    return refused or (EX_NO if late else 0)
