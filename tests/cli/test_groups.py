"""Help of every command: its width, its words; and the command that a misspelt one is near to."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from sealwire.cli import sealwire
from sealwire.cli.groups import folded
from sealwire.cli.manual import man_pages
from tests.build_context import ROOT
from tests.cli.runs import Run
from tools.house_size import sources


def helps(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """The path of every command below this one, and its help on a terminal of 80 columns."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            if not below.hidden:
                inner = click.Context(below, info_name=name, parent=context, terminal_width=80)
                yield from helps(below, inner)


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    return dict(helps(sealwire, click.Context(sealwire, info_name="sealwire", terminal_width=80)))


def test_no_help_is_wider_than_a_terminal(shown: dict[str, str]) -> None:
    assert len(shown) > 100
    wide = [(path, line) for path, text in shown.items() for line in text.splitlines() if len(line) > 80]
    assert wide == []


def test_no_help_and_no_manual_page_has_the_name_of_a_class(shown: dict[str, str]) -> None:
    source = "\n".join(source for source in sources(ROOT).values())
    classes = set(re.findall(r"^class ([A-Z]\w*[a-z][A-Z]\w*)", source, re.MULTILINE))
    assert "ComplianceCheck" in classes
    texts = shown | {page.filename: page.text for page in man_pages(sealwire, "sealwire")}
    found = {word for text in texts.values() for word in re.findall(r"\w+", text)}
    assert found & classes == {"AppRole", "OpenBao"}, "these two are names that others gave"


@pytest.mark.parametrize(
    "line",
    [
        "  sealwire backup create clinic-1 --uri-file /etc/sealwire/uri --recipient file:backup-kek --only a",
        '  sealwire incident close i3 --outcome "account disabled, role narrowed, staff told, and so on"',
        "  sealwire keys shred notes 17-and-more-of-it --contexts contexts.db --keyring a.json < patient.txt",
        "  sealwire " + " ".join(["a-long-argument"] * 12),
    ],
)
def test_a_long_command_goes_on_after_a_backslash(line: str) -> None:
    text = folded(f"\b\nExamples:\n{line}")
    first, *lines = text.splitlines()[1:]
    assert first == "Examples:"
    assert len(lines) > 1
    assert max(map(len, lines)) <= 78
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == shlex.split(line)


def test_a_row_goes_on_below_its_column_and_paragraphs_stay() -> None:
    paragraph = "word " * 40
    text = folded(f"{paragraph}\n\n\b\n  65  {'damaged, ' * 12}or not")
    assert text.startswith(paragraph.rstrip())
    first, second = text.splitlines()[3:]
    assert first.startswith("  65  damaged")
    assert second.startswith("      damaged")


@pytest.mark.parametrize(
    ("words", "meant"), [(("bakcup",), "backup"), (("keys", "creat-kek"), "create-kek"), (("zzz",), None)]
)
def test_a_misspelt_command_is_answered_with_the_one_that_is_meant(
    run: Run, words: tuple[str, ...], meant: str | None
) -> None:
    done = run(*words)
    assert done.code == 2
    assert ("Did you mean" in done.err) is (meant is not None)
    assert meant is None or f"'{meant}'" in done.err
