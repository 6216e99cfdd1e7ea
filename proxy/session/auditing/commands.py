"""Which commands are on record, and the record of each: one for what is sent, one result for each reply."""

from typing import Final, final

from sealwire.policies.aggregation.stages import TABLES
from sealwire.policies.commands.planner import ACTS
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.arguments import one_line, printable
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.rules import Act
from sealwire.policies.roles.screening import screened
from sealwire.proxy.session.auditing.answers import Answer, AuditedCommand
from sealwire.proxy.session.auditing.subjects import (
    CommandAudit,
    SentTally,
    SubjectPaths,
    SubjectPolicy,
    linked_target,
    note_named,
    stored_in,
)
from sealwire.proxy.session.choices import CommandScope
from sealwire.proxy.session.effects import CommandOutcome, CommandRecord, CommandResult
from sealwire.proxy.session.login.caller import NOTHING_STATED, Stated, on_record, stated_by
from sealwire.proxy.session.revealing.cursors import namespace_of
from sealwire.proxy.session.revealing.plaintext import SHOWING_COMMANDS, shows_own_documents
from sealwire.wire import kinds
from sealwire.wire.op_msg import OpMsg
from sealwire.wire.raw_bson import string_bytes

MAX_CURSORS: Final = 4096
"""How many open cursors are remembered with where their documents say whose they are."""

_MAX_TARGET: Final = 64

_WRITING: Final = frozenset(
    b"insert update delete findAndModify findandmodify bulkWrite create drop renameCollection collMod "
    b"createIndexes dropIndexes".split()
)
_COUNTING: Final = frozenset(b"insert update delete findAndModify findandmodify bulkWrite".split())
"""Writes whose replies say how many documents they are about."""
_STORING: Final = frozenset({b"aggregate", b"mapReduce", b"mapreduce"})
"""Commands that may store their results in a collection."""
_WRITING_STAGES: Final = tuple(stage + b"\0" for stage in TABLES.writing)
_SHOWING: Final = SHOWING_COMMANDS | {b"getMore", b"distinct"}


@final
class Sent:
    """A command as it was planned."""

    __slots__ = ("name", "namespace", "parsed", "plan", "roles", "stated", "users")

    def __init__(  # noqa: PLR0913, PLR0917 - one for each field
        self,
        plan: Plan,
        name: bytes,
        parsed: OpMsg,
        namespace: str,
        stated: Stated,
        roles: str,
        users: tuple[str, ...],
    ) -> None:
        self.plan = plan
        self.name = name
        self.parsed = parsed
        """Where the parts of the message lie that was planned."""
        self.namespace = namespace
        """For a line of a log; empty where nobody knows that it is one."""
        self.stated = stated
        self.roles = roles
        """The names of the roles by which it was let through, with commas."""
        self.users = users
        """Who sends it, as `Caller` has them."""


@final
class OpenCursor:
    """What further reads of a cursor need of the command that has opened it: nothing that grows with that."""

    __slots__ = ("gathers", "is_certain", "paths", "stated", "tree", "users")

    def __init__(self, command: AuditedCommand) -> None:
        self.gathers = command.gathers
        self.is_certain = command.is_certain
        self.paths = command.paths
        self.tree = command.tree
        self.stated = command.stated
        self.users = command.users


