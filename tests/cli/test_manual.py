"""`sealwire manual` writes pages where it is told to."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sealwire.cli import sealwire
from sealwire.cli.manual import ManPage, man_pages
from tests.cli.runs import Run
from tests.support.measuring import measuring


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
def pages() -> dict[str, ManPage]:
    return {page.filename: page for page in man_pages(sealwire, "sealwire")}


def test_every_command_has_a_page_that_leads_to_its_group(pages: dict[str, ManPage]) -> None:
    assert {"sealwire.1", "sealwire-keys.1", "sealwire-keys-create.1", "sealwire-doctor.1"} <= set(pages)
    assert len(pages) > 100
    text = pages["sealwire-keys-create.1"].text
    assert ".SH SEE ALSO\nsealwire\\-keys(1)" in text
    assert "\\-\\-keyring" in text
    assert "sealwire keys create" in pages["sealwire-keys.1"].text


def test_a_hidden_option_is_not_on_a_page(pages: dict[str, ManPage]) -> None:
    assert "worker" not in pages["sealwire-serve.1"].text.lower().replace("workers", "")


def test_no_text_becomes_a_request() -> None:
    help_text = '.so /etc/passwd\n\'sy rm\n\n\b\n.pi cat\n  \\fB"x"'

    @click.command(name="odd", help=help_text)
    @click.option("--a", help=".de x\n.sy ls")
    def odd(a: str) -> None: ...

    (page,) = man_pages(odd, "odd")
    requests = {line.split()[0] for line in page.text.splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".B", ".TP", ".PP", ".nf", ".fi"}
    assert "\\fB" not in page.text


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here")
def test_groff_understands_the_pages(pages: dict[str, ManPage], tmp_path: Path) -> None:
    some = ("sealwire.1", "sealwire-keys-create.1", "sealwire-serve.1", "sealwire-tls-verify.1")
    for name in some:
        (tmp_path / name).write_text(pages[name].text)
    command = ["groff", "-man", "-ww", "-z", "-Tutf8", "-K", "utf8", *some]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "cannot" not in line] == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_script_asks_the_program(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert done.code == 0
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
