"""The errors that a refusal answers with: drivers decide by the number, people read the name."""

import pytest

from sealwire.policies.errors import EXPLANATIONS, ErrorCode, Reason, Refusal

NOT_IMPLEMENTED = (238, "NotImplemented")
BAD_VALUE = (2, "BadValue")

# As mongod's error_codes.yml has them.
ANSWERS = {
    Reason.GRID: BAD_VALUE,
    Reason.TYPE: (14, "TypeMismatch"),
    Reason.CONTEXT: BAD_VALUE,
    Reason.ENVELOPE: BAD_VALUE,
    Reason.COMMAND: (115, "CommandNotSupported"),
    Reason.UNSEEN: (13, "Unauthorized"),
    Reason.ROLE: (13, "Unauthorized"),
    Reason.SHAPE: BAD_VALUE,
    Reason.OPCODE: (115, "CommandNotSupported"),
    Reason.TOO_LARGE: (10334, "BSONObjectTooLarge"),
}
"""What is not here is NotImplemented."""


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_the_code_and_the_name_that_the_server_uses(reason: Reason) -> None:
    code = Refusal(reason).error_code
    assert (code.code, code.code_name) == ANSWERS.get(reason, NOT_IMPLEMENTED)


def test_every_reason_is_explained_and_every_code_is_used() -> None:
    assert EXPLANATIONS.keys() == set(Reason)
    assert {code for code, _, _ in EXPLANATIONS.values()} == set(ErrorCode)


@pytest.mark.parametrize(
    ("path", "rule", "where"),
    [("", "", "this"), ("a.b", "", "on 'a.b'"), ("", "$gt", "$gt"), ("a.b", "$gt", "$gt on 'a.b'")],
)
def test_a_message_names_the_place_that_is_known_and_the_reason(path: str, rule: str, where: str) -> None:
    message = Refusal(Reason.OPERATOR, path=path, rule=rule).message
    assert message.startswith(f"Sealwire refused {where}: ")
    assert message.endswith(" [operator]")
