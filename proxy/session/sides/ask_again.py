"""Ask again for a write of one document that found none: what it was to find may have another value by now.

Somebody changes a document from one satisfying value to another, which was not stored when the server was
asked. The write does not find it, though it satisfied the condition all the time. So the reply is held back,
and the client's command is handled once more. If the server's answer has satisfying values that were not in
the first list, the command is sent with these; if not, the client gets the reply that was held back.

May not import: proxy.session.sides.client_side or proxy.session.sides.server_side.
"""

from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.numbers import is_true
from sealwire.policies.planning.plan import Plan
from sealwire.policies.questions.asked import Answers, ValuesAnswer, ValuesQuestion
from sealwire.policies.questions.conditions import Value
from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import CommandAtHand
from sealwire.proxy.session.effects import Effect
from sealwire.proxy.session.requests import Again
from sealwire.wire import kinds
from sealwire.wire.op_msg import MORE_TO_COME, OpMsg, parse_op_msg, sequence_documents
from sealwire.wire.raw_bson import Element, elements, find_element

MOST_TIMES: Final = 4
"""How often one command is sent."""
_NUMBERS: Final = frozenset({kinds.INT, kinds.LONG, kinds.DOUBLE})
_MODIFYING: Final = frozenset(b"findAndModify findandmodify".split())
_STATEMENTS: Final = {b"update": b"updates", b"delete": b"deletes"}


class NothingNew(Exception):
    """The server holds no other satisfying values than before."""

    def __init__(self, reply: list[Effect]) -> None:
        super().__init__()
        self.reply: Final = reply
        """What the client gets."""


def again_for(at_hand: CommandAtHand, plan: Plan) -> Again | None:
    """What is needed to send a planned write once more; None for any command that is not sent again.

    In a transaction nothing changes meanwhile. Raises BsonError; Refusal(QUESTION) for a write in an order
    of stored values that nobody awaits. Cost: O(elements, values listed).
    """
    before, answers = at_hand.again, at_hand.views.answers
    if answers.has_order and parse_op_msg(plan.buf).flags & MORE_TO_COME:
        raise Refusal(Reason.QUESTION, rule="an unacknowledged write that is sorted by stored values")
    left = MOST_TIMES if before is None else before.left
    if not _writes_one(plan.buf) or (left < 2 and not answers.has_order):
        return None
    return Again(plan.buf, _listed(answers), left - 1, answers.has_order)


def found_nothing(message: bytes, parsed: OpMsg) -> bool:
    """Whether a write of one document has found none, by the server's reply. Raises BsonError."""
    body = parsed.body
    if not replies.is_ok(message, body) or find_element(message, body, b"writeErrors") is not None:
        return False
    count, value = find_element(message, body, b"n"), find_element(message, body, b"value")
    if count is not None:
        return count.kind in _NUMBERS and not any(message[count.value : count.end])
    return value is not None and value.value == value.end


def check(at_hand: CommandAtHand, message: bytes) -> None:
    """A command is planned: raises NothingNew if it was sent before, with the same values at least.

    One that writes the first document in an order raises it only if the server has no document for it now:
    the document that was the first is gone, and another one was behind it all the time. Raises
    SortDisturbed if that has happened too often.
    """
    again = at_hand.again
    if again is None or again.message != message:
        return
    if again.is_sorted:
        if not at_hand.views.answers.has_first:
            raise NothingNew(again.reply)
        if again.left < 1:
            raise replies.SortDisturbed
        return
    for question, values in _listed(at_hand.views.answers).items():
        if not values <= again.listed.get(question, frozenset()):
            return
    raise NothingNew(again.reply)


def _listed(answers: Answers) -> dict[ValuesQuestion, frozenset[Value]]:
    """By question its values, or its envelopes if a value has a new one each time that it is written."""
    return {
        question: frozenset(
            held.stored if question.is_random else held.value for each in answer.each for held in each
        )
        for question, answer in answers.known.items()
        if isinstance(answer, ValuesAnswer)
    }


def _writes_one(message: bytes) -> bool:
    """Whether it is a command that writes one document, is answered, and is in no transaction."""
    parsed = parse_op_msg(message)
    arguments = {element.name: element for element in elements(message, parsed.body)}
    if parsed.flags & MORE_TO_COME or b"autocommit" in arguments:
        return False
    name = next(iter(arguments))
    if name in _MODIFYING:
        return True
    starts = [start for each in parsed.sequences for start in sequence_documents(message, each)]
    listed = arguments.get(_STATEMENTS.get(name, b""))
    if listed is not None:
        starts += [item.value for item in elements(message, listed.value)]
    if name not in _STATEMENTS or len(starts) != 1:
        return False
    several, limit = (find_element(message, starts[0], part) for part in (b"multi", b"limit"))
    return _is_given(message, limit) if name == b"delete" else not _is_given(message, several)


def _is_given(message: bytes, element: Element | None) -> bool:
    return element is not None and is_true(element.kind, message[element.value : element.end])
