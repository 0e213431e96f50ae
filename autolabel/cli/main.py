"""The group of commands and the one place where errors become exit codes.

0 done; 1 finished, but more units failed than allowed; 2 the user's mistake or set-up, one line, no traceback; 3 stopped by
budget, quota or time, resumable; 4 a check failed; 130 interrupted.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Sequence

import click

from autolabel import __version__
from autolabel.cli import ask, batch, build, look, manage, nature, plan
from autolabel.cli.common import clean
from autolabel.cli.interrupts import Interrupts
from autolabel.errors import AutolabelError

COLLECT = 20_000, 10, 10  # Python's own first number is 700: a search through all that torch and transformers load takes half a second
HELP: type | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())  # a group without a command, which click before 8.2 does not raise


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="autolabel")
def cli() -> None:
    """Labels the neurons of language models, and proves with a number how far each label can be trusted.

    Start with `autolabel demo`. Shell completion: eval "$(_AUTOLABEL_COMPLETE=bash_source autolabel)".
    """


for command in (*build.COMMANDS, *ask.COMMANDS, *batch.COMMANDS, *plan.COMMANDS, *nature.COMMANDS, *look.COMMANDS, *manage.COMMANDS):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    gc.set_threshold(*COLLECT)
    ctrl_c = Interrupts()
    try:
        with ctrl_c:
            code = cli.main(args=None if arguments is None else list(arguments), prog_name="autolabel", standalone_mode=False)
    except BaseException as error:
        code = _interrupted() if ctrl_c.asked or isinstance(error, click.exceptions.Abort | KeyboardInterrupt) else _failed(error)
    if code == 130 and any(t is not threading.main_thread() and not t.daemon for t in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a call that does not end keeps its thread, and Python would wait for it; everything of ours is closed
    sys.exit(code if isinstance(code, int) else 0)


def _interrupted() -> int:
    click.echo("\nautolabel: interrupted; run the same command again and it goes on where it stopped", err=True)
    return 130


def _failed(error: BaseException) -> int:
    """The exit code of an error of the user's, said in a line; any other is raised again."""
    if isinstance(error, click.UsageError) and not isinstance(error, HELP):
        where = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
        click.echo(f"autolabel: {clean(' '.join(error.format_message().split())).rstrip('.')}{where}", err=True)
        return 2
    if isinstance(error, click.ClickException):
        error.show(file=sys.stderr)
        return 2
    if isinstance(error, AutolabelError):
        click.echo(f"autolabel: {clean(str(error))}", err=True)
        return error.exit_code
    if isinstance(error, BrokenPipeError):  # `autolabel sql ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, OSError):  # a full disk, a folder that may not be written to: what was committed stays
        place = f": {error.filename}" if error.filename else ""
        click.echo(f"autolabel: {clean(error.strerror or str(error))}{clean(place)}; make room or permissions, then run the same command again", err=True)
        return 2
    raise error
