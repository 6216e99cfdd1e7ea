"""Which trace a command belongs to is read from its comment, and nothing else of that is."""

from typing import Any

import pytest

from sealwire.proxy.session.watch import TraceParent, trace_parent_in
from tests.proxy.session.world import encoded

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
FOUND = TraceParent(int(TRACE, 16), int(SPAN, 16), is_sampled=True)


def said(comment: Any) -> TraceParent | None:
    return trace_parent_in(encoded({"find": "patients", "comment": comment}), 0)


@pytest.mark.parametrize(
    "comment",
    [
        PARENT,
        f"traceparent={PARENT}",
        f"purpose=direct-care; traceparent='{PARENT}'",
        {"traceparent": PARENT, "sealwire": {"purpose": "direct-care"}},
    ],
)
def test_a_string_or_a_document_says_it(comment: Any) -> None:
    assert said(comment) == FOUND


def test_a_trace_that_the_client_does_not_keep_is_known_as_such() -> None:
    parent = said(f"00-{TRACE}-{SPAN}-00")
    assert parent is not None
    assert not parent.is_sampled


@pytest.mark.parametrize(
    "comment",
    [
        "943 476 5919",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"x00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01a",
        " " * 2000 + PARENT,
        {"traceparent": 5},
        {"other": PARENT},
        5,
        None,
    ],
)
def test_anything_else_is_no_trace(comment: Any) -> None:
    assert said(comment) is None


def test_a_command_without_a_comment_has_none() -> None:
    assert trace_parent_in(encoded({"find": "patients"}), 0) is None
