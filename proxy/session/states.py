"""The states of a session, the events that change them, and the one table of what leads where.

A session has several states at the same time, one for each of its PARTS. They say whose messages are handled,
whether a key is awaited, what the command at hand has met, who has logged in, what came of a login by
certificate, and how long the session stays. An event moves each part that has a row with it, or none: if one
of them has no row for it in its state, that is a bug, and an error.

The pictures in docs/ENCRYPTION_ARCHITECTURE.md are generated from the table.
"""

from enum import Enum
from typing import Final, NamedTuple, final


class State(Enum):
    """A state of one part of a session."""

    OPEN = "open"
    """The messages of both peers are handled."""
    ASKING = "asking"
    """The server is being asked a question (`conversation.Question`). The client's messages wait."""
    WAITING_FOR_WINDOW = "waiting for window"
    """A command uses values that move at this moment. The client's messages wait."""
    KEYS_AT_HAND = "keys at hand"
    """No message waits for a key."""
    KEYS_AWAITED = "keys awaited"
    """A command or reply needs a key that is not at hand. All messages wait."""
    UNHINDERED = "unhindered"
    """The command at hand has met no values that move."""
    HINDERED = "hindered"
    """It waits until they have moved, or did and is being tried again."""
    OUT_OF_PATIENCE = "out of patience"
    """It has waited for as long as commands do."""
    ANONYMOUS = "anonymous"
    """Nobody has logged in, as far as the server has said."""
    UNNAMED = "unnamed"
    """The server has said yes to a login, and not yet whose it is."""
    NAMED = "named"
    """It has said that as well, or that it will not."""
    UNDECIDED = "undecided"
    """No message waits for what came of a login by certificate."""
    ACCEPTED = "accepted"
    """The server has accepted it: the message that waits is answered so."""
    REJECTED = "rejected"
    """The server has rejected it."""
    STAYING = "staying"
    """The session lasts as long as its peers do."""
    DRAINING = "draining"
    """The session ends as soon as no command awaits its reply."""
    CLOSED = "closed"
    """A Close was given. Whatever still comes is ignored."""


class Event(Enum):
    """What changes a state."""

    ASKED = "asked"
    """The server was asked a question, or for the rest of an answer."""
    ANSWERED = "answered"
    """It has said all, or that it will not; or no more is needed."""
    USERS_TOLD = "users told"
    """It has said who has logged in, or that it will not."""
    LOGIN_ACCEPTED = "login accepted"
    """It has said yes at the end of a login by certificate."""
    LOGIN_REJECTED = "login rejected"
    """It has said no, or has not proved that it knows the password."""
    LOGIN_ANSWERED = "login answered"
    """The message that waited has its answer."""
    LOGIN_STEP = "login step"
    """A step of a login goes to the server: who is there, it has to say again."""
    LOGGED_IN = "logged in"
    """The server has said yes to a login."""
    LOGGED_OUT = "logged out"
    """The client takes its login back, or begins one by certificate."""
    KEY_MISSED = "key missed"
    """A key has to be loaded or looked up before a message can be handled."""
    KEYS_LOADED = "keys loaded"
    """That was done, or could not be."""
    WINDOW_MET = "window met"
    """A command has to wait for values that move."""
    FRONTIER_MOVED = "frontier moved"
    """How far the move has come is known anew, or the command has waited long enough."""
    PATIENCE_LOST = "patience lost"
    """The command has waited for as long as commands do."""
    COMMAND_DONE = "command done"
    """The command was sent on, or has its answer: the next one begins anew."""
    DRAIN = "drain"
    """The process is about to stop."""
    ENDED = "ended"
    """A peer is gone or broke the protocol, or the session has no reason to go on."""


class Transition(NamedTuple):
    """One row of the table."""

    before: State
    event: Event
    after: State


PARTS: Final = {
    "messages": (State.OPEN, State.ASKING, State.WAITING_FOR_WINDOW),
    "keys": (State.KEYS_AT_HAND, State.KEYS_AWAITED),
    "command": (State.UNHINDERED, State.HINDERED, State.OUT_OF_PATIENCE),
    "login": (State.ANONYMOUS, State.UNNAMED, State.NAMED),
    "certificate": (State.UNDECIDED, State.ACCEPTED, State.REJECTED),
    "stay": (State.STAYING, State.DRAINING),
}
"""The states of each part, of which it has one at a time; the first one to begin with. CLOSED ends two."""

