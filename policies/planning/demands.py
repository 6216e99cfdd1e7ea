"""What a command demands of its client's rights, found where the planner finds what it does.

Without roles in the policy a draft has no rights to ask for, and nothing is looked at. Presence is no value:
`$exists`, null and the lengths of arrays demand nothing. What is shown of values is decided by their
envelopes, in replies.
"""

from collections.abc import Callable, Iterator
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.draft import Draft
from sealwire.policies.planning.trees import each_node
from sealwire.policies.roles.role import ClassAccess, Level, Rights


def demand_filter(draft: Draft, node: PathNode) -> None:
    """Values at or below a node are compared. Raises Refusal(ROLE, WORK).

    Cost: O(different nodes there), once for the same node.
    """
    rights = draft.rights
    if rights is not None and not _may(draft, rights, node, "filter"):
        raise Refusal(Reason.ROLE, path=node.path, rule="filtering")


def demand_result(draft: Draft, node: PathNode) -> None:
    """An expression compares values at or below a node. In a filter its result chooses documents.

    Elsewhere the client is shown a result for each document, which takes the right to read the values in
    clear. Raises Refusal(ROLE). Cost: as above.
    """
    rights = draft.rights
    if rights is None or draft.filters:
        return
    if not _may(draft, rights, node, "read"):
        raise Refusal(Reason.ROLE, path=node.path, rule="the result of a comparison")


def demand_write(draft: Draft, node: PathNode) -> None:
    """Values at or below a node are written, replaced or taken away. Raises Refusal(ROLE). Cost: as above."""
    rights = draft.rights
    if rights is not None and not _may(draft, rights, node, "write"):
        raise Refusal(Reason.ROLE, path=node.path, rule="writing")


def demand_delete(draft: Draft, tree: PathNode) -> None:
    """Documents with these covered paths are deleted, and their values with them. Raises Refusal(ROLE)."""
    rights = draft.rights
    if rights is not None and not rights.deletes and not _may(draft, rights, tree, "write"):
        raise Refusal(Reason.ROLE, path=tree.path or draft.namespace, rule="deleting")


def demand_definition(draft: Draft, tree: PathNode) -> None:
    """An index or a validator over documents with these covered paths is taken away or changed.

    Either may be what keeps values unique, or plaintext out: whoever may write or delete them has other ways
    to the same end. Raises Refusal(ROLE).
    """
    rights = draft.rights
    if rights is not None and not rights.deletes and not _may(draft, rights, tree, "write"):
        raise Refusal(Reason.ROLE, path=tree.path or draft.namespace, rule="changing what is defined")


def demand_role(draft: Draft) -> None:
    """A protected collection is reached. Raises Refusal(ROLE) for a client without a role."""
    rights = draft.rights
    if rights is not None and rights.is_empty:
        raise Refusal(Reason.ROLE, path=draft.namespace, rule=f"{draft.command} without {rights.lacks}")


_RIGHTS: Final[dict[str, Callable[[ClassAccess], bool]]] = {
    "read": lambda access: access.read.level is Level.CLEAR,
    "write": lambda access: access.writes,
    "filter": lambda access: access.filters,
}


def _may(draft: Draft, rights: Rights, node: PathNode, what: str) -> bool:
    """Whether the client may do so with the values of all classes at and below a node."""
    known = draft.work.known(what, node, node)
    if known is None:
        known = all(map(_RIGHTS[what], _accesses_at(draft, rights, node)))
        draft.work.learn(what, node, node, known)
    return known is True


def _accesses_at(draft: Draft, rights: Rights, node: PathNode) -> Iterator[ClassAccess]:
    """What may be done with the classes at and below a node, behind numbers too.

    Where nobody knows which ones are there, with every class.
    """
    for each in each_node(node, draft.work, behind=True):
        if each.leaf is not None:
            yield rights.access(each.leaf.name)
        elif each.opaque:
            yield from rights.every_access
