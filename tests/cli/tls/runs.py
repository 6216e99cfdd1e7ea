"""What the tests of `sealwire tls` share."""

import io
import re
from pathlib import Path

from rich.console import Console

from sealwire.cli.tls.verify import show_report
from sealwire.sidecars.tls_check.judging import RuleSet
from sealwire.sidecars.tls_check.report import make_report
from sealwire.sidecars.tls_check.target import EndpointFacts
from tests.build_context import ROOT
from tests.sidecars.tls_check.samples import target_facts

SECRET = "Geheimnis-7"

PAGE = ROOT / "docs" / "operations" / "tls.md"


def rules_file(folder: Path, text: str) -> Path:
    file = folder / "rules.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def blocks(language: str) -> list[str]:
    """The fenced blocks of the operator's page."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [content for name, content in fences if name == language]


def shown(*endpoints: EndpointFacts, quiet: bool = False, width: int = 200) -> str:
    report = make_report([target_facts(facts) for facts in endpoints], RuleSet())
    text = io.StringIO()
    show_report(report, Console(file=text, width=width), quiet=quiet)
    return text.getvalue()