@final
class CommandAuditor:
    """What the sessions of a process remember for the record, under one policy."""

    __slots__ = ("_cursors", "_subjects")

    def __init__(self) -> None:
        self._subjects: SubjectPolicy | None = None
        self._cursors: dict[bytes, OpenCursor] = {}
        """By their ids. Whoever leaves many open keeps little here, whomever his commands named."""

    def forget(self) -> None:
        """Another policy counts."""
        self._subjects = None
        self._cursors.clear()

    def tally(self, settings: CommandAudit, policy: PolicySet, name: bytes) -> SentTally | None:
        """What counts the values of one command; None: it is not on record, whatever it is about."""
        if settings.scope is CommandScope.REFUSED and name not in ACTS:
            return None
        if settings.pseudonym is None or policy.subjects is None:
            return SentTally()
        return SentTally(policy.subjects.class_name, settings.pseudonym)

    def sent(
        self,
        settings: CommandAudit,
        policy: PolicySet,
        tally: SentTally,
        command: Sent,
        *,
        reveals: bool,
        is_own: bool,
    ) -> AuditedCommand | None:
        """What is to be put on record of a command that is about to be sent; None: nothing.

        `reveals`: envelopes in its reply are opened; `is_own`: what it reaches is a collection, and no view.
        Raises BsonError. Cost: some 2 us.
        """
        plan, name = command.plan, command.name
        is_more = name == b"getMore"
        act = ACTS.get(name)
        opening = self._cursors.get(_cursor_of(plan)) if is_more else None
        stored = stored_in(plan.buf, command.parsed, TABLES.writing) if _stores(name, plan.buf) else ""
        linked = "" if plan.protected or is_more else self._linked(settings, policy, command, stored)
        is_about = plan.protected or bool(linked)
        is_certain = act is not None or settings.scope is CommandScope.ALL or (is_about and not is_more)
        is_written = is_about and (name in _WRITING or _stores(name, plan.buf))
        if settings.scope is CommandScope.WRITES and act is None and not is_written:
            return None
        if not is_certain and not reveals and (opening is None or not opening.is_certain):
            return None
        stated = command.stated
        if stated is NOTHING_STATED:
            stated = stated_by(plan.buf, plan.arguments.get(b"comment"))
        cursor_id, paths, tree, namespace = b"", None, None, command.namespace
        gathers = name in _SHOWING and (reveals or is_about)
        if is_more:
            # its first argument is a number
            namespace = namespace_of(plan.buf, command.parsed.body)
            cursor_id = _cursor_of(plan)
            if opening is not None:
                gathers = opening.gathers
                paths, tree = opening.paths, opening.tree
                if stated is NOTHING_STATED and opening.users == command.users:
                    stated = opening.stated
        elif linked or (plan.protected and (is_own or name in _COUNTING)):  # nobody writes to a view
            namespace = linked or namespace
            paths = self._note(settings, policy, tally, command, linked or plan.namespace, is_written)
            if (is_own or linked) and _shows_own(command):
                tree, gathers = policy.covered(plan.namespace), False
            else:
                paths = None
        if is_written and name in _STORING and settings.pseudonym is not None and policy.subjects is not None:
            tally.unnamed += 1  # whose documents it stores, only they say
        tally.note(plan.buf, plan.edits)
        said = on_record(stated, policy.roles)
        record = CommandRecord(
            namespace,
            plan.command,
            written=tally.written,
            filtered=tally.filtered,
            subjects=tuple(tally.subjects) if tally.subjects else (),
            ids=tuple(tally.ids) if tally.ids else (),
            unnamed=tally.unnamed,
            purpose=said.purpose,
            glass=said.glass,
            role=command.roles,
            users=command.users,
        )
        if act is not None:
            _describe_act(record, act, plan, name)
        elif stored and stored != namespace:
            record.target = screened(one_line(stored), _MAX_TARGET, has_names=False)
        return AuditedCommand(
            record,
            paths=paths,
            tree=tree,
            stated=stated,
            users=command.users,
            cursor_id=cursor_id,
            pseudonym=None if policy.subjects is None else settings.pseudonym,
            is_certain=is_certain,
            shows=name in _SHOWING,
            is_counted=name in _COUNTING,
            gathers=gathers,
        )

    def answered(self, command: AuditedCommand, answer: Answer, read: dict[str, int]) -> CommandResult | None:
        """What came of a command by one reply, for the record; None: nothing that belongs there.

        `read`: by class, what was opened of it.
        """
        shown = answer.shown
        documents = 0 if shown is None else shown.documents
        outcome = answer.outcome
        if answer.cursor_id:
            self._remember(answer.cursor_id, command)
        elif command.cursor_id and outcome is CommandOutcome.OK:
            # one that failed may have left the cursor open: who asks wrongly first is not rid of the record
            self._cursors.pop(command.cursor_id, None)
        if not (command.is_certain or read or documents or outcome is not CommandOutcome.OK):
            return None
        counts = answer.affected, answer.modified, answer.deleted
        if shown is None:
            return CommandResult(outcome, answer.reason, read, 0, (), 0, *counts)
        if shown.read:
            for name, amount in shown.read.items():
                read[name] = read.get(name, 0) + amount
        persons = tuple(shown.subjects) if shown.subjects else ()
        result = CommandResult(outcome, answer.reason, read, documents, persons, shown.unknown, *counts)
        if shown.gathered is not None:
            result.opened, result.gathered = shown.gathered.opened(read), shown.gathered.elements
        return result

    def _remember(self, cursor_id: bytes, command: AuditedCommand) -> None:
        if cursor_id not in self._cursors:
            if len(self._cursors) >= MAX_CURSORS:
                del self._cursors[next(iter(self._cursors))]
        elif command.cursor_id:
            return  # it is remembered by what opened it
        self._cursors[cursor_id] = OpenCursor(command)

    def _note(
        self,
        settings: CommandAudit,
        policy: PolicySet,
        tally: SentTally,
        command: Sent,
        namespace: str,
        is_written: bool,
    ) -> SubjectPaths | None:
        """Note whom a command names; where documents of its collection say whose they are."""
        if settings.pseudonym is None or policy.subjects is None:
            return None
        subjects, plan = self._subjects_of(policy), command.plan
        if command.name in _STORING and namespace != plan.namespace:
            return None  # its filter is about the documents that it reads
        note_named(
            plan.buf,
            command.parsed,
            command.name,
            namespace,
            subjects,
            settings.pseudonym,
            tally,
            is_write=is_written,
        )
        return subjects.paths_of(namespace)

    def _linked(self, settings: CommandAudit, policy: PolicySet, command: Sent, stored: str) -> str:
        """The collection that a command reaches, or in which its results are `stored`, if the policy covers
        none of its fields and a link makes its documents somebody's; empty: it is no such command.
        """
        if settings.pseudonym is None or policy.subjects is None or not policy.subjects.links:
            return ""
        subjects, namespace = self._subjects_of(policy), command.plan.namespace
        paths = subjects.paths_of(namespace) if namespace else None
        if paths is not None and paths.link:
            return namespace
        return linked_target(command.plan.buf, command.parsed, command.name, stored, subjects)

    def _subjects_of(self, policy: PolicySet) -> SubjectPolicy:
        if self._subjects is None or self._subjects.policy is not policy:
            self._subjects = SubjectPolicy(policy)
        return self._subjects


def _describe_act(record: CommandRecord, act: Act, plan: Plan, name: bytes) -> None:
    """Say of what database an act is, and about whom. Nothing else of it is read: `pwd` is among the rest.

    Raises BsonError.
    """
    record.act = act.value
    if record.namespace:
        record.target = _text(plan, b"to")
    else:
        record.database, record.target = _text(plan, b"$db"), _text(plan, name)


def _text(plan: Plan, name: bytes) -> str:
    argument = plan.arguments.get(name)
    if argument is None or argument.kind != kinds.STRING:
        return ""
    return screened(printable(string_bytes(plan.buf, argument)), _MAX_TARGET, has_names=False)


def _shows_own(command: Sent) -> bool:
    return command.name in SHOWING_COMMANDS and shows_own_documents(
        command.name, command.plan.buf, command.plan.arguments
    )


def _stores(name: bytes, buf: bytes) -> bool:
    return name in _STORING and (
        name != b"aggregate" or any(buf.find(stage) >= 0 for stage in _WRITING_STAGES)
    )


def _cursor_of(plan: Plan) -> bytes:
    number = plan.arguments.get(b"getMore")
    return plan.buf[number.value : number.end] if number is not None and number.kind == kinds.LONG else b""
