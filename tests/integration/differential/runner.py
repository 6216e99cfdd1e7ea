"""Runs a sequence both ways and compares, step by step and in the end."""

from collections.abc import Callable
from dataclasses import dataclass, field

from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import PolicySet
from tests.integration.differential.commands import SEEN
from tests.integration.differential.compare import Command, canonical, opened, wrongly_stored
from tests.integration.differential.forms import StoredForms, may_be_clear
from tests.integration.differential.opening import OpensOf, by_keyring
from tests.integration.differential.sequences import Sequence, Transaction, is_searchable
from tests.integration.differential.shapes import PEOPLE, VISITS
from tests.integration.differential.sides import (
    MOST_TRIES,
    Answer,
    Outcome,
    Side,
    TryAgain,
    failure,
    hides_refusals,
    is_of_a_move,
    is_of_a_question,
)
from tests.integration.differential.tally import Tally
from tests.integration.differential.values import Document
from tests.integration.outside.chosen import named

PLAIN = named("plain")
"""The database that no policy covers."""


CONFLICT = 112
WRITE_CONFLICT = Answer(Outcome.ERROR, canonical({"code": CONFLICT}))


class CutShort(Exception):
    """The rest of a sequence cannot be compared.

    An update has put a value where no search by its path finds it (`sequences.is_searchable`). Or the error
    of a whole command hides which of its statements Sealwire has refused.
    """


@dataclass(slots=True)
class Runner:
    """Both ways to one server. `direct` goes past Sealwire, `client` through it."""

    direct: MongoClient[Document]
    client: MongoClient[Document]
    policy: PolicySet
    keyring: Callable[[], Keyring]
    """As it is now: it has every key that a stored value needs."""
    transactions: bool = True
    """Whether the server has them; else they are left out, and counted."""
    tally: Tally = field(default_factory=Tally)
    used: dict[str, frozenset[str]] = field(default_factory=dict)
    """By database: the collections that the last sequence left."""
    others: tuple[MongoClient[Document], ...] = ()
    """Clients of other proxies: each command goes through any of them, or through `client`."""
    forms: StoredForms | None = None
    """What says which form of a value is the valid one, where classes move meanwhile."""
    opens: OpensOf = by_keyring
    has_own_databases: bool = False
    """Whether each sequence has a database that was not there before, and so no key for its contexts."""

    def database_of(self, sequence: Sequence) -> str:
        """Where the collections of the next sequence lie."""
        own = str(self.tally.examples) if self.has_own_databases else ""
        return f"{sequence.shape.database}{own}"

    def run(self, sequence: Sequence) -> None:
        """Raises AssertionError where the ways differ."""
        if self.forms is not None:
            # This server makes a dropped collection again, empty, where another connection lists collections
            # at that moment, as a job does. A view can then not be made under that name.
            sequence = sequence.with_view(f"{SEEN}{self.tally.examples}")
        run = Run(self, sequence)
        try:
            run.all()
        except CutShort:
            run.clear()
            self.tally.moves["sequences cut short"] += 1
        finally:
            self.tally.waits.update(run.covered.waits)
        self.tally.examples += 1


