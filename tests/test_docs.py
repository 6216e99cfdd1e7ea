"""Documents that are generated from the code, or that make claims about it."""

from sealwire.policies.errors import EXPLANATIONS, Reason
from tools.generate_docs import TARGET, render


def test_the_page_of_errors_is_what_the_code_says() -> None:
    assert TARGET.read_text() == render()


def test_every_reason_has_an_explanation() -> None:
    assert set(EXPLANATIONS) == set(Reason)
