"""docs/format/envelope.md quotes vectors; what it quotes has to be what the frozen file says."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/format/envelope.md").read_text()
VECTORS = {
    vector["id"]: vector
    for vector in json.loads((ROOT / "tests/crypto/vectors/envelope-1.json").read_bytes())["vectors"]
}
QUOTED = re.findall(r"^Vector (\d+): .*?```\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)


def test_several_vectors_are_quoted() -> None:
    assert len(QUOTED) >= 3


@pytest.mark.parametrize(("number", "lines"), QUOTED)
def test_a_quoted_vector_is_the_frozen_one(number: str, lines: str) -> None:
    assert re.sub(r"\s", "", lines) == VECTORS[int(number)]["envelope"]


@pytest.mark.parametrize(
    ("number", "value"),
    re.findall(r"^Vector (\d+): [^`]*`?[^`]*`? ?\(plaintext `([0-9a-f]+)`", TEXT, re.MULTILINE),
)
def test_a_quoted_plaintext_is_the_frozen_one(number: str, value: str) -> None:
    assert VECTORS[int(number)]["value"] == value
