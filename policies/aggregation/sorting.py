"""Sort specifications: ciphertext has no order, so no covered path may take part in one."""

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow
from sealwire.policies.planning.arguments import document_of, only_element
from sealwire.policies.planning.numbers import whole_number
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements


def plan_sort(walk: Walk, specification: Element) -> None:
    """Refuse a sort specification that orders by a covered path. Raises Refusal(SORT), BsonError.

    A covered path that a stage has taken away has no order, and takes a direction and nothing else.
    Directions of other paths are the server's affair: none of them is a value of a document.
    """
    for key in elements(walk.buf, document_of(specification, specification)):
        covered = None if key.name == b"$natural" else follow(walk.node, key.name)
        if covered is not None and not covered.absent:
            raise Refusal(Reason.SORT, path=covered.path, rule="sort")
        if key.kind in (kinds.OBJECT, kinds.ARRAY):
            _check_meta(walk.buf, key)
        elif covered is not None and whole_number(walk.buf, key) not in (1, -1):
            raise Refusal(Reason.SHAPE, path=covered.path, rule="a direction that is neither 1 nor -1")


def _check_meta(buf: bytes, key: Element) -> None:
    """The one document that may stand for a direction is `{$meta: "textScore"}`, which names no field."""
    meta = only_element(buf, document_of(key, key), "a sort key")
    if meta.name != b"$meta" or meta.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule="a sort key")
