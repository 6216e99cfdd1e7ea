"""Help of every command: its width, its words; and the command that a misspelt one is near to."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from sealwire.cli import sealwire
from sealwire.cli.groups import folded
from sealwire.cli.manual import man_pages
from sealwire.cli.options import declare, settings
from sealwire.cli.output import answer, show_table, with_bar
from tests.build_context import ROOT
from tests.cli.runs import Run
from tests.support.measuring import measuring
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
    texts = shown | dict(man_pages(click.Context(sealwire, info_name="sealwire")))
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
    done = run(*words, code=2)
    assert ("Did you mean" in done.err) is (meant is not None)
    assert meant is None or f"'{meant}'" in done.err


# Several options become one argument, and stand in the help in their order.


@dataclass(frozen=True)
class Pair:
    first: int
    second: int = 2
    rest: str = "kept"


PAIR = (click.option("--first", type=int, default=1), click.option("--second", type=int, default=0))


def run(command: click.Command, *arguments: str) -> str:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_gets_what_is_made_of_the_options_and_keeps_the_others() -> None:
    @click.command()
    @settings("pair", Pair, *PAIR)
    @click.option("--other", default="x")
    def command(pair: Pair, other: str) -> None:
        click.echo(f"{pair} {other}")

    assert run(command, "--first", "7", "--other", "y") == f"{Pair(7, 0, 'kept')} y\n"


def test_a_parameter_without_an_option_keeps_its_default() -> None:
    @click.command()
    @settings("pair", Pair, PAIR[0])
    def command(pair: Pair) -> None:
        click.echo(repr(pair))

    assert run(command) == f"{Pair(1)!r}\n"


def test_settings_below_others_can_go_on_from_theirs() -> None:
    def more(pair: Pair, twice: bool) -> Pair:
        return Pair(pair.first * 2) if twice else pair

    @click.command()
    @settings("pair", Pair, *PAIR)
    @settings("pair", more, click.option("--twice", is_flag=True))
    def command(pair: Pair) -> None:
        click.echo(pair.first)

    assert run(command, "--first", "4", "--twice") == "8\n"


def test_options_stand_in_the_help_as_they_were_declared() -> None:
    @click.command()
    @declare(*PAIR, click.option("--third"))
    def command(**_: object) -> None:
        """Nothing."""

    shown = run(command, "--help")
    assert shown.index("--first") < shown.index("--second") < shown.index("--third")


# Answers for people or programs; nothing that a table shows is markup.


@pytest.mark.parametrize("as_json", [False, True])
def test_an_answer_is_a_text_or_a_document(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    answer("done", {"done": True}, as_json=as_json)
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"done": True} if as_json else shown == "done\n"


def test_cells_are_text_and_never_markup() -> None:
    out = io.StringIO()
    show_table(("name", "count"), [("[red]x[/]", 3)], Console(file=out, width=80, markup=False))
    assert "[red]x[/]" in out.getvalue()


def test_cells_do_not_steer_a_terminal() -> None:
    console = Console(width=120, file=io.StringIO(), markup=False)
    show_table(("name",), [("\x1b]0;title\x9b1m",)], console)
    assert console.file.getvalue().count("?]0;title?1m") == 1  # type: ignore[attr-defined]


def test_what_is_wider_than_its_column_is_not_cut() -> None:
    shown = io.StringIO()
    cells = [str(each) * 30 for each in range(8)]
    show_table([f"column {each}" for each in range(8)], [cells], Console(file=shown, width=80, markup=False))
    assert "…" not in shown.getvalue()
    assert all(shown.getvalue().count(cell[0]) >= len(cell) for cell in cells)


@pytest.mark.parametrize(
    ("width", "left_out"), [(60, {"b", "c"}), (75, {"b"}), (99, set()), (100, set()), (30, {"b", "c"})]
)
def test_a_narrow_console_shows_fewer_columns_before_it_breaks_a_word(width: int, left_out: set[str]) -> None:
    shown = io.StringIO()
    cells = {name: name * 20 for name in "abcd"}
    console = Console(file=shown, width=width, markup=False)
    show_table(list(cells), [cells.values()], console, narrow=("b", "c"))
    said = shown.getvalue().replace("\n", " ")
    assert {name for name, cell in cells.items() if said.count(name) < len(cell)} == left_out
    assert ("not shown" in said) == bool(left_out)
    assert ("a" * 20 in said) == (width > 30)


def test_a_wide_console_shows_every_column_whatever_is_in_it() -> None:
    shown = io.StringIO()
    show_table(("a", "b"), [("a" * 300, "b")], Console(file=shown, width=100, markup=False), narrow=("b",))
    assert shown.getvalue().count("a") == 301
    assert "not shown" not in shown.getvalue()


def test_every_item_is_described_before_its_step() -> None:
    seen: list[str] = []

    def describe(item: int) -> str:
        seen.append(f"about {item}")
        return str(item)

    def step(item: int) -> int:
        seen.append(f"did {item}")
        return item * 10

    assert with_bar([1, 2], 2, describe, step) == [10, 20]
    assert seen == ["about 1", "did 1", "about 2", "did 2"]


# `sealwire manual` writes pages where it is told to.


def test_pages_are_written_and_replaced(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "share" / "man1"
    assert run("manual", folder).code == 0
    page = folder / "sealwire-manual.1"
    page.write_text("old")
    done = run("manual", folder)
    assert f"{len(list(folder.iterdir()))} pages" in done.out
    assert page.read_text().startswith(".TH")


def test_a_place_that_cannot_be_written_is_an_error_with_a_hint(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert run("manual", tmp_path / "file").code == 78
    assert run("manual").code == 2


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return dict(man_pages(click.Context(sealwire, info_name="sealwire")))


def test_every_command_has_a_page_that_leads_to_its_group(pages: dict[str, str]) -> None:
    assert {"sealwire.1", "sealwire-keys.1", "sealwire-keys-create.1", "sealwire-doctor.1"} <= set(pages)
    assert len(pages) > 100
    text = pages["sealwire-keys-create.1"]
    assert ".SH SEE ALSO\nsealwire\\-keys(1)" in text
    assert "\\-\\-keyring" in text
    assert "sealwire keys create" in pages["sealwire-keys.1"]


def test_a_hidden_option_is_not_on_a_page(pages: dict[str, str]) -> None:
    assert "worker" not in pages["sealwire-serve.1"].lower().replace("workers", "")


def test_no_text_becomes_a_request() -> None:
    help_text = '.so /etc/passwd\n\'sy rm\n\n\b\n.pi cat\n  \\fB"x"'

    @click.command(name="odd", help=help_text)
    @click.option("--a", help=".de x\n.sy ls")
    def odd(a: str) -> None: ...

    ((_, text),) = man_pages(click.Context(odd, info_name="odd"))
    requests = {line.split()[0] for line in text.splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".B", ".TP", ".PP", ".nf", ".fi"}
    assert "\\fB" not in text


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here")
def test_groff_understands_the_pages(pages: dict[str, str], tmp_path: Path) -> None:
    some = ("sealwire.1", "sealwire-keys-create.1", "sealwire-serve.1", "sealwire-tls-verify.1")
    for name in some:
        (tmp_path / name).write_text(pages[name])
    command = ["groff", "-man", "-ww", "-z", "-Tutf8", "-K", "utf8", *some]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "cannot" not in line] == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_script_asks_the_program(run: Run, shell: str) -> None:
    done = run("completion", shell, code=0)
    assert f"_SEALWIRE_COMPLETE={shell}_complete" in done.out


def test_another_shell_is_wrong_usage(run: Run) -> None:
    assert run("completion", "csh").code == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_a_command_and_an_option() -> None:
    program = Path(sys.executable).with_name("sealwire")
    script = f"""
    source <({program} completion bash)
    COMP_WORDS=({program} "$1" "$2"); COMP_CWORD=$3
    _sealwire_completion {program}; echo "${{COMPREPLY[@]}}"
    """
    environment = measuring() | {"PATH": os.environ["PATH"]}
    for words, place, found in ((("doc", ""), "1", "doctor"), (("doctor", "--j"), "2", "--json")):
        command = ["bash", "-c", script, "bash", *words, place]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.split()) == (0, [found]), done.stderr


def test_what_looks_like_a_shell_that_asks_runs_nothing(tmp_path: Path) -> None:
    environment = measuring() | {"PATH": os.environ["PATH"], "_SEALWIRE_COMPLETE": "bash_source"}
    program = Path(sys.executable).with_name("sealwire")
    command = [str(program), "keys", "create-kek"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "_sealwire_completion" in done.stdout
