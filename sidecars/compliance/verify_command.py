"""`sealwire compliance verify`: it reads one file, and imports nothing that checks a deployment."""

from pathlib import Path

import click

from sealwire.audit.files import load_verification_key
from sealwire.audit.signing import open_document
from sealwire.cli.options import PRESENT_FILE, json_option
from sealwire.cli.output import answer
from sealwire.policies.planning.arguments import one_line
from sealwire.proxy.server.errors import read_named_file
from sealwire.sidecars.compliance.requirements import FORM


@click.command()
@click.argument("path", metavar="REPORT", type=PRESENT_FILE)
@click.option("--key", type=PRESENT_FILE, required=True, help="audit.key.pub of `sealwire audit create-key`.")
@json_option
def verify(path: Path, key: Path, as_json: bool) -> None:
    """Say the verdict of the signed report at REPORT, whose deployment it is of and when it was made.

    Exit code 0 says that the report is what was signed, and nothing of the verdict.

    Exit code 78 when it is not what was signed.

    \b
    Examples:
      sealwire compliance verify today.json --key audit.key.pub
    """
    document = open_document(read_named_file(path, "the report"), FORM, load_verification_key(key), str(path))
    verdict = document.get("verdict", "none: the report is of a version without verdicts")
    text = f"verdict: {verdict}; {document['name']}, made {document['made']}"
    answer(one_line(text, 1024), dict(document), as_json=as_json)
