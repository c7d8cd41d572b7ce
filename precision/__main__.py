"""Entry of `precision` and `python -m precision`: exit status and one-line complaints."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from precision.errors import UserError

BAD_INPUT = 2
INTERNAL = 3
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0: all `exact` or `rounding`; 1: something else was found, or nothing measured; 2: bad input or usage,
    told in one line; 3: a fault of this program; 130: stopped by Ctrl-C.
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
    except OSError as error:
        _complain(f"a file could not be used: {error}; check the path, its permissions and the free space")
        return BAD_INPUT
    except ModuleNotFoundError as error:
        _complain(f"{error.name} is needed and not installed; pip install 'precision[all]'")
        return BAD_INPUT
    except Exception:
        # Not the user's mistake, and not a finding: told in full, with a status of its own.
        traceback.print_exc()
        return INTERNAL
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
