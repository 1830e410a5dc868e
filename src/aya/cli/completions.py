"""`aya completions`: what a shell needs to complete the command's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from aya.cli import output
from aya.errors import UsageError

_HOW = {
    "zsh": "aya completions zsh > ~/.zfunc/_aya, with fpath+=~/.zfunc before compinit in ~/.zshrc",
    "bash": "aya completions bash > ~/.local/share/bash-completion/completions/aya",
    "fish": "aya completions fish > ~/.config/fish/completions/aya.fish",
}


@click.command()
@click.argument("shell", type=click.Choice([*_HOW]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a shell's completion script.

    \b
    zsh    aya completions zsh > ~/.zfunc/_aya, with fpath+=~/.zfunc before compinit in ~/.zshrc
    bash   aya completions bash > ~/.local/share/bash-completion/completions/aya
    fish   aya completions fish > ~/.config/fish/completions/aya.fish
    """  # noqa: D301 - click's mark for lines that stay
    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"there are no completions for {shell}", hint="aya completions --help")
    try:
        script = found(ctx.find_root().command, {}, "aya", "_AYA_COMPLETE").source()
    except RuntimeError as error:
        # macOS has bash 3.2, which knows too little.
        raise UsageError(str(error), hint="brew install bash, or use zsh") from error
    output.line(script)
