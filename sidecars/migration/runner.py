"""The steps of a job of random classes: batches of documents by ranges of `_id`, with several workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.migration.contexts import JobContexts
from sealwire.sidecars.migration.engine import AT_ONCE, Engine, Pace, StepTaken, Stuck
from sealwire.sidecars.migration.forms import InCollection, Left, NewForm, WrongType, new_form
from sealwire.sidecars.migration.job import Batch, Job, LeftValue, Standing, Tally, now
from sealwire.sidecars.migration.ledger import Notes
from sealwire.sidecars.migration.moves import Direction, trees_of
from sealwire.sidecars.migration.patches import Patch, Problem, chunks, patch_of
from sealwire.sidecars.migration.server import BATCH_DOCUMENTS, Documents
from sealwire.sidecars.raw_documents import identity_of
from sealwire.wire.errors import BsonError

_NO_FIELDS: Mapping[str, bytes] = {}
_ROUNDS = 8
"""How often a document is read again that the application keeps changing."""

Within = Callable[[str, Sequence[bytes]], NewForm]
"""From a namespace and a batch of its documents to what decides for their values."""


def within_contexts(
    contexts: JobContexts, direction: Direction, keyring: Keyring, wrong_type: WrongType
) -> Within:
    """What decides where classes have keys for contexts: those of a batch are made in one write."""

    def within(namespace: str, raws: Sequence[bytes]) -> NewForm:
        if direction is not Direction.DECRYPT:
            contexts.prepare(namespace, raws)
        return new_form(direction, keyring, wrong_type, InCollection(contexts, namespace))

    return within


class Runner(Engine):
    """The steps of a job of random classes. Cost: memory of a batch for each worker, up to 24 MiB."""

    def __init__(  # noqa: PLR0913 - one for each thing that it needs
        self,
        job: Job,
        documents: Documents,
        notes: Notes,
        choose: NewForm,
        pace: Pace = AT_ONCE,
        *,
        within: Within | None = None,
        fields: Mapping[str, bytes] = _NO_FIELDS,
        narrow: Callable[[], object] = lambda: None,
    ) -> None:
        """`choose` decides every value's new form; `within`, where it is given, in its stead.

        `within` is told of all documents of a batch before the first value of them. `fields` is as in
        `patch_of`. `narrow` is called before the job is noted as done, if no value was left; perhaps more
        than once.
        """
        super().__init__(job, notes, pace)
        self._within = within
        self._fields = fields
        self._documents = documents
        self._choose = choose
        self._narrow = narrow
        self._most = pace.most or BATCH_DOCUMENTS
        self._waiting = iter([index for index, each in enumerate(job.stretches) if not each.done])
        self._trees = trees_of(job.moves)

    def _steps(self) -> Iterator[StepTaken]:
        while (index := self._next_stretch()) is not None:
            while not self._stopped.is_set() and not self.job.stretches[index].done:
                began = self._pace.clock()
                yield StepTaken(began, partial(self._after, index, self._batch(index)))

    def _next_stretch(self) -> int | None:
        with self._lock:
            return None if self._stopped.is_set() else next(self._waiting, None)

    def _after(self, index: int, batch: Batch) -> Job:
        job = self.job.after(index, batch, now())
        if job.standing is Standing.DONE and not job.left:
            self._narrow()
        return job

    def _batch(self, index: int) -> Batch:
        stretch = self.job.stretches[index]
        # one more than is wanted: the first is the one where the last batch ended
        limit = self._most + bool(stretch.at)
        raws, ended = self._documents.read(stretch.namespace, stretch.at or stretch.start, stretch.end, limit)
        if stretch.at and raws and identity_of(raws[0]) == stretch.at:
            raws = raws[1:]
        tally = Tally()
        left = list(self._move(stretch.namespace, raws, tally))
        at = identity_of(raws[-1]) if raws else b""
        return Batch(len(raws), at, tally.documents, tally.values, tally.races, tuple(left), ended)

    def _move(self, namespace: str, raws: Sequence[bytes], tally: Tally) -> Iterator[LeftValue]:
        """Move all values of the documents; those that stay."""
        patches, left = self._patches(namespace, raws)
        wrong = [each for each in left if each.why is Left.WRONG_TYPE]
        if wrong and self.job.wrong_type is WrongType.REFUSE:
            raise Stuck(wrong)
        yield from left
        for _ in range(_ROUNDS):
            unsure, refused = self._send(namespace, patches, tally)
            yield from refused
            if not unsure:
                return
            raws = self._documents.again(namespace, [patch.identity for patch in unsure])
            # what it leaves now was left and told of before, or was written meanwhile
            patches, _ = self._patches(namespace, raws)
            tally.values += sum(patch.values for patch in unsure) - sum(patch.values for patch in patches)
        for patch in patches:
            yield LeftValue(namespace, "", patch.identity, Left.CONTENDED)

    def _patches(self, namespace: str, raws: Sequence[bytes]) -> tuple[list[Patch], list[LeftValue]]:
        tree = self._trees[namespace]
        patches: list[Patch] = []
        left: list[LeftValue] = []
        choose = self._choose if self._within is None else self._within(namespace, raws)
        for raw in raws:
            try:
                patch = patch_of(raw, tree, choose, self._fields)
            except BsonError:
                patch = Patch(identity_of(raw), b"", 0, (Problem("", Left.DAMAGED),))
            if patch.update:
                patches.append(patch)
            left += [LeftValue(namespace, each.path, patch.identity, each.why) for each in patch.problems]
        return patches, left

    def _send(
        self, namespace: str, patches: Sequence[Patch], tally: Tally
    ) -> tuple[list[Patch], list[LeftValue]]:
        """Those to be looked at again, as some update of their command found other values; the refused."""
        unsure: list[Patch] = []
        refused: list[LeftValue] = []
        for chunk in chunks(patches):
            written = self._documents.update(namespace, [patch.update for patch in chunk])
            codes = dict(written.errors)
            refused += [
                LeftValue(namespace, "", chunk[index].identity, Left.SERVER, code)
                for index, code in codes.items()
            ]
            others = [patch for index, patch in enumerate(chunk) if index not in codes]
            tally.documents += written.matched
            if written.matched < len(others):
                tally.races += len(others) - written.matched
                unsure += others
            else:
                tally.values += sum(patch.values for patch in others)
        return unsure, refused
