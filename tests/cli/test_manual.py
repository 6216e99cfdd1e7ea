"""`sealwire manual` writes pages where it is told to."""

from pathlib import Path

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
