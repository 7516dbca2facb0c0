"""Run a command, and convert any exception to a sentence and an exit code."""

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
    """Run a command line, `sys.argv` if None, and return the exit code. No user error prints a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A key may contain characters that the terminal's encoding lacks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = commands.main(args=arguments, prog_name="lookalike", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has closed the pipe. The remaining output must not fail again when the interpreter
        # flushes it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except Exception as error:
        return _INTERRUPTED if _is_broken_off(error) else _report_error(error)
    return code if isinstance(code, int) else 0


# Errors of an import that Ctrl-C interrupts; numpy's import raises them.
_BROKEN_OFF = (ImportError, RuntimeError, SystemError)


def _is_broken_off(error: BaseException) -> bool:
    """Return True for an import error caused by Ctrl-C; other errors after Ctrl-C are reported."""
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


def _report_error(error: Exception) -> int:
    """Print an error and return the exit code."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    # Imported here because this loads gRPC, which most failing commands do not need.
    from lookalike._errors import InvalidArgumentError, LookalikeError

    if isinstance(error, LookalikeError):
        _print_error(_sentence(error))
        return _WRONG_USAGE if isinstance(error, InvalidArgumentError) else _FAILED
    if os.environ.get("LOOKALIKE_DEBUG", "0") not in ("", "0"):
        raise error
    _print_error(f"Unexpected {type(error).__name__}: {error}. Run it again with LOOKALIKE_DEBUG=1 to see where.")
    return _FAILED


def _sentence(error: LookalikeError) -> str:
    from lookalike._errors import OverloadedError

    if isinstance(error, OverloadedError) and error.retry_after is not None:
        return f"{error} Try again in {error.retry_after:.3g} s."
    # The client's message names its argument; the command line has an option instead.
    return str(error).replace("; allow more by timeout=.", "; allow more by --timeout.")


def _print_error(sentence: str) -> None:
    click.echo(f"Error: {sentence}", err=True)
