"""The states of a session, the events that change them, and the one table of what leads where.

A session has two states at the same time, as h11 has one for each peer. The first says whose messages are
handled. The second says how long the session stays. Each event moves one of them; ENDED moves both. An event
that the table does not have in a state is a bug, and an error.

The picture in docs/ENCRYPTION_ARCHITECTURE.md is generated from the table.
"""

from enum import Enum
from typing import Final, NamedTuple, final


class State(Enum):
    """A state of a session. The first five are about its messages, the next two about its stay."""

    OPEN = "open"
    """The messages of both peers are handled."""
    LOOKING_UP = "looking-up"
    """The server is being asked what a name is, or who is there. The client's messages wait."""
    WAITING_FOR_KEYS = "waiting-for-keys"
    """A reply needs a key that the keyring does not have. All messages wait."""
    WAITING_FOR_BOTH = "waiting-for-both"
    """A reply needs a key, and a question is open as well. All messages wait."""
    WAITING_FOR_WINDOW = "waiting-for-window"
    """A command uses values that move at this moment. The client's messages wait."""
    STAYING = "staying"
    """The session lasts as long as its peers do."""
    DRAINING = "draining"
    """The session ends as soon as no command awaits its reply."""
    CLOSED = "closed"
    """A Close was given. Whatever still comes is ignored."""


class Event(Enum):
    """What changes a state."""

    ASKED = "asked"
    """The server was asked what a name is, or who is there."""
    ANSWERED = "answered"
    """It has answered, or said that it will not."""
    KEY_MISSED = "key missed"
    """The keyring has to be loaded again before a reply can be opened."""
    KEYS_LOADED = "keys loaded"
    """The keyring was loaded again, or could not be."""
    WINDOW_MET = "window met"
    """A command has to wait for values that move."""
    FRONTIER_MOVED = "frontier moved"
    """How far the move has come is known anew, or the command has waited long enough."""
    DRAIN = "drain"
    """The process is about to stop."""
    ENDED = "ended"
    """A peer is gone or broke the protocol, or the session has no reason to go on."""


class Transition(NamedTuple):
    """One row of the table."""

    before: State
    event: Event
    after: State


TRANSITIONS: Final = (
    Transition(State.OPEN, Event.ASKED, State.LOOKING_UP),
    # a user who may not see definitions is the reason for a second question
    Transition(State.LOOKING_UP, Event.ASKED, State.LOOKING_UP),
    Transition(State.LOOKING_UP, Event.ANSWERED, State.OPEN),
    Transition(State.OPEN, Event.KEY_MISSED, State.WAITING_FOR_KEYS),
    Transition(State.WAITING_FOR_KEYS, Event.KEYS_LOADED, State.OPEN),
    # a reply to an earlier command may come while the question is open
    Transition(State.LOOKING_UP, Event.KEY_MISSED, State.WAITING_FOR_BOTH),
    Transition(State.WAITING_FOR_BOTH, Event.KEYS_LOADED, State.LOOKING_UP),
    Transition(State.OPEN, Event.WINDOW_MET, State.WAITING_FOR_WINDOW),
    Transition(State.WAITING_FOR_WINDOW, Event.FRONTIER_MOVED, State.OPEN),
    # the command waits on among the messages that are held, and is tried again when the key is there
    Transition(State.WAITING_FOR_WINDOW, Event.KEY_MISSED, State.WAITING_FOR_KEYS),
    Transition(State.STAYING, Event.DRAIN, State.DRAINING),
    Transition(State.DRAINING, Event.DRAIN, State.DRAINING),
    *(Transition(state, Event.ENDED, State.CLOSED) for state in State if state is not State.CLOSED),
)

_AFTER: Final = {(before, event): after for before, event, after in TRANSITIONS}


class IllegalTransition(Exception):
    """An event came in a state in which it cannot happen: a bug of the session or of its shell."""

    def __init__(self, messages: State, stay: State, event: Event) -> None:
        super().__init__(f"'{event.value}' while {messages.value} and {stay.value}")
        self.event = event


@final
class States:
    """The two states of one session. `happened` is the only way to change them."""

    __slots__ = ("messages", "stay")

    def __init__(self) -> None:
        self.messages = State.OPEN
        """Whose messages are handled."""
        self.stay = State.STAYING
        """How long the session stays."""

    def happened(self, event: Event) -> None:
        """Move by the table. Raises IllegalTransition, and then nothing has moved."""
        messages, stay = _AFTER.get((self.messages, event)), _AFTER.get((self.stay, event))
        if messages is None and stay is None:
            raise IllegalTransition(self.messages, self.stay, event)
        self.messages = messages or self.messages
        self.stay = stay or self.stay
