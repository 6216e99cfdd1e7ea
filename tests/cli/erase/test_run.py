"""`sealwire erase run`: what its user got wrong, before anything is changed."""

import os
from pathlib import Path

import pytest

from tests.cli.erase.conftest import OPTIONS
from tests.cli.runs import Run

NHS = "943 476 5919"
RUN = ("run", *OPTIONS, "--receipt", "receipt", "--yes")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        (("--delete", "--overwrite"), 2),
        (("--delete", "--keep-daily", "-1"), 2),
        (("--delete",), 69),
        (("--delete", "--audit-key", "missing"), 78),
        (("--delete", "--audit-key", "subjects.key"), 65),
        (("--delete", "--receipt", "policy.yaml"), 73),
        (("--delete", "--contexts", "missing.db"), 78),
    ],
)
def test_mistakes(run: Run, words: tuple[str, ...], code: int) -> None:
    outcome = run(*RUN, *words, stdin=f"{NHS}\n")
    assert outcome.code == code
    assert "error" in outcome.err.lower()
    assert NHS not in outcome.out + outcome.err
    assert not Path("receipt").exists()


def test_without_a_terminal_it_does_not_go_on_by_itself(run: Run) -> None:
    assert run("run", *OPTIONS, "--receipt", "receipt", "--delete", stdin=f"{NHS}\n").code == 2


def test_an_empty_identifier_is_nobodys(run: Run) -> None:
    assert run(*RUN, "--delete", stdin="\n").code == 2
    assert run("find", *OPTIONS, stdin="").code == 2


def test_find_needs_a_server(run: Run) -> None:
    outcome = run("find", *OPTIONS, stdin=f"{NHS}\n")
    assert (outcome.code, NHS in outcome.err) == (69, False)


def test_a_policy_that_does_not_say_whose_data_it_is(run: Run) -> None:
    run("find", *OPTIONS, stdin="")
    Path("policy.yaml").write_text(Path("policy.yaml").read_text().replace("subjects: {class: nhs}", ""))
    assert run(*RUN, "--delete", stdin=f"{NHS}\n").code == 2


def test_a_key_of_pseudonyms_that_others_read(run: Run) -> None:
    os.chmod("subjects.key", 0o644)  # noqa: PTH101 - as an operator does
    assert run(*RUN, "--delete", stdin=f"{NHS}\n").code == 77
