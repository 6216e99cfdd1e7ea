"""Persons who were erased and are there again: after a restore, or because somebody wrote them anew.

Receipts know them by pseudonym only, so every identifier that is stored is opened and hashed.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sealwire.policies.file.schema import PolicySet, Subjects, leaves
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import RAW, Client
from sealwire.sidecars.erasure.stored_forms import Persons


@dataclass(frozen=True, slots=True)
class Returned:
    """What a look at all identifiers has found."""

    documents: dict[str, Counter[str]]
    """How many documents have an identifier of those that were wanted, by pseudonym and collection."""
    unread: int
    """Documents with an identifier that did not open, and whose key was not destroyed: nobody knows whose."""


def find_returned(
    client: Client,
    policies: PolicySet,
    subjects: Subjects,
    persons: Persons,
    wanted: Collection[str],
    tell: Callable[[int], None],
) -> Returned:
    """Look for these pseudonyms in all collections; `tell` is called with the number of documents read.

    Raises BsonError, and what the driver raises. Cost: reads every document that has an identifier, by its
    covered fields alone; 15 us a value.
    """
    found: dict[str, Counter[str]] = {}
    unread = 0
    for place in covered_collections(client, policies):
        nodes = [
            node.path
            for node in leaves(place.tree)
            if node.leaf is not None and node.leaf.name == subjects.class_name
        ]
        if not nodes or not place.exists or place.kind == "view":
            continue
        database, _, name = place.namespace.partition(".")
        collection = client.get_database(database, RAW).get_collection(name)
        with collection.find({}, projection=dict.fromkeys(nodes, 1)) as cursor:
            for document in cursor:
                raw, is_read = bytes(document.raw), True
                theirs: set[str] = set()
                walk = StoredValues(raw, place.tree)
                while walk.next_value():
                    if walk.leaf.name != subjects.class_name:
                        continue
                    value = walk.kind, raw[walk.value : walk.end]
                    pseudonyms = persons.pseudonyms(*value)
                    theirs.update(pseudonyms)
                    if not pseudonyms and not persons.is_gone(*value):
                        is_read = False
                unread += not is_read
                for pseudonym in theirs.intersection(wanted):
                    found.setdefault(pseudonym, Counter())[place.namespace] += 1
                tell(1)
    return Returned(found, unread)
