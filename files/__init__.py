"""Reads the files that people write: YAML in which every value knows its line and column.

Owns: `yaml_source.parse_yaml` and the one error, `errors.SourceError`; beside it `html`,
which writes what people look at. What a key means is the caller's: the policy's loader, the proxy's
configuration, the rules of the TLS check.

May not import: any other room, asyncio, socket, ssl, logging; the parser takes bytes, not paths.
"""
