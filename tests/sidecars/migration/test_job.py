"""A job as it is written down, and as it goes on."""

from dataclasses import replace
from datetime import timedelta

import bson
import pytest

from sealwire.sidecars.errors import Unsound
from sealwire.sidecars.migration.forms import Left, WrongType
from sealwire.sidecars.migration.job import (
    MAX_REPORTED,
    Batch,
    LeftValue,
    Standing,
    Stretch,
    new_job,
    parse,
    serialize,
)
from sealwire.sidecars.migration.moves import Direction
from tests.keys.samples import NOW
from tests.sidecars.migration.doubles import NAMESPACE, job

LATER = NOW + timedelta(seconds=5)
IDENTITY = b"\x10_id\0\7\0\0\0"
LEFT = LeftValue(NAMESPACE, "notes", IDENTITY, Left.SERVER, 121)


def test_it_is_written_and_read_without_loss() -> None:
    whole = replace(
        job(stretches=(Stretch(NAMESPACE, b"", IDENTITY, IDENTITY, True), Stretch(NAMESPACE, IDENTITY))),
        expected=9,
        refusal=(LEFT,),
    ).after(1, Batch(3, IDENTITY, 2, 4, 1, (LEFT, LEFT)), LATER)
    assert parse(serialize(whole)) == whole


@pytest.mark.parametrize("data", [b"", b"\5\0\0\0\0", bson.encode({"name": 1}), serialize(job())[:-1]])
def test_what_is_no_job_is_an_error(data: bytes) -> None:
    with pytest.raises(Unsound):
        parse(data)


def test_batches_add_up_and_the_last_one_ends_it() -> None:
    first = job(stretches=(Stretch(NAMESPACE, b"", IDENTITY), Stretch(NAMESPACE, IDENTITY)))
    second = first.after(0, Batch(3, IDENTITY, 2, 4, 1, (LEFT,)), LATER)
    assert (second.revision, second.updated, second.standing) == (1, LATER, Standing.RUNNING)
    assert second.stretches[0].at == IDENTITY
    third = second.after(1, Batch(0, b"", ended=True), LATER).after(
        0, Batch(1, b"", 1, 1, 0, (LEFT,), True), LATER
    )
    assert (third.read, third.documents, third.values, third.races) == (4, 3, 5, 1)
    assert third.left == {(NAMESPACE, "notes", Left.SERVER): 2}
    assert third.standing is Standing.DONE
    assert third.stretches[0].at == IDENTITY
    assert (first.read, first.left) == (0, {})


def test_its_document_stays_small_whatever_it_meets() -> None:
    whole = job()
    long = replace(LEFT, identity=b"\x02_id\0" + b"x" * 5000)
    for _ in range(4):
        whole = whole.after(0, Batch(500, IDENTITY, left=(LEFT, long) * 30), LATER)
    assert whole.left == {(NAMESPACE, "notes", Left.SERVER): 240}
    assert len(whole.reported) == MAX_REPORTED
    assert len(serialize(whole)) < 20_000
    assert [each.document_id for each in whole.reported[:2]] == ["7", ""]
    stopped = whole.stopped(Standing.REFUSED, LATER, [LEFT] * 300)
    assert len(stopped.refusal) == MAX_REPORTED


def test_a_job_is_over_or_can_be_resumed() -> None:
    assert [each for each in Standing if each.is_over] == [Standing.DONE, Standing.ABORTED]
    stopped = job().stopped(Standing.REFUSED, LATER, [LEFT])
    again = stopped.stopped(Standing.RUNNING, LATER)
    assert (stopped.refusal, again.refusal, again.revision) == ((LEFT,), (), 2)


def test_a_name_says_what_a_job_does_and_is_short_enough_to_copy() -> None:
    names = {new_job(direction, WrongType.SKIP, ()).name for direction in Direction for _ in range(3)}
    assert len(names) == 3 * len(Direction)
    assert max(map(len, names)) <= 16
