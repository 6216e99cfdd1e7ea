"""Trees after a stage has put fields in place of others, taken some away, or made new documents."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.constants import is_of_every_class
from sealwire.policies.expressions.interpreter import infer
from sealwire.policies.file.ranges import NUMERIC
from sealwire.policies.file.schema import NOTHING, PathNode, bounded, follow, is_transparent
from sealwire.policies.planning.arguments import REFERENCE, document_of, first_name, is_document_literal
from sealwire.policies.planning.numbers import FLAGS
from sealwire.policies.planning.trees import Work, beside, doubtful
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements

Assignment = tuple[bytes, PathNode | None]
"""A path, and the tree of the value that is put there; None when the stage leaves no value."""


@dataclass(slots=True)
class _Branch:
    """What a stage assigns at and below one name."""

    value: PathNode | None = None
    is_end: bool = False
    puts: bool = False
    """Whether any of it is a value other than null or nothing."""
    below: dict[bytes, "_Branch"] = field(default_factory=dict)


def assigned_value(walk: Walk, element: Element) -> PathNode | None:
    """What a stage puts at a path of documents with the walk's tree, for `assign_paths`.

    None where that is no value, or one that is stored in clear whatever the class. Raises Refusal, BsonError.
    """
    value = infer(walk, element)
    return None if is_of_every_class(walk.buf, element) else value


def assign_path(node: PathNode, path: bytes, value: PathNode, work: Work) -> PathNode:
    """The tree after a stage has set the field at `path` to `value`; see `assign_paths`."""
    return assign_paths(node, [(path, value)], work)


def drop_paths(node: PathNode, paths: Iterable[bytes], work: Work) -> PathNode:
    """The tree after a stage has taken these fields away; see `assign_paths`."""
    return _changed(node, _branches(node, [(path, None) for path in paths], is_putting=False), work)


def assign_paths(node: PathNode, assignments: Iterable[Assignment], work: Work) -> PathNode:
    """The tree after one stage has set all these fields.

    A path below a covered field is refused: in plaintext there may be a document whose other parts stay, and
    what is put there in clear would lie where the policy has ciphertext. So is a path that contains another.
    Raises Refusal. Cost: O(children + parts of the paths).
    """
    return _changed(node, _branches(node, assignments, is_putting=True), work)


def _branches(node: PathNode, assignments: Iterable[Assignment], *, is_putting: bool) -> _Branch:
    root = _Branch()
    for path, value in assignments:
        covered = follow(node, path)
        parts = path.split(b".")
        if len(parts) > MAX_DEPTH:
            raise Refusal(Reason.SHAPE, rule="nesting")
        if any(not part or (part.startswith(b"$") and part not in REFERENCE) for part in parts):
            raise Refusal(Reason.SHAPE, path=node.path, rule="a path that no field can have")
        if is_putting and covered is not None and any(part.isdigit() for part in parts):
            # here a number is a field's name and in a filter also an index: the tree cannot tell them apart
            raise Refusal(Reason.STAGE, path=covered.path, rule="a number in an assigned path")
        branch = root
        for part in parts:
            if branch.is_end:
                raise Refusal(Reason.SHAPE, path=node.path, rule="a path below another of the same stage")
            branch = branch.below.setdefault(part, _Branch())
            branch.puts = branch.puts or value is not None
        if branch.is_end or branch.below:
            raise Refusal(Reason.SHAPE, path=node.path, rule="a path above another of the same stage")
        branch.is_end, branch.value = True, value
    return root


def _changed(node: PathNode, branch: _Branch, work: Work) -> PathNode:
    """The tree of a document after its fields were set."""
    work.visit(1 + len(node.children))
    node = _mixed_below(node, branch)
    children = dict(node.children)
    is_changed = False
    for name, below in branch.below.items():
        child = node.child(name)
        left = _assigned(child, below, work)
        if left is None and node.opaque and below.value is not None:
            left = NOTHING  # of the other fields nothing is known; of this one it is
        if left is child:
            continue
        is_changed = True
        if left is None:
            del children[name]
        else:
            children[name] = left
    return bounded(node.changed(children)) if is_changed else node


def _mixed_below(node: PathNode, branch: _Branch) -> PathNode:
    """The same tree, where nothing is pure into which a value is put. Paths lead in it where they led."""
    mixed: dict[bytes, PathNode] = {}
    for name, below in branch.below.items():
        child = node.child(name)
        if child is not None and below.puts and not below.is_end:
            changed = _mixed_below(child.mixed(), below)
            if changed is not child:
                mixed[name] = changed
    return replace(node, children={**node.children, **mixed}) if mixed else node


def _assigned(child: PathNode | None, branch: _Branch, work: Work) -> PathNode | None:
    """What is at a name of the document after the assignments at and below it; None when it is in clear."""
    if branch.is_end:
        if branch.value is None:
            return child and child.as_absent()
        value = branch.value
        if child is not None and (child.children or (child.opaque and value.children)):
            # of what the sub-document held, nobody knows whether the new one has it
            value = replaced(child, value, work)
        return value if value.covers else None
    covered = _covered(branch)
    if covered is not None:
        # below a dotted path it is known only that something is covered, and by its names where that is
        return PathNode(covered.path, opaque=True, within=_opened(child, branch, work))
    return child and _without(child, branch, work)


def _opened(child: PathNode | None, branch: _Branch, work: Work) -> PathNode | None:
    """The tree for opening of a sub-document after the assignments below it; None when it is not known.

    Raises Refusal(WORK).
    """
    work.visit(1 + (0 if child is None else len(child.children)))
    if child is not None and child.absent:
        child = None
    if (child is not None and child.opaque) or any(name.isdigit() for name in branch.below):
        return None
    children = {} if child is None else dict(child.children)
    for name, below in branch.below.items():
        there = children.pop(name, None)
        value = below.value if below.is_end else _opened(there, below, work)
        if value is not None:
            children[name] = value
    # what is not known may be an array, in which a server may leave something as it is stored
    return PathNode("" if child is None else child.path, children, single=child is None or child.single)


def _covered(branch: _Branch) -> PathNode | None:
    """The first covered value that is assigned at or below a name."""
    if branch.is_end:
        return branch.value if branch.value is not None and branch.value.covers else None
    return next((found for found in map(_covered, branch.below.values()) if found is not None), None)


def _without(node: PathNode, branch: _Branch, work: Work) -> PathNode:
    """The tree of a sub-document after values in clear were put into it, or fields taken away."""
    work.visit(1 + len(node.children))
    children = dict(node.children)
    if node.is_gone:
        # what is put into it brings it back, but nothing of what it held
        children = {name: child.as_absent() for name, child in children.items()}
        node = replace(node, children=children, absent=False)
    is_changed = False
    for name, below in branch.below.items():
        child = node.child(name)
        if child is None:
            continue
        is_changed = True
        if not below.is_end:
            children[name] = _without(child, below, work)
        elif below.value is None:
            children[name] = child.as_absent()
        else:
            del children[name]
    return node.changed(children) if is_changed else node


@dataclass(frozen=True, slots=True)
class FieldNames:
    """The field names that the documents of a stage, or the values of an expression, are known to have."""

    names: Mapping[bytes, "FieldNames | None"]
    """With the names of what is below, where that is known as well."""
    others: bool = False
    """Whether there may be fields of other names."""


_ANY = FieldNames({}, others=True)


def names_of(names: Iterable[bytes]) -> FieldNames:
    """Documents with these fields and no others."""
    return FieldNames(dict.fromkeys(names))


def written_names(buf: bytes, element: Element) -> FieldNames:
    """The names that an expression gives to what it yields: those of the documents that are written out.

    The expression has been planned before, so it is well-formed. Cost: O(elements).
    """
    if element.kind != kinds.OBJECT:
        return _ANY
    if is_document_literal(buf, element):
        fields = elements(buf, element.value)
        return FieldNames(
            {
                part.name: written_names(buf, part) if is_document_literal(buf, part) else None
                for part in fields
            }
        )
    operator = next(elements(buf, element.value))
    if operator.name != b"$mergeObjects" or operator.kind != kinds.ARRAY:
        return _ANY
    merged: dict[bytes, FieldNames | None] = {}
    others = False
    for part in elements(buf, operator.value):
        if part.kind != kinds.NULL:
            found = written_names(buf, part)
            merged.update(found.names)
            others = others or found.others
    return FieldNames(merged, others)


def replaced(old: PathNode, new: PathNode, work: Work, known: FieldNames = _ANY) -> PathNode:
    """The tree `new` of documents that a stage has made in place of those with the tree `old`.

    A constant that is compared with a covered name of the old ones may be meant for what was there. Where the
    new ones have no such field it is covered, and matches nothing; where they may have one in clear it is
    refused; where they are known to have one, the name means that. Raises Refusal(WORK).
    """
    if not old.covers or new.leaf is not None or new.opaque:
        return new
    work.visit(1 + len(old.children) + len(new.children) + len(known.names))
    if old.opaque:
        # any name may be one that was covered, except for those that are known now
        named = {name: new.children.get(name, NOTHING) for name in known.names}
        return PathNode(old.path, {**new.children, **named}, opaque=True, absent=True)
    is_numbered = any(map(is_transparent, known.names))
    children = dict(new.children)
    for name, child in old.children.items():
        there = new.children.get(name)
        left = there
        if name in known.names:
            below = known.names[name]
            if below is not None and child.leaf is None and not child.opaque:
                left = replaced(child, there or NOTHING, work, below)
        elif known.others:
            left = beside(there or NOTHING, child, work)
        elif is_numbered:
            # behind a number in a path may be a field of this name
            left = doubtful(child.path)
        else:
            left = child.as_absent()
        if left is not None and left.covers:
            children[name] = left
    return bounded(replace(new, path=new.path or old.path, children=children))


# -------------------------------------------------------------- what a projection says, field by field

# What nested names may amount to: joined to every field inside, a longer one would cost its square.
_MAX_PREFIX: Final = 1001


def computes(walk: Walk, argument: Element) -> bool:
    """Whether a projection that was planned has expressions, and so puts values where it names paths."""
    return any(
        element.kind not in FLAGS and not is_array_operator(walk.buf, element)
        for _, element, _ in projected_fields(walk, document_of(argument, argument))
    )


def projected_fields(walk: Walk, start: int, prefix: bytes = b"") -> Iterator[tuple[Walk, Element, bytes]]:
    """What a projection says, field by field: the walk among them, the value, and the path it is for.

    A document of names is another way to write `{"path.name": value}`; an empty one is a value.
    Raises Refusal(SHAPE) where names amount to no path any more.
    """
    if len(prefix) > _MAX_PREFIX:
        raise Refusal(Reason.SHAPE, rule="nesting")
    inner = walk.inside(start)
    for element in elements(walk.buf, start):
        path = prefix + element.name
        if is_document_literal(walk.buf, element) and first_name(walk.buf, element.value):
            yield from projected_fields(inner, element.value, path + b".")
        else:
            yield inner, element, path


def is_array_operator(buf: bytes, element: Element) -> bool:
    """`$slice` with numbers is a projection operator; with an array to slice it is an expression."""
    if element.kind != kinds.OBJECT:
        return False
    operator = next(elements(buf, element.value), None)
    if operator is None or operator.name not in (b"$slice", b"$elemMatch"):
        return False
    if operator.name == b"$slice" and operator.kind == kinds.ARRAY:
        first = next(elements(buf, operator.value), None)
        return first is not None and first.kind in NUMERIC
    return True
