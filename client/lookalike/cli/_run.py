"""Run a command, and turn whatever it raises into one sentence and an exit code."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

import click

from lookalike.cli._commands import commands

if TYPE_CHECKING:
    from lookalike._errors import LookalikeError

_FAILED, _WRONG_USAGE, _INTERRUPTED = 1, 2, 130


def run(arguments: list[str] | None = None) -> int:
    """The exit code of a command line, `sys.argv` when None. Nothing that a user can cause is a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A key may hold any character, and a terminal may know fewer.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = commands.main(args=arguments, prog_name="lookalike", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough. What is left of it must not fail
        # again when the interpreter flushes it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except Exception as error:
        return _INTERRUPTED if _is_broken_off(error) else _told(error)
    return code if isinstance(code, int) else 0


# What an import that Ctrl-C breaks off may fail with instead: numpy's does.
_BROKEN_OFF = (ImportError, RuntimeError, SystemError)


def _is_broken_off(error: BaseException) -> bool:
    """Whether it is, or comes of, what an import failed with because of Ctrl-C; what fails afterwards is told."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if behind is None:
            return False
        if isinstance(behind, KeyboardInterrupt):
            return isinstance(error, _BROKEN_OFF)
        error = behind
    return False


def _told(error: Exception) -> int:
    """Say what went wrong; the exit code."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    # Here, because it loads gRPC, which most commands that fail do not need.
    from lookalike._errors import InvalidArgumentError, LookalikeError

    if isinstance(error, LookalikeError):
        _say(_sentence(error))
        return _WRONG_USAGE if isinstance(error, InvalidArgumentError) else _FAILED
    if os.environ.get("LOOKALIKE_DEBUG", "0") not in ("", "0"):
        raise error
    _say(f"Unexpected {type(error).__name__}: {error}. Run it again with LOOKALIKE_DEBUG=1 to see where.")
    return _FAILED


def _sentence(error: LookalikeError) -> str:
    from lookalike._errors import OverloadedError

    if isinstance(error, OverloadedError) and error.retry_after is not None:
        return f"{error} Try again in {error.retry_after:.3g} s."
    # The client names its argument; here it is an option.
    return str(error).replace("; allow more by timeout=.", "; allow more by --timeout.")


def _say(sentence: str) -> None:
    click.echo(f"Error: {sentence}", err=True)
