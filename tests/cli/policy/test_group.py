"""Every `sealwire policy` command explains itself."""

from tests.cli.runs import Run


def test_each_subcommand_explains_itself_with_an_example(run: Run) -> None:
    for name in ("check", "lint", "explain", "enforce"):
        result = run(name, "--help")
        assert result.code == 0
        assert "Example" in result.out
