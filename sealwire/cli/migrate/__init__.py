"""`sealwire migrate`: move stored values between plaintext, older keys and the newest key."""

import click

from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    1: "not all of it: values were left, it was paused; verify or remains found older forms",
    65: "the job's document or the keyring is damaged, or a key is missing",
    66: "the server has no such job",
    67: "the wrong key-encryption key or passphrase",
    69: "the server or a key provider does not answer, or another process took the job over",
    77: "the server or a provider denies, or the question was not answered as it has to be",
    78: "the policy, the collections or an option do not allow it",
}
_MODULES = {
    "plan": ("plan", "verify", "remains"),
    "rehearse": ("rehearse",),
    "begin": ("encrypt", "reencrypt", "decrypt"),
    "repair": ("repair",),
    "jobs": ("status", "pause", "resume", "abort", "forget-worker"),
}


@click.group(name="migrate", cls=DocumentedGroup, package=__name__, modules=_MODULES, exit_codes=EXIT_CODES)
def command() -> None:
    """Encrypt, re-encrypt and decrypt what is stored, while the application runs.

    A job works on the server past Sealwire, in small steps that it writes down: it can be paused, and after a
    kill at any point it is resumed. All values of a deterministic class move together, in windows.
    """
