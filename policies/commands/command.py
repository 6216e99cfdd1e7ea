"""One command as the planner sees it: its name, its arguments where they lie, and what surrounds it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, final

from mypy_extensions import mypyc_attr

from sealwire.policies.aggregation.server_stages import server_documents
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import NUMERIC, read_number
from sealwire.policies.file.schema import NOTHING, PathNode, PolicySet, belongs_to_server
from sealwire.policies.planning.arguments import (
    array_items,
    check_nested,
    document_of,
    given,
    named_parts,
    operator_name,
    readable,
    string_of,
)
from sealwire.policies.planning.namespaces import foreign_namespaces
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.trees import either
from sealwire.policies.planning.walk import SETTLED_EDITS, Draft, Parents, Surroundings, Walk
from sealwire.policies.questions.asked import Answers, Asking
from sealwire.policies.questions.collation import SIMPLE, strength_of
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Cursor, Element, elements

# ----------------------------- passage: a command whose fate is always the same, recognised by its top level
#
# What becomes of a `find` and its like on a collection that holds nothing covered depends on three names: the
# command, the collection, the database. Once the planner has let one such command pass untouched, every later
# one with the same three may pass without being planned. Nothing else of the command is looked at.

Target = bytes
"""Name of a command, of its collection, of its database: the two elements that say them, as they stand."""

TARGETED: Final = frozenset(b"find count distinct insert update delete findAndModify findandmodify".split())
"""Commands that reach no collection but the one that their first argument names.

`aggregate` is not among them: its stages name others.
"""


def target_of(buf: bytes, body: int, planned: frozenset[bytes] = frozenset()) -> Target | None:
    """The target of the command document at `body`; None for any other command, or shape of one.

    Also None when its collection is among `planned`, names that are protected in some database: there is no
    use in walking what is most likely planned anyway.

    Walks the whole top level, because a name that stands twice could lead the server elsewhere: then it is
    None, and the planner refuses. Raises BsonError. Cost: O(top-level elements), 0.1 us each.
    """
    cursor = Cursor(buf, body)
    if not cursor.advance() or cursor.kind != kinds.STRING:
        return None
    command = cursor.name
    if command not in TARGETED or buf[cursor.value + 4 : cursor.end - 1] in planned:
        return None
    collection, database = buf[cursor.start : cursor.end], b""
    others = {command}
    count = 1
    while cursor.advance():
        name = cursor.name
        if name != b"$db":
            others.add(name)
            count += 1
        elif cursor.kind == kinds.STRING and not database:
            database = buf[cursor.start : cursor.end]
        else:
            return None
    return collection + database if database and len(others) == count else None


# ------------------------------------------------------------------------------ a command while it is planned


@dataclass(frozen=True, slots=True)
class DocumentSequence:
    """A kind-1 section of the message: many documents under one argument's name."""

    identifier: bytes
    documents: tuple[int, ...]
    """Offsets of the documents."""
    parents: Parents


SEQUENCES: Final[dict[bytes, bytes]] = {
    b"insert": b"documents",
    b"update": b"updates",
    b"delete": b"deletes",
}
"""The one document sequence that a command may carry."""


_FINDING: Final = frozenset(
    b"find count distinct aggregate update delete findAndModify findandmodify bulkWrite".split()
)
"""Commands whose filters may name several forms of a value. Definitions are stored, with the newest alone."""

Statement = Callable[[Walk, int], None]
"""Plan the document at an offset; the walk is among the documents."""

