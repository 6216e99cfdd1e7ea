"""What the configuration says of compression and of a load balancer."""

import sys

import pytest

from sealwire.proxy.server.config.settings import Compressed
from sealwire.proxy.server.config.wire_names import compressors
from tests.proxy.server.config_texts import SHORT, error_of, parse


def with_keys(listen: str = "", upstream: str = "") -> str:
    text = SHORT.replace("listen: {", f"listen: {{{listen}{', ' if listen else ''}")
    return text.replace("upstream: {", f"upstream: {{{upstream}{', ' if upstream else ''}")


def test_nothing_is_compressed_unless_it_is_written_out() -> None:
    config = parse(SHORT)
    assert config.listen_compression == config.upstream_compression == Compressed()
    assert not config.listen_compression.names
    assert not config.load_balanced


def test_each_side_has_its_own() -> None:
    config = parse(with_keys("compression: 'zstd, zlib', zlib_level: 6", "compression: snappy"))
    assert config.listen_compression == Compressed(("zstd", "zlib"), 6)
    assert config.upstream_compression == Compressed(("snappy",))
    assert [each.name for each in compressors(config.listen_compression)] == ["zstd", "zlib"]
    assert parse(with_keys("compression: none")).listen_compression == Compressed()


def test_variables_name_both() -> None:
    environ = {"SEALWIRE_LISTEN_COMPRESSION": "snappy,zlib", "SEALWIRE_LISTEN_ZLIB_LEVEL": "9"}
    config = parse(SHORT, environ)
    assert config.listen_compression == Compressed(("snappy", "zlib"), 9)
    assert parse(SHORT, {"SEALWIRE_LISTEN_LOAD_BALANCED": "true"}).load_balanced


@pytest.mark.parametrize(
    ("listen", "in_hint"),
    [
        ("compression: lz4", "zstd"),
        ("compression: 'zlib,'", "commas"),
        ("compression: 'zlib,zlib'", "once"),
        ("compression: zlib, zlib_level: 0", "1"),
        ("compression: zlib, zlib_level: 10", "9"),
        ("compression: zstd, zlib_level: 6", "zlib"),
        ("zlib_level: 6", "zlib"),
    ],
)
def test_what_means_nothing_is_refused(listen: str, in_hint: str) -> None:
    error = error_of(with_keys(listen))
    assert in_hint in f"{error} {error.hint}"


@pytest.mark.parametrize(("name", "module"), [("snappy", "cramjam"), ("zstd", "backports")])
def test_a_library_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    if name == "zstd" and sys.version_info >= (3, 14):
        pytest.skip("Python has it")
    monkeypatch.setitem(sys.modules, module, None)
    assert "sealwire[compression]" in error_of(with_keys(upstream=f"compression: {name}")).hint


def test_no_load_balancer_stands_before_a_set() -> None:
    members = "members: [{listen: 'a:1', upstream: 'b:2'}, {listen: 'a:3', upstream: 'b:4'}]"
    sections = "listen: {tls: {mode: plaintext}, load_balanced: true}\nupstream: {tls: {mode: plaintext}}"
    rest = "policy: p\nkeyring: k\nkek: {provider: environment}"
    assert "mongos" in error_of(f"{sections}\n{rest}\n{members}\n").hint
