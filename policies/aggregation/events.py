"""Events of a change stream: where in them the documents of a collection lie."""

from typing import Final

from sealwire.policies.aggregation.reshaping import names_of
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import document_of, named_parts, operator_name
from sealwire.policies.planning.trees import OPAQUE
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element

_FIELDS: Final = b"""_id operationType clusterTime wallTime ns nsType to collectionUUID documentKey
    fullDocument fullDocumentBeforeChange updateDescription operationDescription stateBeforeChange
    lsid txnNumber splitEvent rawUpdateDescription""".split()

EVENT_FIELDS: Final = names_of(_FIELDS)
"""The fields of an event; servers have no others."""

_OPTIONS: Final = {
    b"fullDocument": frozenset({kinds.STRING}),
    b"fullDocumentBeforeChange": frozenset({kinds.STRING}),
    b"resumeAfter": frozenset({kinds.OBJECT}),
    b"startAfter": frozenset({kinds.OBJECT}),
    b"startAtOperationTime": frozenset({kinds.TIMESTAMP}),
    b"allChangesForCluster": frozenset({kinds.BOOL}),
    b"showExpandedEvents": frozenset({kinds.BOOL}),
    b"showSystemEvents": frozenset({kinds.BOOL}),
    b"showMigrationEvents": frozenset({kinds.BOOL}),
    b"showRawUpdateDescription": frozenset({kinds.BOOL}),
    b"matchCollectionUUIDForUpdateLookup": frozenset({kinds.BOOL}),
}
_TOKEN: Final = {
    b"_data": frozenset({kinds.STRING, kinds.BIN_DATA}),
    b"_typeBits": frozenset({kinds.BIN_DATA}),
}


def events_of(documents: PathNode) -> PathNode:
    """The tree of the events of documents with this tree: whole ones, their key, and what was updated.

    Fields that were updated may stand there under dotted names, which no path reaches: what a path reaches is
    as in a document. A definition that was changed, such as an index or a validator, may hold constants.
    """
    if not documents.covers:
        return NOTHING
    update = {b"updatedFields": documents}
    children = {
        b"fullDocument": documents,
        b"fullDocumentBeforeChange": documents,
        b"documentKey": documents,
        b"updateDescription": PathNode(documents.path, update),
        b"operationDescription": OPAQUE,
        b"stateBeforeChange": OPAQUE,
        b"rawUpdateDescription": OPAQUE,
    }
    return PathNode(documents.path, children)


def check_options(buf: bytes, stage: Element) -> None:
    """The arguments of `$changeStream`: none of them is, or holds, a value. Raises Refusal(SHAPE)."""
    _check(buf, stage, stage, _OPTIONS)
    for name, part in named_parts(buf, stage.value).items():
        if name in (b"resumeAfter", b"startAfter"):
            _check(buf, part, part, _TOKEN)


def check_split(buf: bytes, stage: Element) -> None:
    """`$changeStreamSplitLargeEvent` takes no arguments. Raises Refusal(SHAPE)."""
    _check(buf, stage, stage, {})


def _check(buf: bytes, argument: Element, named: Element, known: dict[bytes, frozenset[int]]) -> None:
    for name, part in named_parts(buf, document_of(argument, named)).items():
        # null is an option that is not set
        if name not in known or part.kind not in known[name] | {kinds.NULL}:
            raise Refusal(Reason.SHAPE, rule=f"{operator_name(named)} with {operator_name(part)}")