Refused = Callable[[int, int, Refusal], bool]
"""Take note of a statement's place, its offset and why it is refused: see `write_errors`."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)  # see wire.raw_bson: Element, Cursor
class Command:
    """A command document with its sequences, ready for one handler."""

    __slots__ = (
        "answers",
        "arguments",
        "body",
        "buf",
        "covered",
        "database",
        "draft",
        "name",
        "parents",
        "policies",
        "refused",
        "sequences",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - see `plan_command`
        self,
        draft: Draft,
        policies: PolicySet,
        covered: Callable[[str], PathNode | None],
        database: str,
        body: int,
        parents: Parents,
        arguments: dict[bytes, Element],
        sequences: tuple[DocumentSequence, ...] = (),
    ) -> None:
        self.draft = draft
        self.buf = draft.buf
        self.policies = policies
        self.covered = covered
        """The covered paths of what is read under a name: a collection's by the policy, or a view's."""
        self.database = database
        self.name = next(iter(arguments))
        self.body = body
        """Offset of the command document."""
        self.parents = parents
        """Lengths above the body's elements, the body's own included."""
        self.arguments = arguments
        self.sequences = sequences
        self.refused: Refused | None = None
        """Who is told of statements that are refused, and decides whether the others are judged."""
        self.answers: Answers | None = None
        """What the server's values have said for it; None where they may not be asked."""

    def namespace(self, collection: str) -> str:
        """`database.collection`."""
        return f"{self.database}.{collection}"

    def over(self, node: PathNode) -> Walk:
        """The walk among the body's elements, which speak of documents with these covered paths."""
        found = self.arguments
        # with these, an equality says where in an index the documents lie, and in which order they come
        hinted = b"hint" in found and self.name != b"count"  # of which there is only how many they are
        along_index = hinted or b"min" in found or b"max" in found
        use = Use.MATCH if along_index or self.name not in _FINDING else Use.FIND
        return Walk(self.draft, node, self.parents, use)

    @property
    def collection(self) -> str | None:
        """The collection that the first argument names, or None when it names none."""
        target = self.arguments[self.name]
        return string_of(self.buf, target) if target.kind == kinds.STRING else None

    def refuse_sequences(self) -> None:
        """The server would take one for an argument that is read here. Raises Refusal(SHAPE)."""
        if self.sequences:
            raise Refusal(Reason.SHAPE, rule="this document sequence")

    @property
    def surroundings(self) -> Surroundings:
        """What its pipelines may refer to."""
        return Surroundings(self.reached, self.database, self.policies.covered)

    def reached(self, namespace: str) -> PathNode | None:
        """The covered paths of a collection, a view or a collection of the server's own; None for no such.

        The draft is told which of these it reaches. Raises NamespaceUnknown (see `ViewCatalog.covered`);
        Refusal for buckets of a protected collection.
        """
        if belongs_to_server(namespace):
            node = server_documents(self.policies, namespace)
            if node is not None:
                self.draft.others = self.draft.others_documents = True
            return node
        node = self.covered(namespace)
        if node is not None:
            self.draft.reveals = True
            self.draft.has_views = self.draft.has_views or node is not self.policies.covered(namespace)
        return node

    def documents(self, walk: Walk, name: bytes) -> Iterator[tuple[Walk, int]]:
        """The documents of an argument that may stand in the body as an array or be a sequence.

        Each comes with the walk among them. It is to be planned before the next one is taken: what has become
        many edits is settled in between.
        """
        draft = self.draft
        for among, documents in self._lists(walk, name):
            edits, replacements = len(draft.edits), len(draft.replacements)
            first = -1
            for start in documents:
                if first < 0:
                    first = start
                elif len(draft.edits) - edits >= SETTLED_EDITS:
                    draft.settle(edits, replacements, first, start, among.parents)
                    first = start
                yield among, start

    def _lists(self, walk: Walk, name: bytes) -> Iterator[tuple[Walk, Iterable[int]]]:
        """The array and the sequences of that name."""
        argument = self.arguments.get(name)
        if argument is not None:
            inside = [document_of(item, argument) for item in array_items(self.buf, argument)]
            yield walk.inside(argument.value), inside
        for sequence in self.sequences:
            if sequence.identifier == name:
                yield walk.beneath(sequence.parents), sequence.documents

    def each(self, walk: Walk, name: bytes, statement: Statement) -> None:
        """Plan the documents of an argument, or judge each by itself where `refused` wants to know."""
        refused = self.refused
        if refused is None:
            for among, start in self.documents(walk, name):
                statement(among, start)
            return
        draft = self.draft
        edits, replacements = len(draft.edits), len(draft.replacements)
        for place, (among, start) in enumerate(self.documents(walk, name)):
            try:
                statement(among, start)
            except Refusal as refusal:
                if not refused(place, start, refusal.within(draft.command)):
                    return
                draft.collated = draft.compares = False
                if draft.asking is not None:
                    draft.asking.end_change()
            del draft.edits[edits:]
            del draft.replacements[replacements:]


