"""`sealwire completion`: click's own completion of commands and options, for a shell."""

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_SEALWIRE_COMPLETE"
"""By which click knows that a shell asks; it is made of the program's name."""


@click.command(name="completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands and options of sealwire.

    bash has to be 4.4 or newer.

    \b
    Examples:
      sealwire completion bash > /usr/share/bash-completion/completions/sealwire
      sealwire completion zsh > /usr/local/share/zsh/site-functions/_sealwire
      sealwire completion fish > ~/.config/fish/completions/sealwire.fish
    """
    root = click.get_current_context().find_root().command
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(made(root, {}, "sealwire", _VARIABLE).source())
