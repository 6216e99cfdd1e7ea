"""Every `sealwire policy` command explains itself."""

from tests.cli.policy.runs import run


def test_each_subcommand_explains_itself_with_an_example() -> None:
    for name in ("check", "lint", "explain", "enforce"):
        result = run(name, "--help")
        assert result.exit_code == 0
        assert "Example" in result.output