_COLLATION: Final = frozenset(
    b"""locale caseLevel caseFirst strength numericOrdering alternate maxVariable normalization backwards
    version""".split()
)

Argument = Callable[[Walk, Element], object]
"""Cover one argument; the walk is among the arguments."""


def unread(walk: Walk, argument: Element) -> None:
    """An argument that carries no value of a stored document."""
    check_nested(walk.buf, argument)


def planned_apart(walk: Walk, argument: Element) -> None:
    """An argument that is planned before the others, or when they have been."""
    del walk, argument


def collation(walk: Walk, argument: Element) -> None:
    """Fine unless ciphertext is compared under one that is not the simple one, which is known at the end.

    Raises Refusal(SHAPE).
    """
    parts = named_parts(walk.buf, document_of(argument, argument))
    for name, part in parts.items():
        if name not in _COLLATION or part.kind in (kinds.OBJECT, kinds.ARRAY):
            raise Refusal(Reason.SHAPE, rule=f"a collation with {operator_name(part)}")
    locale = parts.get(b"locale")
    if locale is None or locale.kind != kinds.STRING or string_of(walk.buf, locale) != "simple":
        walk.draft.collated = True


def note_collation(asking: Asking, buf: bytes, arguments: dict[bytes, Element]) -> None:
    """Ask under the collation of a command, or of a statement that begins, if strings can be judged under it.

    Raises BsonError.
    """
    argument = given(arguments, b"collation")
    asking.strength, asking.collation = SIMPLE, b""
    if argument is None or argument.kind != kinds.OBJECT:
        return
    found: dict[str, object] = {}
    for part in elements(buf, argument.value):
        name = part.name.decode("utf-8", "replace")
        if part.kind == kinds.STRING:
            found[name] = string_of(buf, part)
        else:
            value = buf[part.value : part.end]
            found[name] = read_number(part.kind, value) if part.kind in NUMERIC else None
    asking.strength, asking.collation = strength_of(found), buf[argument.start : argument.end]


def constants(walk: Walk, argument: Element) -> None:
    """`let`, and the constants of a pipeline update: variables that expressions may name as `$$variable`.

    `expressions.constants` covers those that meet a covered path. One with a capital, such as CURRENT, would
    change what `$field` means. Raises Refusal(SHAPE).
    """
    for variable in elements(walk.buf, document_of(argument, argument)):
        if variable.name[:1].isupper():
            raise Refusal(Reason.SHAPE, rule=f"a variable {operator_name(variable)}")
        check_nested(walk.buf, variable)


def raw_data(walk: Walk, argument: Element) -> None:
    """With it, the paths of a time-series collection are those of its buckets. Raises Refusal(SHAPE)."""
    if argument.kind != kinds.BOOL or any(walk.buf[argument.value : argument.end]):
        raise Refusal(Reason.SHAPE, rule="rawData")


def plain_arguments(names: str) -> dict[bytes, Argument]:
    """A table of arguments that carry no value of a stored document."""
    return dict.fromkeys(names.encode().split(), unread)


def apply_arguments(walk: Walk, arguments: dict[bytes, Element], table: dict[bytes, Argument]) -> None:
    """Hand every argument to its entry in the table; one that is in no table is refused."""
    for name, argument in arguments.items():
        handler = table.get(name)
        if handler is None:
            raise Refusal(Reason.SHAPE, rule=f"argument {operator_name(argument)}")
        if argument.kind == kinds.NULL:
            continue  # drivers send null for an option that is not set, and the server takes it so
        handler(walk, argument)


GENERIC: Final[dict[bytes, Argument]] = {
    **plain_arguments(
        """$db lsid $clusterTime $readPreference $configTime $topologyTime $audit $client
        txnNumber startTransaction autocommit coordinator recoveryToken readConcern writeConcern maxTimeMS
        maxTimeMSOpOnly comment apiVersion apiStrict apiDeprecationErrors querySettings"""
    ),
    b"rawData": raw_data,
}
"""Arguments that every command takes."""


