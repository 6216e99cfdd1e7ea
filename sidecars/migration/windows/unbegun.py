"""Whether the move of a class to its pending version has begun, or somebody is about to begin it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from bson.codec_options import CodecOptions
from pymongo.client_session import ClientSession
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.frontier.frontier import AFTER_ALL, Window
from sealwire.keys.frontier.record import DATABASE, FRONTIERS, frontier_document, parse_frontier
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass, ValueType
from sealwire.sidecars.direct import Client
from sealwire.sidecars.migration.errors import MigrationReason, MigrationRefused
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.planning import collated, split_by, unfit
from sealwire.sidecars.migration.windows.frontiers import Documents
from sealwire.sidecars.migration.windows.order import ClassPaths

_DECODED = CodecOptions[dict[str, Any]]()


# ---------------------------- what keeps a deterministic class from moving, in the collections that have it


def refuse_class_obstacles(
    client: Client, places: Iterable[ClassPaths], direction: Direction, field_class: FieldClass
) -> None:
    """See that a class can move in all its collections.

    Raises:  MigrationRefused OBSTACLE with the first one, and what the driver raises
    """
    for where in places:
        why = unfit(client, where.namespace)
        has_strings = field_class.value_type is ValueType.STRING or field_class.per is not None
        if not why and direction in (Direction.ENCRYPT, Direction.DECRYPT) and has_strings:
            why = collated(client, where.namespace)
        why = why or split_by(client, where.namespace, where.paths)
        if why:
            hint = "sealwire migrate plan shows every collection"
            raise MigrationRefused(MigrationReason.OBSTACLE, f"{where.namespace}: {why}", hint)


def pending_version(keyring: Keyring, class_name: str) -> int:
    """The version that a class is to move to. Raises KeySettingError KEY_STATE; UnknownKey CLASS_UNKNOWN."""
    pending = keyring.pending_cipher_for(class_name)
    if pending is None:
        keyring.cipher_for(class_name)
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"class {class_name} has no pending key",
            "sealwire keys list shows the versions and their states",
        )
    return pending.key_version


def require_unbegun(
    client: Client, keyring: Keyring, class_name: str, version: int, but: str = ""
) -> Mapping[str, Any] | None:
    """See that no frontier of a move to `version` stands on the server, and no job for it that is not over.

    `but` is the name of a job that may be there. Returns the frontier's document, as it is.
    Raises:  MigrationRefused OTHER_MOVE; JobDamaged; what the driver raises
    Cost:    two queries
    """
    for job in Ledger(client, keyring).jobs():
        is_ours = job.name == but
        if not is_ours and not job.standing.is_over and any(m.class_name == class_name for m in job.moves):
            text = f"job {job.name} moves class {class_name}, and is not over"
            hint = f"sealwire migrate abort {job.name}, if it has moved nothing yet"
            raise MigrationRefused(MigrationReason.OTHER_MOVE, text, hint)
    found = _frontiers(client).find_one({"_id": keyring.cipher_for(class_name).class_id})
    new = None if found is None else found.get("new")
    # what Sealwire did not write there may be the frontier that somebody damaged
    if found is not None and (not isinstance(new, int) or isinstance(new, bool) or new >= version):
        text = f"the move of class {class_name} to version {version} has begun"
        hint = "let it end: sealwire migrate status shows the job; what has moved needs the key"
        raise MigrationRefused(MigrationReason.OTHER_MOVE, text, hint)
    return found


class Standstill:
    """That a class does not move, and reads that miss nothing which was written before."""

    def __init__(
        self, client: Client, session: ClientSession, keyring: Keyring, class_name: str, job: str = ""
    ) -> None:
        """`session` is causally consistent, and the reads' own. `job` is the one at work, if there is one."""
        self._client = client
        self._session = session
        self._keyring = keyring
        self._class_name = class_name
        self._job = job

    def require(self) -> Mapping[str, Any] | None:
        """As `require_unbegun`, for a move away from the active version."""
        active = self._keyring.cipher_for(self._class_name)
        return require_unbegun(
            self._client, self._keyring, self._class_name, active.key_version + 1, self._job
        )

    def confirm(self) -> None:
        """The same, behind a write that a majority has: what was written before is seen by later reads."""
        class_id = self._keyring.cipher_for(self._class_name).class_id
        # proxies take `confirmed` for the time until which values moved, and only a job moves some
        touch = {"$currentDate": {"confirmed" if self._job else "swept": True}}
        _frontiers(self._client).update_one({"_id": class_id}, touch, session=self._session)
        self.require()

    def end_frontier(self) -> None:
        """Close the frontier of a move to the active version that is not over: a restore has put it back.

        All values have the active version's form by now, so it says nothing any more; the next rotation would
        stop at it. Raises DamagedFile where it was not written with this keyring.
        """
        found, active = self.require(), self._keyring.cipher_for(self._class_name)
        if found is None or found.get("new") != active.key_version:
            return
        frontier = parse_frontier(found, active)
        if not frontier.is_over:
            over = replace(
                frontier,
                generation=frontier.generation + 1,
                window=Window(AFTER_ALL, AFTER_ALL),
                is_moving=False,
            )
            mine = {"_id": frontier.class_id, "generation": frontier.generation}
            _frontiers(self._client).replace_one(mine, frontier_document(over, active), session=self._session)


def _frontiers(client: Client) -> Documents:
    collection = client.get_database(DATABASE).get_collection(
        FRONTIERS,
        codec_options=_DECODED,
        read_concern=ReadConcern("majority"),
        write_concern=WriteConcern("majority"),
    )
    return cast(Documents, collection)
