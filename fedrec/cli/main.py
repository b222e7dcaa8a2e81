"""The command line. Commands are thin: they parse, call the library, and print."""

import io
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import click
import typer

from fedrec.cli import (
    bench,
    compare,
    components,
    data,
    deploy,
    doctor,
    new,
    privacy,
    recipes,
    recommend,
    report,
    run,
    sweep,
)
from fedrec.errors import ComponentError, FedrecError
from fedrec.processes import open_standard_streams
from fedrec.version import VERSION
from fedrec.words import cleaned

_INTERRUPTED, _TERMINATED = 130, 143
_told_to_end: list[bool] = []  # by a signal, in this process
_LONGEST = 500  # characters of a message

app = typer.Typer(
    name="fedrec",
    help="Recommenders of several markets learn together without moving a single interaction.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    run.run,
    run.adapt,
    report.report,
    recommend.recommend,
    recipes.recipes,
    components.components,
    compare.compare,
    new.new,
    doctor.doctor,
    privacy.ledger,
    privacy.audit,
    privacy.forget,
):
    app.command(command.__name__)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="print the version and end")
    ] = False,
) -> None:
    """Recommenders of several markets learn together without moving a single interaction."""


app.add_typer(data.app, name="data")
app.add_typer(sweep.app, name="sweep")
app.add_typer(deploy.app, name="deploy")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Entry point: a user's error is one or two lines and exit code 2, a failed run exits 1."""
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character must not end a good run
    warnings.showwarning = _note  # type: ignore[assignment]
    signal.signal(signal.SIGTERM, _terminate)  # ends as an interruption does: what was begun can be resumed
    sys.exit(exit_code(lambda: app(standalone_mode=False)))


def exit_code(command: Callable[[], Any]) -> int:
    """Run ``command``; print what went wrong to standard error and return the exit code."""
    try:
        result = command()
        if result == _INTERRUPTED:  # typer turns Ctrl-C into this exit code and says nothing
            return _ended()
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        return 2
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "fedrec"
        return _complain(f"{error.format_message()} (see `{where} --help`)", 2)
    except FedrecError as error:
        if isinstance(error, ComponentError) and error.__cause__ is not None:
            click.echo("".join(traceback.format_exception(error.__cause__)), err=True)
        return _complain(str(error), error.exit_code)
    except OSError as error:
        return _complain(f"{cleaned(str(error.filename or 'a file'), 200)}: {error.strerror or error}", 2)
    except (KeyboardInterrupt, click.Abort):
        return _ended()


def _terminate(_number: int, _frame: object) -> None:
    if _told_to_end:  # it is on its way: to be told again must not interrupt that
        return
    _told_to_end.append(True)
    raise KeyboardInterrupt


def _ended() -> int:
    return _complain("terminated", _TERMINATED) if _told_to_end else _complain("interrupted", _INTERRUPTED)


def _note(message: Warning | str, category: type[Warning], *_place: object) -> None:
    """What a person should know of the next version, in one line; the rest is for developers."""
    if issubclass(category, FutureWarning):
        click.echo(f"fedrec: note: {cleaned(str(message), _LONGEST)}", err=True)


def _complain(message: str, code: int) -> int:
    """What was typed, or stands in a file, may be part of a message: it is made fit to be shown."""
    click.echo(f"fedrec: {cleaned(message, _LONGEST)}", err=True)
    return code


if __name__ == "__main__":
    main()