# --------------------------------- what a command reaches beside the collection that its first argument names

# what no server takes for a name, it refuses
NO_NAME = frozenset({kinds.DOUBLE, kinds.INT, kinds.LONG, kinds.DECIMAL, kinds.BOOL, kinds.OBJECT})


def name_in(command: Command, argument: Element | None) -> str | None:
    """The name that an argument gives, None for no argument and for what cannot be a name.

    Raises Refusal(SHAPE) for what a lax server might take for one.
    """
    if argument is None or argument.kind == kinds.NULL or argument.kind in NO_NAME:
        return None
    if argument.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule=operator_name(argument))
    return string_of(command.buf, argument)


def protected_in_pipeline(command: Command) -> str | None:
    """The first protected collection that the command's pipeline reads or writes beside its own input."""
    pipeline = command.arguments.get(b"pipeline")
    if pipeline is None:
        return None
    return command.surroundings.protected_in(foreign_namespaces(command.draft, pipeline, command.database))


def first_stage(command: Command) -> bytes:
    """The name of the first stage of the command's pipeline; empty when there is none. Cost: O(1)."""
    stage = next(_stages(command), None)
    return b"" if stage is None else stage.name


def _stages(command: Command) -> Iterator[Element | None]:
    """The stages of the command's pipeline one by one; None for what is none."""
    pipeline = command.arguments.get(b"pipeline")
    if pipeline is not None and pipeline.kind == kinds.ARRAY:
        for item in elements(command.buf, pipeline.value):
            yield next(elements(command.buf, item.value), None) if item.kind == kinds.OBJECT else None


_READS = frozenset(b"find aggregate count distinct listIndexes collStats collstats getMore explain".split())


def refuse_writing_views(command: Command, namespace: str) -> None:
    """A view is a document in `system.views`: written there, it could be one on a protected collection.

    Raises Refusal.
    """
    if command.name in _READS:
        return
    database, _, collection = namespace.partition(".")
    if collection == "system.views" and command.policies.protects_database(database):
        raise Refusal(Reason.NAMESPACE, path=readable(namespace), rule=command.draft.command)


def watched(command: Command) -> PathNode | None:
    """The covered paths of the documents in the events; None when the pipeline is no change stream.

    Events of any collection can come, protected ones and others: what is covered in any of them can be
    forwarded, and nothing else. But a `$match` right behind that lets through one collection's only makes it
    like a stream on that one. Cost: O(paths of the protected collections in reach).
    """
    stages, policies = _stages(command), command.policies
    stream = next(stages, None)
    if stream is None or stream.name != b"$changeStream":
        return None
    cluster = stream.kind == kinds.OBJECT and b"allChangesForCluster" in named_parts(
        command.buf, stream.value
    )
    if not cluster and not policies.protects_database(command.database):
        return NOTHING
    chosen = next(stages, None)
    # under a collation, a name would match others as well
    if chosen is not None and b"collation" not in command.arguments:
        namespace = _chosen(command.buf, chosen, None if cluster else command.database)
        if namespace is not None:
            return policies.covered(namespace) or NOTHING
    found = NOTHING
    for tree in policies.in_reach(None if cluster else command.database):
        found = either(found, tree, command.draft.work)
    return found


def _chosen(buf: bytes, stage: Element, database: str | None) -> str | None:
    """The one namespace whose events a `$match` lets through: by `ns`, or by `ns.db` and `ns.coll`."""
    if stage.name != b"$match" or stage.kind != kinds.OBJECT:
        return None
    parts = named_parts(buf, stage.value)
    whole = parts.get(b"ns")
    if whole is not None and whole.kind == kinds.OBJECT:
        names = named_parts(buf, whole.value)
        if list(names) != [b"db", b"coll"]:
            return None
        chosen = [names[b"db"], names[b"coll"]]
    else:
        chosen = [parts[name] for name in (b"ns.db", b"ns.coll") if name in parts]
    if not chosen or any(part.kind != kinds.STRING for part in chosen):
        return None
    texts = [string_of(buf, part) for part in chosen]
    if len(texts) == 1:
        if database is None or b"ns.coll" not in parts:
            return None
        texts.insert(0, database)
    return ".".join(texts)
