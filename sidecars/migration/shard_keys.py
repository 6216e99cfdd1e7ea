"""Whether values at covered paths decide on which shard a document lies: then they cannot be moved."""

from collections.abc import Iterable, Mapping
from typing import Any

from bson.codec_options import CodecOptions
from pymongo.errors import OperationFailure

from sealwire.sidecars.direct import Client

_UNAUTHORIZED = 13
_DECODED = CodecOptions[dict[str, Any]]()


def split_by(client: Client, namespace: str, paths: Iterable[str]) -> str:
    """Why values at `paths` of a collection cannot change; empty where its shard key has none of them.

    Another form of a value is another value of the shard key, and would send the document elsewhere: mongos
    takes that only in an update with the whole old key, one document at a time.

    Raises:  what the driver raises; OperationFailure where a mongos denies reading its `config.collections`
    Cost:    one question; two before a mongos
    """
    if client.get_database("admin", _DECODED).command("hello").get("msg") != "isdbgrid":
        return ""
    collections = client.get_database("config", _DECODED).get_collection("collections")
    found: Mapping[str, Any] = collections.find_one({"_id": namespace}) or {}
    key = [] if found.get("dropped") is True else list(found.get("key") or {})
    for path in paths:
        if any(_meet(path, field) for field in key):
            return f"its shard key has {path}: reshard the collection by another field first"
    return ""


def foreseen_split(client: Client, namespace: str, paths: Iterable[str]) -> str:
    """As `split_by`, for a plan: where this user may not ask a mongos, that is said. Raises as the driver."""
    try:
        return split_by(client, namespace, paths)
    except OperationFailure as failure:
        if failure.code != _UNAUTHORIZED:
            raise
    return "its shard key is not known: this user may not read config.collections"


def _meet(path: str, field: str) -> bool:
    """Whether one of them is, or holds, the other."""
    return path == field or path.startswith(f"{field}.") or field.startswith(f"{path}.")
