"""Events of a change stream: where in them the documents of a collection lie."""

from typing import Final

from sealwire.policies.aggregation.reshaping import names_of
from sealwire.policies.aggregation.stage_arguments import TEXT, Shape, shaped, typed, unless_null
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.trees import OPAQUE
from sealwire.wire import kinds

_FIELDS: Final = b"""_id operationType clusterTime wallTime ns nsType to collectionUUID documentKey
    fullDocument fullDocumentBeforeChange updateDescription operationDescription stateBeforeChange
    lsid txnNumber splitEvent rawUpdateDescription""".split()

EVENT_FIELDS: Final = names_of(_FIELDS)
"""The fields of an event; servers have no others."""

_TOKEN: Final[Shape] = shaped(
    {
        b"_data": unless_null(typed(kinds.STRING, kinds.BIN_DATA)),
        b"_typeBits": unless_null(typed(kinds.BIN_DATA)),
    }
)
check_options: Final[Shape] = shaped(
    {
        **dict.fromkeys((b"fullDocument", b"fullDocumentBeforeChange"), unless_null(TEXT)),
        **dict.fromkeys((b"resumeAfter", b"startAfter"), _TOKEN),
        b"startAtOperationTime": unless_null(typed(kinds.TIMESTAMP)),
        **dict.fromkeys(
            b"""allChangesForCluster showExpandedEvents showSystemEvents showMigrationEvents
            showRawUpdateDescription matchCollectionUUIDForUpdateLookup""".split(),
            unless_null(typed(kinds.BOOL)),
        ),
    }
)
"""The arguments of `$changeStream`: none of them is, or holds, a value."""


def events_of(documents: PathNode) -> PathNode:
    """The tree of the events of documents with this tree: whole ones, their key, and what was updated.

    Fields that were updated may stand there under dotted names, which no path reaches: what a path reaches is
    as in a document. A definition that was changed, such as an index or a validator, may hold constants.
    """
    if not documents.covers:
        return NOTHING
    children = {
        **dict.fromkeys((b"fullDocument", b"fullDocumentBeforeChange", b"documentKey"), documents),
        b"updateDescription": PathNode(documents.path, {b"updatedFields": documents}),
        **dict.fromkeys((b"operationDescription", b"stateBeforeChange", b"rawUpdateDescription"), OPAQUE),
    }
    return PathNode(documents.path, children)
