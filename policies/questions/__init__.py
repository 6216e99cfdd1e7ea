"""Conditions that ciphertext cannot answer, judged on the values that are stored.

Owns: the questions of a command and what is learned for it (`asked`), and how plain values are judged by
conditions and put in order (`conditions`, `patterns`). It knows no session and no key: `proxy.session` asks
the server, and opens envelopes.

May import: `policies.errors`, `policies.file`, `wire`.
"""

from dataclasses import dataclass
from typing import Final

# Here, so that the settings that name them import nothing of the planner.

# A range is a few bytes that become up to 200,000 values, each with an AES-SIV call. One such range is
# somebody's need, and so are several of a century of days; a hundred are not. 250,000 take a second or two.
MAX_LISTED_VALUES: Final = 250_000
"""Values of all lists that one command is given."""


@dataclass(frozen=True, slots=True)
class QuestionBounds:
    """What answering one question may take: the settings `limits.question_...`."""

    values: int = 100_000
    """Stored values that are looked at, each as often as the server sends it."""
    bytes: int = 64 << 20
    """All replies of the server."""
    matches: int = 100_000
    """Stored values that satisfy the question, and are listed in the command."""
    candidates: int = 10_000
    """In place of `values`, those of a random class: nearly each document has one of its own."""


USUAL_BOUNDS: Final = QuestionBounds()
