"""`sealwire tls verify`: wrong usage and unusable files are said before anything is looked at."""

from pathlib import Path

import pytest

from tests.cli.runs import Run
from tests.cli.tls.runs import SECRET


@pytest.mark.parametrize("change", ["no-such-rule=fail", "no-tls13=maybe", "no-tls13", "=fail"])
def test_a_rule_option_that_says_nothing_is_wrong_usage(run: Run, change: str) -> None:
    assert run("verify", "db.example:1", "--rule", change).code == 2


def test_one_bad_target_stops_the_run_before_any_connection_and_is_counted(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "targets.txt"
    file.write_text(f"a.example:1\nuser:{SECRET}@db.example:27017\n")
    for place, *arguments in (
        ("target 2", "a.example:1", f"mongodb://u:{SECRET}@a b/"),
        (f"{file}:2", "--targets-file", file),
    ):
        result = run("verify", *arguments)
        assert result.code == 78
        assert f"error: {place}: " in result.err
        assert SECRET not in result.out + result.err


@pytest.mark.parametrize("option", ["--ca", "--client-certificate"])
def test_a_file_that_holds_no_certificate_is_an_error(run: Run, tmp_path: Path, option: str) -> None:
    file = tmp_path / "file.pem"
    for content in (None, b"", b"-----BEGIN CERTIFICATE-----\n", bytes(5 << 20)):
        if content is not None:
            file.write_bytes(content)
        result = run("verify", "a.example:1", option, file)
        assert result.code == 78
        assert f"error: {file}: no certificate" in result.err


def test_a_file_of_a_connection_string_is_read_before_anything_is_looked_at(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "empty.pem"
    file.touch()
    for option in ("tlsCAFile", "tlsCertificateKeyFile"):
        result = run("verify", "127.0.0.1:1", f"mongodb://db.example/?tls=true&{option}={file}")
        assert (result.code, result.out) == (78, "")


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
    assert run("verify", "a.example:1", *arguments).code == 2
