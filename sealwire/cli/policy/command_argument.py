"""A command as an argument in extended JSON, and the refusal of one as output."""

import json
import sys
from typing import Any

import click
from bson import encode
from bson.errors import BSONError
from bson.json_util import loads

from sealwire.policies.errors import Refusal
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import validate


def encoded_command(source: str, database: str | None) -> bytes:
    """The command in `source`, or on standard input for `-`, as BSON. Raises UsageError.

    `database` is its `$db` where it has none.
    """
    document = _parsed(sys.stdin.read() if source == "-" else source)
    if database is not None:
        document.setdefault("$db", database)
    if "$db" not in document:
        raise click.UsageError("the command names no database: give --db, or a $db in the command")
    try:
        encoded = encode(document)
        # the planner leaves what touches no protected collection to the server; here there is none
        validate(encoded, 0, len(encoded))
    except (BSONError, OverflowError, UnicodeEncodeError, RecursionError):
        raise click.UsageError("the command has a value or a name that BSON cannot hold") from None
    except BsonError as error:
        raise invalid_command(error) from None
    return encoded


def invalid_command(error: BsonError) -> click.UsageError:
    """What is to be raised for a command that no server could read."""
    return click.UsageError(f"the command is not valid: {error}")


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = loads(text)
    except (BSONError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError):
        raise click.UsageError("the command is not extended JSON; quote its keys and strings") from None
    if not isinstance(document, dict) or not document:
        raise click.UsageError('the command must be a JSON object such as {"find": "patients"}')
    return document


def show_refusal(refusal: Refusal, *, as_json: bool) -> None:
    """Print why a command is refused."""
    code = refusal.error_code
    if as_json:
        answer = {"refused": refusal.reason.value, "path": refusal.path, "rule": refusal.rule}
        click.echo(json.dumps(answer | {"code": code.code, "codeName": code.code_name}))
    else:
        click.echo(f"refused with {code.code} {code.code_name}: {refusal.message}")
