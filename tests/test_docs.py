"""Generated pages are what the code would generate now."""

import pytest

from sealwire.policies.errors import EXPLANATIONS, Reason
from tools.generate_docs import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_says_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name]()


def test_every_reason_has_an_explanation() -> None:
    assert set(EXPLANATIONS) == set(Reason)
