"""The parts of the configuration that say what is compressed, and whether clients come by a load balancer."""

from collections.abc import Mapping
from typing import Final

from sealwire.files.yaml_source import Node
from sealwire.proxy.server.config.settings import Compressed
from sealwire.wire.compressors import (
    COMPRESSOR_NAMES,
    ZLIB_LEVELS,
    Compressor,
    CompressorMissing,
    Zlib,
    compressor_named,
)

COMPRESSION_KEYS: Final = ("compression", "zlib_level")
"""The keys that `listen` and `upstream` both have."""


def read_compressed(entries: Mapping[str, Node]) -> Compressed:
    """What one side is offered: nothing, unless it is written out. Raises SourceError."""
    level = entries.get("zlib_level")
    zlib_level = Compressed().zlib_level if level is None else level.integer(ZLIB_LEVELS[0], ZLIB_LEVELS[-1])
    setting = entries.get("compression")
    names = () if setting is None else _names(setting)
    if level is not None and Zlib.name not in names:
        raise level.error("nothing is compressed by zlib here", "add `compression: zlib`, or take this out")
    return Compressed(names, zlib_level)


def _names(node: Node) -> tuple[str, ...]:
    text = node.text()
    names = tuple(part.strip() for part in text.split(",")) if text != "none" else ()
    for name in names:
        if name not in COMPRESSOR_NAMES:
            every = ",".join(COMPRESSOR_NAMES)
            raise node.error("not a list of compressors", f"write some of {every}, with commas, or none")
        try:
            compressor_named(name)
        except CompressorMissing as missing:
            raise node.error(str(missing), missing.hint) from None
    if len(set(names)) < len(names):
        raise node.error("a compressor is named twice", "name each once, the best first")
    return names


def read_balanced(listen: Mapping[str, Node], *, single: bool) -> bool:
    """Whether clients come through a load balancer. Raises SourceError."""
    if "load_balanced" not in listen:
        return False
    node = listen["load_balanced"]
    if node.boolean() and not single:
        raise node.error(
            "a load balancer cannot stand before the members of a set",
            "use `load_balanced` with one upstream: a mongos or a single server",
        )
    return node.boolean()


def compressors(offer: Compressed) -> tuple[Compressor, ...]:
    """What does the work. Their libraries are there: the reader has looked."""
    return tuple(compressor_named(name, offer.zlib_level) for name in offer.names)
