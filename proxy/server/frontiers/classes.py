"""The classes that move, as this process follows them: which are known or lost, and what is acknowledged."""

import logging
from collections.abc import Collection, Mapping
from typing import final

from sealwire.keys.frontier.frontier import Frontier, Uses
from sealwire.proxy.server.frontiers.reading import HINTS, Loss
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.session.moving.moves import Moves

_log = logging.getLogger("sealwire.server")


@final
class FollowedClasses:
    """Changes one `Moves`, and remembers why. All methods are for the event loop's thread."""

    def __init__(self, moves: Moves) -> None:
        self._moves = moves
        self.seen: dict[tuple[int, int], int] = {}
        """By class id and new version: the highest generation that was read."""
        self.lost: dict[str, Loss] = {}
        self.withheld: frozenset[str] = frozenset()
        """Those of which no window may move as long as this process has its policy."""
        self.has_changed = False
        """Whether sessions have to be told. Whoever tells them takes it back."""
        self.has_begun = False
        """Whether a class is followed that was not before, which sessions have to be told first."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those that move, known or lost."""
        return tuple(self._moves.classes)

    @property
    def followed(self) -> dict[str, Uses]:
        """Those that are known."""
        return {name: uses for name, uses in self._moves.classes.items() if uses is not None}

    @property
    def is_idle(self) -> bool:
        """Whether nothing can be under way that relies on a lease."""
        classes = self._moves.classes.values()
        return self._moves.is_idle and all(uses is not None and uses.is_idle for uses in classes)

    @property
    def is_moving(self) -> bool:
        """Whether data of a class moves now, as far as is known."""
        return any(
            not uses.frontier.is_over and (uses.frontier.class_id, uses.frontier.new_version) in self.seen
            for uses in self.followed.values()
        )

    def acknowledged(self, before: Mapping[int, int], unready: Collection[str] = ()) -> dict[int, int]:
        """By class id, what may be told: nothing of those that are `unready`.

        Where something meets a window it stays as it was `before`.
        """
        told: dict[int, int] = {}
        for name, uses in self.followed.items():
            if name in self.withheld or name in unready:
                continue
            class_id = uses.frontier.class_id
            generation = uses.acknowledged()
            if generation is not None:
                told[class_id] = generation
            elif class_id in before:
                told[class_id] = before[class_id]
        return told

    def follow(self, name: str, frontier: Frontier, *, is_written: bool) -> None:
        """`frontier` counts; `is_written`: a document says so."""
        if is_written:
            self.seen[frontier.class_id, frontier.new_version] = frontier.generation
        known = self._moves.classes.get(name)
        if known is None or known.frontier.generation < frontier.generation:
            self.has_changed = True
        self.has_begun |= known is None or frontier.walks_more_than(known.frontier)
        self._moves.follow(name, frontier)
        if self.lost.pop(name, Loss.NO_LEASE) is not Loss.NO_LEASE:
            note(_log, logging.INFO, "class is followed again", class_name=name)

    def endangers(self, losses: Mapping[str, Loss]) -> bool:
        """Whether losing these takes known uses with it: a cursor or transaction may use several classes."""
        is_new = any(self._moves.classes.get(name) is not None or name not in self.names for name in losses)
        return is_new and bool(self.followed)

    def lose(self, name: str, loss: Loss) -> None:
        """Its commands are refused. Logged when the reason is a new one."""
        if name not in self._moves.classes or self._moves.classes[name] is not None:
            self._moves.lose(name)
            self.has_changed = True
        if loss is Loss.NO_LEASE:
            self.lost.setdefault(name, loss)  # why it was lost before says more
        elif self.lost.get(name) is not loss:
            self.lost[name] = loss
            fields = {"class_name": name, "reason": loss.value, "hint": HINTS[loss]}
            note(_log, logging.ERROR, "class is refused", **fields)

    def lose_all(self) -> None:
        """There is no lease."""
        for name in self.names:
            self.lose(name, Loss.NO_LEASE)
        self._moves.lapse()

    def forget(self, name: str) -> None:
        """It does not move any more."""
        self._moves.forget(name)
        self.lost.pop(name, None)
        self.has_changed = True

    def forget_all_but(self, names: Collection[str]) -> None:
        """The others do not move."""
        for name in self.names:
            if name not in names:
                self.forget(name)
