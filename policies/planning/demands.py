"""What a command demands of its client's rights, found where the planner finds what it does.

Without roles in the policy a draft has no rights to ask for, and nothing is looked at. Presence is no value:
`$exists`, null and the lengths of arrays demand nothing. What is shown of values is decided by their
envelopes, in replies.
"""

from collections.abc import Iterator

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.draft import Draft
from sealwire.policies.roles.access import ClassAccess, Level
from sealwire.policies.roles.rights import Rights


def demand_filter(draft: Draft, node: PathNode) -> None:
    """Values at or below a node are compared. Raises Refusal(ROLE). Cost: O(the node's size)."""
    rights = draft.rights
    if rights is not None and not all(each.filters for each in _accesses_at(rights, node)):
        raise Refusal(Reason.ROLE, path=node.path, rule="filtering")


def demand_result(draft: Draft, node: PathNode) -> None:
    """An expression compares values at or below a node. In a filter its result chooses documents.

    Elsewhere the client is shown a result for each document, which takes the right to read the values in
    clear. Raises Refusal(ROLE). Cost: O(the node's size).
    """
    rights = draft.rights
    if rights is None or draft.filters:
        return
    if not all(each.read.level is Level.CLEAR for each in _accesses_at(rights, node)):
        raise Refusal(Reason.ROLE, path=node.path, rule="the result of a comparison")


def demand_write(draft: Draft, node: PathNode) -> None:
    """Values at or below a node are written, replaced or taken away. Raises Refusal(ROLE). Cost: as above."""
    rights = draft.rights
    if rights is not None and not _may_write(rights, node):
        raise Refusal(Reason.ROLE, path=node.path, rule="writing")


def demand_delete(draft: Draft, tree: PathNode) -> None:
    """Documents with these covered paths are deleted, and their values with them. Raises Refusal(ROLE)."""
    rights = draft.rights
    if rights is not None and not rights.deletes and not _may_write(rights, tree):
        raise Refusal(Reason.ROLE, path=tree.path or draft.namespace, rule="deleting")


def demand_definition(draft: Draft, tree: PathNode) -> None:
    """An index or a validator over documents with these covered paths is taken away or changed.

    Either may be what keeps values unique, or plaintext out: whoever may write or delete them has other ways
    to the same end. Raises Refusal(ROLE).
    """
    rights = draft.rights
    if rights is not None and not rights.deletes and not _may_write(rights, tree):
        raise Refusal(Reason.ROLE, path=tree.path or draft.namespace, rule="changing what is defined")


def demand_role(draft: Draft) -> None:
    """A protected collection is reached. Raises Refusal(ROLE) for a client without a role."""
    rights = draft.rights
    if rights is not None and rights.is_empty:
        raise Refusal(Reason.ROLE, path=draft.namespace, rule=f"{draft.command} without {rights.lacks}")


def _may_write(rights: Rights, node: PathNode) -> bool:
    return all(each.writes for each in _accesses_at(rights, node))


def _accesses_at(rights: Rights, node: PathNode) -> Iterator[ClassAccess]:
    """What may be done with the classes at and below a node, behind numbers too.

    Where nobody knows which ones are there, with every class.

    A pipeline can make a tree in which a node stands many times: each is looked at once.
    """
    seen: set[int] = set()
    left = [node]
    while left:
        each = left.pop()
        if id(each) in seen or not each.covers:
            continue
        seen.add(id(each))
        if each.leaf is not None:
            yield rights.access(each.leaf.name)
        elif each.opaque:
            yield from rights.every_access
        left.extend(each.children.values())
        if each.behind_number is not None:
            left.append(each.behind_number)
