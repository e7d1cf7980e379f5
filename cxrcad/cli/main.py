"""`cxrcad`: the group of commands, loaded only when they are called, and what becomes of errors."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

import cxrcad
from cxrcad.cli.progress import note
from cxrcad.core import CxrcadError, RankError, ToldElsewhere, UsageError, WriteError
from cxrcad.files import UNENCODABLE

__all__ = ["COMMANDS", "GROUPS", "cli", "main"]

GROUPS: dict[str, dict[str, str]] = {
    "Use": {
        "detect": "Find nodules in radiographs: boxes.json.",
        "listen": "Take radiographs from DICOM senders, send reports back.",
        "watch": "Find nodules in each radiograph that comes into a folder.",
        "queue": "Tell what became of what `listen` and `watch` took.",
        "merge": "Join what the shards of one detection wrote.",
        "models": "List the packaged models.",
        "info": "Say what a radiograph, a data set, a model or a run is.",
        "doctor": "Say whether all that detection needs works here.",
        "demo": "Make phantom scans, find their nodules, write a report.",
    },
    "Train": {
        "train": "Train a network on a data folder, one fold or all.",
        "runs": "List trainings, or compare runs.",
        "export": "Package a trained fold as a model: weights, ONNX, card.",
        "lungs": "Write a model's lung masks for images without.",
    },
    "Evaluate": {
        "evaluate": "F1, recall, precision and lung Dice of a run's test cases.",
        "froc": "Sensitivity against false positives per image: table, plot, JSON, CSV.",
        "compare": "Paired difference of two runs on the same images, with interval and p.",
        "robustness": "How windows, noise, sizes, borders and devices change a model's figures.",
        "insertion-test": "Whether a model responds to insertion artefacts.",
    },
    "Research": {
        "reproduce": "Train and score what a table or figure of the paper compares.",
        "simulate": "Project nodules into radiographs, in JSRT's layout.",
        "phantom": "Write synthetic radiographs with nodules in JSRT's layout.",
    },
}
COMMANDS: dict[str, str] = {name: words for group in GROUPS.values() for name, words in group.items()}

FORMER = {"fingerprint": "insertion-test"}
"""Commands by their former names, which still work."""


class _Commands(click.Group):
    """A group whose commands are modules of cxrcad.cli, imported when called: `--help` must answer at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"cxrcad.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in FORMER:
            former, args = args[0], [FORMER[args[0]], *args[1:]]
            note(f"cxrcad {former} is now cxrcad {args[0]}")
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            known = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {args[0]!r}; {known}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(cxrcad.__version__, prog_name="cxrcad")
def cli() -> None:
    """Find lung nodules in chest radiographs with MO-SegNet (Park, Jeong, Moon 2020).

    Settings come from: default < cxrcad.toml here < --config FILE < environment (CXRCAD_SIDE, ...) < flag.
    Results go to stdout or files, progress to stderr. Exit code: 0 done, 1 an input failed, 2 wrong usage.
    Research only; not a medical device.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; every error of cxrcad's own becomes one sentence on stderr.

    SIGTERM (a batch system's time limit) stops the work as Ctrl-C does: what is done is kept; exit code 143. A library
    that is being loaded may turn the stop into an error of its own; it is a stop all the same.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=UNENCODABLE)
    asked: list[int] = []  # the exit codes of the stops
    with _stopping(asked):
        try:
            status: Any = cli.main(args=arguments, prog_name="cxrcad", standalone_mode=False, obj=asked)
        except (click.exceptions.Abort, KeyboardInterrupt) as stop:
            note(f"cxrcad: {str(stop.__cause__ or stop) or 'stopped'}")
            status = asked[0] if asked else 130
        except ToldElsewhere as told:
            status = asked[0] if asked else told.exit_code
        except Exception as error:
            if asked and not isinstance(error, WriteError | RankError):
                note("cxrcad: stopped")
                status = asked[0]
            elif isinstance(error, click.ClickException | UsageError) and _told_beside(arguments):
                status = error.exit_code
            else:
                status = _told(error)
    _give_up_stdout()
    sys.exit(status if isinstance(status, int) else 0)


@contextlib.contextmanager
def _stopping(asked: list[int]) -> Iterator[None]:
    """While it is open, Ctrl-C and SIGTERM raise KeyboardInterrupt, and their exit codes go to `asked`."""

    def stop(number: int, frame: object) -> None:
        asked.append(128 + number)
        raise KeyboardInterrupt

    heeded = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _told_beside(arguments: Sequence[str] | None) -> bool:
    """Whether another process of the same training, started with the same words on this machine, tells of them."""
    words, known = sys.argv[1:] if arguments is None else arguments, os.environ
    by_torchrun, by_srun = "TORCHELASTIC_RUN_ID" in known, "SLURM_STEP_ID" in known
    place = known.get("LOCAL_RANK") if by_torchrun else known.get("SLURM_LOCALID") if by_srun else "0"
    return list(words[:1]) == ["train"] and place not in (None, "0")


def _told(error: Exception) -> int:
    """Tell an error in one sentence; its exit code. One that is no fault of input or machine is raised again."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        return 1
    if isinstance(error, CxrcadError):
        for line in f"Error: {error}".split("\n"):
            note(line)
        return error.exit_code
    if isinstance(error, OSError):  # a full disk behind stdout, a folder that may not be listed
        place, reason = error.filename or "the output", error.strerror or error
        note(f"Error: {place}: {reason}; check the path, its permissions and the room on the disk")
    elif isinstance(error, MemoryError):
        note("Error: not enough memory; close other programs, or lower --side, --batch or --threads")
    else:
        raise error
    return 1


def _give_up_stdout() -> None:
    """Let what stdout did not take go nowhere: at its end, Python would fail on it once more and change the code."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
