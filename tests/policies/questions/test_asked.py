"""What is learned for one command, how values are judged, and the bounds of both."""

from dataclasses import replace
from typing import Any

import pytest
from bson import encode

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode
from sealwire.policies.filters.filters import OPERATORS
from sealwire.policies.questions import QuestionBounds, asked
from sealwire.policies.questions.asked import (
    MAX_ARRAYS,
    Answers,
    AskedOperator,
    Asking,
    FieldsWritten,
    ValuesAnswer,
    ValuesJudgement,
    ValuesQuestion,
    ValuesUnknown,
)
from sealwire.policies.questions.conditions import Asks, HeldValue, SortOrder
from sealwire.wire.raw_bson import find_element
from tests.policies.questions.test_conditions import value
from tests.support.reasons import raising
from tests.support.rows import rows


def operator(name: str, *operands: Any) -> AskedOperator:
    asks = OPERATORS[name.encode()].asks
    assert asks is not None
    return AskedOperator(asks, name.encode(), tuple(map(value, operands)))


def pattern(text: str) -> AskedOperator:
    return AskedOperator(Asks.PATTERN, b"$regex", ((2, text.encode()), (2, b"")))


ABOVE, BELOW = operator("$gt", 2), operator("$lt", 5)


def question(*operators: AskedOperator) -> ValuesQuestion:
    return ValuesQuestion("clinic.patients", "visits", "visits", operators or (ABOVE, BELOW))


def held(stored: Any) -> HeldValue:
    return HeldValue(value(stored), value(stored))


def test_values_are_kept_by_operator_and_for_all_of_them() -> None:
    judgement = ValuesJudgement(question())
    for stored in (1, 3, 4, 3, 9, "3"):
        judgement.take(held(stored))
    assert judgement.answer() == ValuesAnswer(
        (tuple(map(held, (3, 4, 9))), tuple(map(held, (1, 3, 4)))), tuple(map(held, (3, 4))), is_single=True
    )
    judgement.take_several()
    assert not judgement.answer().is_single


def test_a_negated_condition_is_in_no_question_about_an_order() -> None:
    order = SortOrder(is_descending=False, enough=None, among=None)
    with pytest.raises(TypeError):
        replace(question(ABOVE), is_outside=True, order=order)


def test_arrays_are_sorted_up_to_a_bound() -> None:
    order = SortOrder(is_descending=False, enough=None, among=None, takes_arrays=True)
    judgement = ValuesJudgement(replace(question(), operators=(), order=order))
    for number in range(MAX_ARRAYS):
        judgement.take(held([number]))
    assert judgement.answer().arrays == MAX_ARRAYS
    judgement.take(held([]))
    with raising(Refusal, Reason.QUESTION):
        judgement.answer()
    few = ValuesJudgement(replace(question(), operators=(), order=replace(order, enough=1)))
    for number in range(MAX_ARRAYS + 1):
        few.take(held([number]))
    assert few.answer().arrays == 1


def test_no_operand_and_no_value_is_shown() -> None:
    judgement = ValuesJudgement(question(pattern("Smith")))
    judgement.take(held("Smith"))
    shown = repr((question(pattern("Smith")), judgement.answer(), judgement))
    assert "HeldValue" in shown
    assert "Smith" not in shown


def test_forms_of_one_value_are_kept_apart() -> None:
    judgement = ValuesJudgement(question())
    forms = [HeldValue(value(3), value(stored)) for stored in (b"old", b"new")]
    for each in forms:
        judgement.take(each)
    assert judgement.answer().all == tuple(forms)


def test_what_does_not_satisfy_all_of_a_negation_is_judged_each_time() -> None:
    """Below a negation each operator has a list of its own, also where no document has several values."""
    both = (operator("$gt", 1), operator("$lt", 5))
    assert ValuesJudgement(question(*both)).pass_over(b"a document")
    assert not ValuesJudgement(replace(question(*both), is_outside=True)).pass_over(b"a document")
    assert ValuesJudgement(replace(question(both[0]), is_outside=True)).pass_over(b"a document")


