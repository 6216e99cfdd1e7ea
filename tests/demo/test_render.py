"""How results and values are put into short lines, and that a failed check cannot be overlooked."""

import io
import json
from dataclasses import replace
from datetime import datetime
from itertools import islice

from rich.console import Console

from sealwire import core_name
from sealwire.demo import render
from sealwire.demo.application import AppStep
from sealwire.demo.file_scan import Scan
from sealwire.demo.inspection import Refused, SearchPlan, Stored
from sealwire.demo.story import Check, Sight, Story
from sealwire.examples.patients import generate_patients
from tests.demo.test_story import ENVELOPE

PATIENT = dict(next(islice(generate_patients(1948), 1)))
STORY = Story(
    patients=100,
    direct_uri="mongodb://clinic:…@127.0.0.1:1/clinic?tls=true",
    sealwire_uri="mongodb://clinic:…@127.0.0.1:2/clinic?tls=true",
    direct=(AppStep("find_many", {"found": 2, "first": {}, "digest": "abcdef0123"}, 10.0),),
    guarded=(AppStep("find_many", {"found": 2, "first": {}, "digest": "abcdef0123"}, 12.5),),
    plain_sight=Sight(PATIENT, PATIENT),
    guarded_sight=Sight(PATIENT, PATIENT | {"nhs_number": ENVELOPE}),
    stored=Stored(7, 0),
    plan=SearchPlan(("FETCH", "IXSCAN"), "nhs_number_1"),
    refused=Refused(2, "BadValue", "nhs_number: [brackets] are not markup"),
    plain_files=Scan(3, 1000, 4),
    guarded_files=Scan(3, 1000, 0),
    checks=(Check("all is well", True, "7 of 7"), Check("it rains", False, "it does not")),
)


def shown(story: Story, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    render.show(console, story)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_a_summary_shows_counts_and_a_short_digest_but_no_document() -> None:
    assert (
        render.summary({"found": 200, "first": {"nhs_number": "1"}, "digest": "abcdef0123"})
        == "found 200, #abcdef"
    )
    assert render.summary({"upserted": [True, False], "keyPattern": {"a": 1}}) == "upserted 2, keyPattern a 1"


def test_lines_fit_the_terminal_and_no_column_vanishes() -> None:
    for width in (80, 100, 200):
        lines = shown(STORY, width).splitlines()
        assert max(map(len, lines)) <= width
        assert any("find many" in line and "found 2" in line and "1.25" in line for line in lines)


def test_no_head_of_a_table_is_cut_on_a_narrow_terminal() -> None:
    output = shown(STORY, 80)
    heads = [line for line in output.splitlines() if "Sealwire" in line or "directly" in line]
    assert not any("…" in line for line in heads if "mongodb://" not in line)
    assert f"Sealwire runs     {core_name()}" in output


def test_everything_is_shown_ciphertext_as_hex_and_messages_as_they_are() -> None:
    text = shown(STORY)
    assert str(PATIENT["nhs_number"]) in text
    assert f"Binary …{ENVELOPE[-8:].hex()}" in text
    assert "[brackets] are not markup" in text
    assert "contacts.0.phone" in text
    assert "1.25" in text
    assert f"{PATIENT['date_of_birth']:%Y-%m-%d}" in text


def test_a_failed_check_says_so_and_a_passed_one_does_not() -> None:
    lines = shown(STORY).splitlines()
    assert any("FAILED" in line and "it rains" in line for line in lines)
    assert not any("FAILED" in line and "all is well" in line for line in lines)


def test_different_results_are_marked() -> None:
    other = AppStep("find_many", {"found": 3}, 12.5)
    assert "≠" in shown(replace(STORY, guarded=(other,)))
    assert "≠" not in shown(STORY)


def test_dates_in_lists_can_be_shown() -> None:
    assert json.loads(render.value_text([datetime(1980, 5, 17)])) == ["1980-05-17"]
