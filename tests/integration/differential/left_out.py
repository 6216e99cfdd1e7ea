"""Writes of which Sealwire leaves statements out: what a plain server is given in their place.

The plain server gets the command without these statements, and its answer the places that the client knows.
"""

from bisect import bisect_right
from collections.abc import Sequence

from tests.integration.differential.values import Document

_STATEMENTS = {"insert": "documents", "update": "updates", "delete": "deletes", "bulkWrite": "ops"}


def shortened(body: Document, places: Sequence[int]) -> Document:
    """The command without the statements at these places, and when it is ordered without all that follow."""
    name = _STATEMENTS[next(iter(body))]
    statements = body[name]
    last = places[0] if body.get("ordered", True) else len(statements)
    left = [each for place, each in enumerate(statements[:last]) if place not in places]
    return body | {name: left}


def is_nothing_left(body: Document, places: Sequence[int]) -> bool:
    """Whether the server gets nothing of the command."""
    return not shortened(body, places)[_STATEMENTS[next(iter(body))]]


def moved(item: Document, name: str, places: Sequence[int]) -> Document:
    """One item of a reply to the shortened command, with the place that the client knows."""
    shifts = [place - before for before, place in enumerate(places)]
    return item | {name: item[name] + bisect_right(shifts, item[name])}
