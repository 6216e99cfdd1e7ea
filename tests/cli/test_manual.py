"""`sealwire manual` writes pages where it is told to."""

import shutil
import subprocess
from pathlib import Path

import click
import pytest

from sealwire.cli import sealwire
from sealwire.cli.manual import ManPage, man_pages
from tests.cli.runs import Run


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
