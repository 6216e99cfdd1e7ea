"""Where the parts of an envelope lie, only the room `crypto` says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.crypto.envelope import MARKER
from tools.coverage_run import source_modules

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = {
    *("CLASS_ID_END", "CONTEXT_FORMAT", "CONTEXT_HEADER_BYTES", "FORMAT", "FORMAT_OFFSET", "HEADER_BYTES"),
    *("NONCE_BYTES", "SIV_BYTES", "TYPE_OFFSET"),
}
TAKEN = {
    "policies/aggregation/pipelines.py": {repr(MARKER)},
    # the header is the key of a dictionary of ciphers
    "keys/keyring/keyring.py": {"HEADER_BYTES"},
    # the order of envelopes is that of the bytes behind what they share
    "sidecars/migration/windows/order.py": {"TYPE_OFFSET"},
}


def found_in(tree: ast.AST) -> Iterator[str]:
    """What a module says of the layout: names it imports, and constants of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "sealwire.crypto.envelope":
            yield from (name.name for name in node.names if name.name in LAYOUT)
        if isinstance(node, ast.Constant) and node.value in (b"SW", b"\x80SW"):
            yield repr(node.value)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            names = node.targets if isinstance(node, ast.Assign) else [node.target]
            if node.value.value == 5 and any("CONTENT" in ast.unparse(name) for name in names):
                yield ast.unparse(node)


@pytest.mark.plain_core(reason="reads the sources at the root")
def test_no_other_room_says_where_the_parts_of_an_envelope_lie() -> None:
    found: dict[str, set[str]] = {}
    for module in source_modules():
        if not module.startswith("crypto/"):
            said = set(found_in(ast.parse((ROOT / module).read_bytes())))
            if said:
                found[module] = said
    assert found == TAKEN


def test_what_is_looked_for_is_found() -> None:
    said = """
from sealwire.crypto.envelope import TYPE_OFFSET, binary
MARK = b"\\x80SW"
CONTENT: Final = 5
"""
    assert list(found_in(ast.parse(said))) == ["TYPE_OFFSET", "CONTENT: Final = 5", "b'\\x80SW'"]
