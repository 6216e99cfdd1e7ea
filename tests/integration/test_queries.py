"""docs/queries.md is true: every example in it, run in mongosh, sends and answers what stands there.

The format of the document is described in query_runner.py. After a change of behaviour, or with a new query
in the document, `python -m tests.integration.query_runner` writes into it what is measured now; read the
difference before you commit it.
"""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bson import encode

from sealwire.policies.errors import Reason
from tests.integration.query_runner import (
    DOCUMENT,
    Ending,
    Measured,
    Row,
    measure,
    read_document,
    replace_outcomes,
)
from tests.node_programs import require_mongosh
from tests.support.rows import rows

pytestmark = pytest.mark.integration

EXAMPLES = read_document(DOCUMENT)
# All NHS numbers, telephone numbers and postcodes of the document, and its notes.
COVERED_TEXT = re.compile(
    rb"99900000|07700900|01632960|ZZ\d \d|penicillin|Asthma|Moved|Renal clinic|bed rest"
)
BIRTHDAYS = ("1950-04-02", "1950-11-30", "1985-06-15")

each_example = pytest.mark.parametrize(
    ("place", "row"), list(enumerate(EXAMPLES.rows)), ids=[row.name for row in EXAMPLES.rows]
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    require_mongosh()
    return measure(EXAMPLES, tmp_path_factory.mktemp("queries"))


@each_example
def test_what_is_sent_and_answered_is_what_the_document_says(
    measured: Measured, place: int, row: Row
) -> None:
    assert measured.outcomes[place] == row.outcome


@each_example
def test_an_answer_is_that_of_a_database_in_plaintext(measured: Measured, place: int, row: Row) -> None:
    ours, plain = measured.outcomes[place], measured.plain[place]
    if ours.ending is Ending.REFUSED:
        assert ours.server == ()
        assert ours.text.strip("[]") in {reason.value for reason in Reason}
    else:
        assert (ours.ending, ours.text) == (plain.ending, plain.text)


def test_no_covered_value_of_any_example_reaches_the_server(measured: Measured) -> None:
    written = DOCUMENT.read_bytes()
    assert len(set(COVERED_TEXT.findall(written))) > 8
    assert b"Nia Lloyd" in measured.sent
    assert COVERED_TEXT.findall(measured.sent) == []
    for day in BIRTHDAYS:
        assert day.encode() in written
        moment = encode({"": datetime.fromisoformat(day).replace(tzinfo=UTC)})[6:-1]
        assert moment not in measured.sent


def test_the_document_is_as_the_tool_would_write_it() -> None:
    outcomes = [row.outcome for row in EXAMPLES.rows if row.outcome is not None]
    assert len(outcomes) == len(EXAMPLES.rows) >= 50
    assert replace_outcomes(DOCUMENT.read_text(), outcomes) == DOCUMENT.read_text()


@rows(
    "example",
    "db.a.find()\n// answers: []",
    "db.a.find()\n// answer: []\n// server: {}",
    "db.a.find()\n// server: {}",
    "db.a.find()\n// answer: []\ndb.b.find()",
)
def test_an_example_that_does_not_have_the_format_is_an_error(tmp_path: Path, example: str) -> None:
    document = tmp_path / "queries.md"
    document.write_text(f"# Some\n\n```js\nprepare\n```\n\n```js\n{example}\n```\n")
    with pytest.raises(ValueError, match="Some 1"):
        read_document(document)
