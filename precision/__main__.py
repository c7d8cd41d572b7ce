"""Entry of `precision` and `python -m precision`: exit status and one-line complaints."""

from __future__ import annotations

import importlib.util
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
    given = list(sys.argv[1:] if arguments is None else arguments)
    if any(importlib.util.find_spec(name) is None for name in ("typer", "rich")):
        return _bare(given)
    import typer

    from precision.cli.app import app

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


def _bare(given: Sequence[str]) -> int:
    """A machine that captures has no libraries for a command line: it has one command."""
    from precision.capturing import NEEDED_ELSEWHERE, bare_main

    try:
        if given and given[0] not in ("run", "-h", "--help"):
            raise UserError(
                f"without its libraries precision has the command `run` alone; got {given[0]!r}; "
                f"take the captures to a machine with {NEEDED_ELSEWHERE}"
            )
        return bare_main(given or ["--help"])
    except UserError as error:
        _complain(str(error))
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        _complain(f"a file could not be used: {error}; check the path, its permissions and the free space")
        return BAD_INPUT
    except SystemExit as ending:  # --help
        return int(ending.code or 0)
    except ModuleNotFoundError as error:
        _complain(f"{error.name} is needed and not installed; pip install numpy safetensors")
        return BAD_INPUT
    except Exception:
        traceback.print_exc()
        return INTERNAL


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