class Run:
    """One sequence, on collections that it empties first."""

    def __init__(self, runner: Runner, sequence: Sequence) -> None:
        self.runner = runner
        self.sequence = sequence
        self.plain = Side(runner.direct, PLAIN)
        database = runner.database_of(sequence)
        self.covered = Side(runner.client, database, runner.others)
        self.stored = Side(runner.direct, database)
        self._last: dict[str, str] = {}
        """The plain documents of each collection as they were last seen, equal to those through Sealwire."""

    def all(self) -> None:
        """Empty the collections, store, index, run every step, compare what is there in the end."""
        self.clear()
        self._store(PEOPLE, self.sequence.people)
        self._store(VISITS, self.sequence.visits)
        for command in self.sequence.indexes:
            self.command(command)
        for step in self.sequence.steps:
            if isinstance(step, Transaction) and self.runner.transactions:
                self._transaction(step)
            elif isinstance(step, Transaction):
                self.runner.tally.left_out += len(step.commands)
            else:
                self.command(step)
        for name in sorted(self._last):
            self._compare_stored(name)

    def clear(self) -> None:
        """Drop what the last sequence, or this one, has left."""
        used = self.runner.used
        for side in (self.plain, self.stored):
            for name in used.get(side.name, frozenset()):
                side.database.drop_collection(name)
            used[side.name] = self.sequence.collections

    def _store(self, name: str, documents: list[Document]) -> None:
        if not documents:
            return
        if self.command(_insert(name, documents)).outcome is Outcome.REFUSED:
            for document in documents:
                self.command(_insert(name, [document]))

    def command(self, command: Command) -> Answer:
        """Run one command both ways. Raises AssertionError where they differ."""
        through = self.covered.run(command)
        self.runner.tally.count(command.kind, through, command.body)
        if command.malformed:
            self._rejected(command, through)
        elif through.outcome is not Outcome.REFUSED:
            self._same(command, through, self.plain.run(command, None, through.left_out))
            if through.outcome is Outcome.ERROR and hides_refusals(command.body):
                raise CutShort
        self._compare_rows(command.changes, command.kind)
        return through

    def _rejected(self, command: Command, through: Answer) -> None:
        """What the server rejects is rejected through Sealwire too; what it takes is the same or refused.

        The codes need not agree: Sealwire may name what it refuses before the server finds another fault.
        """
        if through.outcome is not Outcome.REFUSED:
            plain = self.plain.run(command, None, through.left_out)
            if not through.outcome is plain.outcome is Outcome.ERROR:
                self._same(command, through, plain)
        if through.outcome is not Outcome.ANSWERED:
            for name in sorted(command.changes & self._last.keys()):
                rows = canonical(self.covered.rows(name))
                assert rows == self._last[name], f"{name} changed by a rejected {command.kind}"

    def _transaction(self, transaction: Transaction) -> None:
        """The same commands in a session each way; what ends it, ends it both ways."""
        for _ in range(MOST_TRIES):
            if self._tried(transaction):
                break
        else:
            raise AssertionError("a transaction that cannot be carried out while classes move")
        changed = frozenset[str]().union(*(command.changes for command in transaction.commands))
        self._compare_rows(changed, "transaction")

    def _tried(self, transaction: Transaction) -> bool:
        """Whether it came to an end; else it is begun again, as drivers do."""
        client, plain = self.covered.any_client(), self.plain.client
        with client.start_session() as one, plain.start_session() as other:
            one.start_transaction()
            other.start_transaction()
            try:
                for command in transaction.commands:
                    through = self.covered.run(command, one)
                    self._begin_again_at(through)
                    self.runner.tally.count(command.kind, through, command.body)
                    if through.outcome is not Outcome.REFUSED:
                        self._same(command, through, self.plain.run(command, other))
                    if through.outcome is not Outcome.ANSWERED:
                        break
                commits = transaction.commits and through.outcome is Outcome.ANSWERED
                ended = _end(one, commits=commits)
                self._begin_again_at(ended)
                ends = [ended, _end(other, commits=commits)]
            except TryAgain as again:
                self.covered.waits.append(again.code)
                for session in (one, other):
                    # after a commit that failed a driver aborts nothing: Sealwire has, or the server
                    if session.in_transaction:
                        _end(session, commits=False)
                return False
            self.runner.tally.count("commit" if commits else "abort", ends[0])
            assert ends[0] == ends[1], f"the end of a transaction: {ends}"
        return True

    def _begin_again_at(self, through: Answer) -> None:
        """A job has written a document that the transaction writes: as drivers do, begin it again.

        Raises TryAgain.
        """
        if self.runner.forms is not None and through == WRITE_CONFLICT:
            raise TryAgain(OperationFailure("a write conflict", CONFLICT))

    def _same(self, command: Command, through: Answer, plain: Answer) -> None:
        if through != plain and not (self.sequence.shape.asks and is_of_a_question(through, plain)):
            raise AssertionError(f"{command.kind}\n  Sealwire: {through}\n  plain:    {plain}")

    def _compare_rows(self, changed: frozenset[str], after: str) -> None:
        for name in sorted(changed):
            rows = self.plain.rows(name)
            if self.runner.forms is not None and not is_searchable(rows):
                raise CutShort
            through, plain = canonical(self.covered.rows(name)), canonical(rows)
            if through != plain:
                raise AssertionError(f"{name} after {after}\n  Sealwire: {through}\n  plain:    {plain}")
            self._last[name] = plain

    def _compare_stored(self, name: str) -> None:
        """What lies on the server: decrypted without the proxy, and held against the policy."""
        forms = self.runner.forms
        before = None if forms is None else forms.moment()
        clear = may_be_clear(self.runner.keyring())
        rows, keyring = self.stored.rows(name), self.runner.keyring()
        clear |= may_be_clear(keyring)
        opens = self.runner.opens(keyring)
        decrypted = canonical([opened(row, opens) for row in rows])
        assert decrypted == self._last[name], f"{name} decrypted offline"
        node = self.runner.policy.covered(f"{self.stored.name}.{name}")
        wrong = [found for row in rows for found in wrongly_stored(row, node, keyring, clear=clear)]
        assert not wrong, f"{name} as it is stored: {wrong}"
        if forms is not None and before is not None:
            wrong = forms.wrong(rows, before, keyring, opens)
            assert not wrong, f"{name} has values in a form that is not valid: {wrong}"


def _insert(name: str, documents: list[Document]) -> Command:
    return Command("insert", {"insert": name, "documents": documents, "ordered": False})


def _end(session: ClientSession, *, commits: bool) -> Answer:
    """How it ended. Raises TryAgain where Sealwire does not commit because classes move."""
    try:
        if commits:
            session.commit_transaction()
        else:
            session.abort_transaction()
    except OperationFailure as error:
        if is_of_a_move(error):
            # what the transaction did may rely on where a class stood before its move was over
            raise TryAgain(error) from None
        return failure(error)
    return Answer(Outcome.ANSWERED, "")
