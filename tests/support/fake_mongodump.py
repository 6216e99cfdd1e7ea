"""Stands in for mongodump where Sealwire runs it; says no to every form of call but the one that is expected.

`mongodump --db --collection --out=-` writes the collection's documents to standard output, and `--config`
takes a YAML file with `uri` (MongoDB Database Tools, mongodump reference). Notes what it was given.
"""

import os
import re
import sys
from pathlib import Path

import yaml
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

FORM = (r"--quiet", r"--config=/dev/fd/[0-9]+", r"--db=[^/\\ \"$]+", r"--collection=.+", r"--out=-")


def main() -> None:
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        sys.stdout.write("mongodump version: 100.10.0\ngit version: 0\nGo version: go1.21\n")
        return
    if len(arguments) != len(FORM) or not all(map(re.fullmatch, FORM, arguments)):
        sys.exit(64)
    values = dict(argument.removeprefix("--").partition("=")[::2] for argument in arguments)
    with Path(values["config"]).open("rb") as config:
        settings = yaml.safe_load(config)
    if list(settings) != ["uri"] or not settings["uri"].startswith("mongodb://"):
        sys.exit(65)
    _note(values["db"] + "." + values["collection"], settings["uri"])
    fails = Path(__file__).with_suffix(".fails")
    if fails.exists() and values["collection"] == fails.read_text():
        sys.stdout.buffer.write(b"\x05\0\0\0\0")
        sys.exit(1)
    raw = CodecOptions(document_class=RawBSONDocument)
    with MongoClient[RawBSONDocument](settings["uri"]) as client:
        for document in client.get_database(values["db"], raw)[values["collection"]].find():
            sys.stdout.buffer.write(document.raw)


def _note(namespace: str, uri: str) -> None:
    """Which namespace, and whether the connection string can be seen from outside."""
    environment = "\0".join(os.environ.values())
    seen = uri in environment or uri in "\0".join(sys.argv)
    with Path(__file__).with_suffix(".log").open("a") as log:
        log.write(f"{namespace}\t{'seen' if seen else 'unseen'}\n")


if __name__ == "__main__":
    main()