def test_an_answer_counts_until_the_command_is_planned() -> None:
    answers, answer = Answers(), ValuesJudgement(question()).answer()
    with pytest.raises(ValuesUnknown) as unknown:
        answers.of(question())
    assert unknown.value.question == question()
    answers.learn(question(), answer)
    assert answers.of(question()) is answer
    with pytest.raises(ValuesUnknown):
        answers.of(question(ABOVE))
    answers.known.clear()
    with pytest.raises(ValuesUnknown):
        answers.of(question())


def test_a_refusal_is_learned_as_well() -> None:
    answers = Answers()
    answers.learn(question(), Refusal(Reason.QUESTION))
    with raising(Refusal, Reason.QUESTION):
        answers.of(question())


@rows(
    "bad, reason",
    (operator("$gt", None), Reason.RANGE),
    (operator("$mod", 0, 1), Reason.SHAPE),
    (pattern("("), Reason.PATTERN),
)
def test_nothing_is_asked_that_nobody_can_judge(bad: AskedOperator, reason: Reason) -> None:
    with raising(Refusal, reason):
        Answers().of(question(bad))


def test_a_command_has_few_questions() -> None:
    answers = Answers()
    for number in range(asked.MAX_QUESTIONS):
        answers.learn(question(operator("$gt", number)), ValuesJudgement(question()).answer())
    with raising(Refusal, Reason.QUESTION):
        answers.of(question(operator("$gt", "x")))


def test_of_a_random_class_some_item_of_an_array_satisfies() -> None:
    judgement = ValuesJudgement(replace(question(operator("$gt", 3), operator("$lt", 2)), is_random=True))
    for stored in ([1, 9], [4, "x"], 1, []):
        judgement.take(held(stored))
    answer = judgement.answer()
    assert [each.value for each in answer.all] == [value([1, 9])]
    assert [len(each) for each in answer.each] == [2, 2]


def test_a_random_class_has_a_bound_of_its_own() -> None:
    judgement = ValuesJudgement(replace(question(operator("$gt", 3)), is_random=True))
    judgement.bounds = QuestionBounds(values=1, candidates=2)
    judgement.take(held(1))
    judgement.take(held(1))
    with pytest.raises(Refusal) as caught:
        judgement.take(held(1))
    assert "limits.question_candidates" in caught.value.rule


