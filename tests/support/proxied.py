"""Sealwire before a server, under the policy of a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sealwire.testbed.certificates import Authority
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess


def options_of(
    folder: Path, policy: str | Path, upstream: str, authority: Authority | None = None, **more: Any
) -> ProxyOptions:
    """Its files are below `folder`, and `policy` is the text or the file.

    With an authority both sides have TLS, and the server asks for a login; `more` are other options.
    """
    file = folder / "policy.yaml" if isinstance(policy, str) else policy
    if isinstance(policy, str):
        file.write_text(policy)
    if authority is not None:
        # one that is given is not replaced by another one of the same name
        more["certificate"] = more.get("certificate") or authority.issue("sealwire")
        more["authority"] = authority.certificate_file
    more = {"access_control": authority is not None, **more}
    return ProxyOptions(folder / "sealwire", file, upstream, **more)


@contextmanager
def proxied(
    folder: Path, policy: str | Path, upstream: str, authority: Authority | None = None, **more: Any
) -> Iterator[ProxyProcess]:
    """The proxy with `options_of` these, until the end of the block."""
    with ProxyProcess(options_of(folder, policy, upstream, authority, **more)) as proxy:
        yield proxy
