"""Programs get no variable that could hold what opens keys."""

import ast

import pytest

from sealwire.files.child_environment import child_environment
from tests.build_context import ROOT
from tests.glossary_names import product_files

_WORKERS = "proxy/server/supervisor/roster.py"
"""Workers open keys themselves."""
_STARTS = {"Popen", "run", "call", "check_call", "check_output", "create_subprocess_exec"}


def test_a_program_gets_what_it_needs_and_no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("SEALWIRE_PASSPHRASE", "secret")
    monkeypatch.setenv("VAULT_TOKEN", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    assert child_environment()["PATH"] == "/usr/bin"
    assert not {"SEALWIRE_PASSPHRASE", "VAULT_TOKEN", "HTTPS_PROXY"} & child_environment().keys()
    assert child_environment("HTTPS_PROXY", "ABSENT")["HTTPS_PROXY"] == "http://proxy.example"


def test_every_program_that_the_product_starts_gets_an_environment_that_was_chosen() -> None:
    inheriting = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in product_files()
        if str(path.relative_to(ROOT)) != _WORKERS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name | ast.Attribute)
        and ast.unparse(node.func.value) in ("subprocess", "asyncio")
        and node.func.attr in _STARTS
        and ast.unparse(node.func) != "asyncio.run"
        and "env" not in [keyword.arg for keyword in node.keywords]
    ]
    assert inheriting == []
