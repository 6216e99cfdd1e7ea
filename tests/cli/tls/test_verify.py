"""`sealwire tls verify`: wrong usage and unusable files are said before anything is looked at."""

from pathlib import Path

import pytest

from sealwire.cli.exit_codes import exit_code
from sealwire.sidecars.tls_check.errors import UnusableFile, UnusableTarget
from tests.cli.tls.runs import SECRET, Run


@pytest.mark.parametrize("change", ["no-such-rule=fail", "no-tls13=maybe", "no-tls13", "=fail"])
def test_a_rule_option_that_says_nothing_is_wrong_usage(run: Run, change: str) -> None:
    assert run("db.example:1", "--rule", change).exit_code == 2


def test_one_bad_target_stops_the_run_before_any_connection_and_is_counted(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "targets.txt"
    file.write_text(f"a.example:1\nuser:{SECRET}@db.example:27017\n")
    for arguments in (("a.example:1", f"mongodb://u:{SECRET}@a b/"), ("--targets-file", str(file))):
        result = run(*arguments)
        assert isinstance(result.exception, UnusableTarget)
        assert "2" in str(result.exception)
        assert SECRET not in f"{result.exception!r}{result.exception.hint}{result.output}"


@pytest.mark.parametrize("option", ["--ca", "--client-certificate"])
def test_a_file_that_holds_no_certificate_is_an_error(run: Run, tmp_path: Path, option: str) -> None:
    file = tmp_path / "file.pem"
    for content in (None, b"", b"-----BEGIN CERTIFICATE-----\n", bytes(5 << 20)):
        if content is not None:
            file.write_bytes(content)
        result = run("a.example:1", option, file)
        assert isinstance(result.exception, UnusableFile)
        assert exit_code(result.exception) == 78


def test_a_file_of_a_connection_string_is_read_before_anything_is_looked_at(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "empty.pem"
    file.touch()
    for option in ("tlsCAFile", "tlsCertificateKeyFile"):
        result = run("127.0.0.1:1", f"mongodb://db.example/?tls=true&{option}={file}")
        assert isinstance(result.exception, UnusableFile)
        assert result.output == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--watch", "6"),
        ("--watch", "0s"),
        ("--watch", "31d"),
        ("--watch", "x"),
        ("--metrics-listen", "127.0.0.1:9186"),
        ("--watch", "1h", "--metrics-listen", "9186"),
        ("--watch", "1h", "--metrics-listen", "127.0.0.1:0"),
        ("--timeout", "0"),
        ("--budget", "0"),
        ("--http-port", "65536"),
    ],
)
def test_an_option_out_of_bounds_is_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("a.example:1", *arguments).exit_code == 2