TRANSITIONS: Final = (
    Transition(State.OPEN, Event.ASKED, State.ASKING),
    # an answer may come in batches, and a login by password takes two or three questions
    Transition(State.ASKING, Event.ASKED, State.ASKING),
    Transition(State.ASKING, Event.ANSWERED, State.OPEN),
    Transition(State.OPEN, Event.WINDOW_MET, State.WAITING_FOR_WINDOW),
    Transition(State.WAITING_FOR_WINDOW, Event.FRONTIER_MOVED, State.OPEN),
    Transition(State.OPEN, Event.KEY_MISSED, State.OPEN),
    # a reply to an earlier command may come while a question is open
    Transition(State.ASKING, Event.KEY_MISSED, State.ASKING),
    # the command waits on among the messages that are held, and is tried again when the key is there
    Transition(State.WAITING_FOR_WINDOW, Event.KEY_MISSED, State.OPEN),
    Transition(State.KEYS_AT_HAND, Event.KEY_MISSED, State.KEYS_AWAITED),
    Transition(State.KEYS_AWAITED, Event.KEYS_LOADED, State.KEYS_AT_HAND),
    Transition(State.UNHINDERED, Event.WINDOW_MET, State.HINDERED),
    Transition(State.HINDERED, Event.WINDOW_MET, State.HINDERED),
    Transition(State.HINDERED, Event.PATIENCE_LOST, State.OUT_OF_PATIENCE),
    Transition(State.HINDERED, Event.COMMAND_DONE, State.UNHINDERED),
    Transition(State.OUT_OF_PATIENCE, Event.COMMAND_DONE, State.UNHINDERED),
    Transition(State.ANONYMOUS, Event.LOGGED_IN, State.UNNAMED),
    # a server may answer several logins of one connection, and in an order of its own
    Transition(State.UNNAMED, Event.LOGGED_IN, State.UNNAMED),
    Transition(State.NAMED, Event.LOGGED_IN, State.NAMED),
    Transition(State.UNNAMED, Event.USERS_TOLD, State.NAMED),
    Transition(State.ANONYMOUS, Event.LOGIN_STEP, State.ANONYMOUS),
    Transition(State.UNNAMED, Event.LOGIN_STEP, State.UNNAMED),
    Transition(State.NAMED, Event.LOGIN_STEP, State.UNNAMED),
    *(Transition(state, Event.LOGGED_OUT, State.ANONYMOUS) for state in PARTS["login"]),
    Transition(State.UNDECIDED, Event.LOGIN_ACCEPTED, State.ACCEPTED),
    Transition(State.UNDECIDED, Event.LOGIN_REJECTED, State.REJECTED),
    Transition(State.ACCEPTED, Event.LOGIN_ANSWERED, State.UNDECIDED),
    Transition(State.REJECTED, Event.LOGIN_ANSWERED, State.UNDECIDED),
    Transition(State.STAYING, Event.DRAIN, State.DRAINING),
    Transition(State.DRAINING, Event.DRAIN, State.DRAINING),
    *(Transition(state, Event.ENDED, State.CLOSED) for part in ("messages", "stay") for state in PARTS[part]),
)

_AFTER: Final = {(before, event): after for before, event, after in TRANSITIONS}
_MOVED: Final = {
    event: tuple(
        part
        for part, states in PARTS.items()
        if any(row.event is event and row.before in states for row in TRANSITIONS)
    )
    for event in Event
}
"""The parts that have a row with an event."""


class IllegalTransition(Exception):
    """An event came in a state in which it cannot happen: a bug of the session or of its shell."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"'{event.value}' while {state.value}")
        self.event = event


@final
class States:
    """The states of one session. `happened` is the only way to change them."""

    __slots__ = ("certificate", "command", "keys", "login", "messages", "stay")

    def __init__(self) -> None:
        self.messages = State.OPEN
        """Whose messages are handled."""
        self.keys = State.KEYS_AT_HAND
        """Whether a message waits for a key."""
        self.command = State.UNHINDERED
        """What the command at hand has met."""
        self.login = State.ANONYMOUS
        """Who has logged in."""
        self.certificate = State.UNDECIDED
        """What came of a login by certificate, for the message that waits for it."""
        self.stay = State.STAYING
        """How long the session stays."""

    def happened(self, event: Event) -> None:
        """Move by the table. Raises IllegalTransition, and then nothing has moved."""
        moves: list[tuple[str, State]] = []
        for part in _MOVED[event]:
            state: State = getattr(self, part)
            after = _AFTER.get((state, event))
            if after is None:
                raise IllegalTransition(state, event)
            moves.append((part, after))
        for part, after in moves:
            setattr(self, part, after)