@pytest.mark.plain_core(reason="it lowers constants")
@pytest.mark.parametrize("bound", ["MAX_BATCHES", "MAX_BYTES"])
def test_an_answer_has_bounds(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(asked, bound, 20)
    judgement = ValuesJudgement(question())
    stored = 3 if bound == "MAX_BYTES" else 9

    def go_on() -> None:
        for _ in range(25):
            judgement.begin_batch(100)
            judgement.take(held(stored))

    with raising(Refusal, Reason.QUESTION_SIZE):
        go_on()


@rows(
    "bounds, name",
    (QuestionBounds(values=20), "limits.question_values"),
    (QuestionBounds(bytes=4000), "limits.question_bytes"),
    (QuestionBounds(matches=10), "limits.question_matches"),
)
def test_an_answer_has_the_bounds_of_settings(bounds: QuestionBounds, name: str) -> None:
    """The 21st value is one too many, the 21st reply, or the 11th that satisfies it, which is the 22nd."""
    judgement = ValuesJudgement(question(operator("$lt", 100)))
    judgement.bounds = bounds
    taken: list[int] = []

    def go_on() -> None:
        for number in range(100):
            judgement.begin_batch(200)
            judgement.take(held(number if number % 2 else 1000 + number))
            taken.append(number)

    with raising(Refusal, Reason.QUESTION_SIZE) as caught:
        go_on()
    assert name in caught.value.rule
    assert len(taken) == {"limits.question_matches": 21}.get(name, 20)


def test_one_reply_does_not_take_the_processor_from_others() -> None:
    judgement = ValuesJudgement(question(ABOVE, pattern("y")))
    long = HeldValue(value("x" * 16_000), value("x" * 20_000))
    for _ in range(3):
        judgement.begin_batch(140_000)
        for _ in range(7):
            judgement.take(long)
    judgement.take(held(1))
    with raising(Refusal, Reason.QUESTION_SIZE):
        judgement.take(long)


def test_each_value_of_an_array_is_as_long_as_it_is_alone() -> None:
    order = SortOrder(is_descending=False, enough=None, among=None, takes_arrays=True)
    judgement = ValuesJudgement(replace(question(pattern("y")), order=order))
    for _ in range(2):
        judgement.take(held(["x" * 500] * 100))
    for _ in range(7):
        judgement.take(held(["x" * 16_000]))
    with raising(Refusal, Reason.QUESTION_SIZE):
        judgement.take(held(["x" * 16_000]))


def test_the_values_that_do_not_satisfy_an_operator_are_kept_as_well() -> None:
    asked_for = question(*question().operators)
    judgement = ValuesJudgement(replace(asked_for, is_outside=True))
    for stored in (1, 3, 9, "x"):
        judgement.take(held(stored))
    answer = judgement.answer()
    assert answer.each == (tuple(map(held, (1, "x"))), tuple(map(held, (9, "x"))))
    assert answer.all == (held("x"),)


@rows(
    "update, is_met",
    ({"$set": {"a.b": 1}}, True),
    ({"$set": {"a": {"b": 1}}}, True),
    ({"$push": {"a.0.b.c": 1}}, True),
    ({"$set": {"a.c": 1, "b": 1}}, False),
    ({"$unset": {"a.b": 1}}, False),
    ({"$rename": {"c": "d"}}, True),
    ({"$set": 1}, True),
    ({"a": 1}, True),
    ([{"$set": {"c": 1}}], True),
)
def test_what_an_earlier_statement_may_have_written_is_known(update: Any, is_met: bool) -> None:
    buf = encode({"u": update})
    written = FieldsWritten()
    assert not written.meets("a.b")
    written.note(buf, find_element(buf, 0, b"u"), inserts=False)
    assert written.meets("a.b") is is_met
    written.note(buf, find_element(buf, 0, b"u"), inserts=True)
    assert written.meets("a.b")


@pytest.mark.parametrize("is_in_transaction", [False, True])
def test_what_a_write_changes_is_asked_about_in_a_transaction_only(is_in_transaction: bool) -> None:
    tree = PathNode("")
    asking = Asking(Answers(), tree, is_in_transaction=is_in_transaction)
    asking.begin_change("an upsert")
    assert (asking.is_here, bool(asking.forbids)) == (False, not is_in_transaction)
    asking.end_change()
    asking.begin_change("a condition", tree)
    assert asking.is_here
    asking.end_change()
    assert (asking.is_here, asking.forbids) == (False, "")


def test_what_was_passed_over_counts_if_some_document_has_several_values() -> None:
    one, two = ValuesJudgement(question(ABOVE)), ValuesJudgement(question())
    assert one.pass_over(b"a")
    assert two.pass_over(b"a")
    for judgement in (one, two):
        judgement.take_several()
        assert judgement.seen == 1
    assert (one.overdue(), two.overdue(), two.overdue()) == ([], [b"a"], [])
    assert (one.seen, two.seen) == (1, 0)
    assert one.pass_over(b"b")
    assert not two.pass_over(b"b")


def test_it_is_said_whether_a_value_satisfies_all_operators() -> None:
    judgement = ValuesJudgement(question())
    assert [judgement.take(held(stored)) for stored in (1, 3, 9)] == [False, True, False]
    assert ValuesJudgement(ValuesQuestion("a.b", "c", "d", ())).take(held(1))
