"""Entry of `precision` and `python -m precision`: exit status and one-line complaints."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from precision.errors import UserError

BAD_INPUT = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0: all `exact` or `rounding`; 1: something else was found; 2: bad input or usage, told in one line;
    130: stopped by Ctrl-C.
    """
    import typer

    from precision.cli import app

    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = typer.main.get_command(app).main(given or ["--help"], "precision", standalone_mode=False)
    except _usage_errors() as error:
        _complain(f"{error.format_message()} See `{_command(error)} --help`.")
        return BAD_INPUT
    except UserError as error:
        _complain(str(error))
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return int(status or 0)


def _usage_errors() -> Any:
    # Typer brings its own copy of click in newer versions: the class is found through Typer's export.
    import typer

    return next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _command(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return str(context.command_path) if context else "precision"


def _complain(text: str) -> None:
    print(f"precision: {' '.join(text.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
