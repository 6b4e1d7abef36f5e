"""The command `allinone`. Each command is one typed function of the modules here (see `command.py`).

Nothing heavy is imported before a command needs it: `allinone --help` loads neither torch nor the decoder.
"""

import gc
import logging
import os
import sys
import threading
import warnings
from argparse import ArgumentParser

from allinone.cli import asking, data, indexing, models, searching, training
from allinone.cli.command import add_commands, call
from allinone.files.faults import FULL, explain
from allinone.processes import leave_current_folder
from allinone.progress import show_logs

COMMANDS = {
    "demo": training.demo,
    "train": training.train,
    "evaluate": training.evaluate,
    "compare": training.compare,
    "convert": models.convert,
    "index": indexing.index,
    "search": searching.search,
    "ask": asking.ask,
    "classify": asking.classify,
    "serve": asking.serve,
    "data": data.COMMANDS,
    "export": models.export,
}

CHATTY = ("httpx", "httpcore", "huggingface_hub", "onnx_ir", "onnxscript")
"""Loggers of others, of which only warnings are shown."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command. An error that the user can correct is one line on stderr, and exit code 2."""
    if arguments is None:  # this process is the command's
        gc.set_threshold(50_000)  # by default (700), collections are a tenth of the time of large imports
        leave_current_folder()
        threading.excepthook = on_thread_error
    # 1. Parse; only then import what the command needs.
    chosen = vars(build_parser().parse_args(arguments))
    command, prog = chosen.pop("command"), chosen.pop("prog")
    # 2. Logs, in a run on many GPUs of the first process only.
    show_logs("")
    if "RANK" in os.environ:
        quiet_other_ranks(int(os.environ["RANK"]))
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        call(command, chosen)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)  # 128 + SIGINT, as of a shell
    except (ValueError, OSError, ImportError) as error:  # others are faults of ours, and keep their traceback
        print(f"{prog}: {explain(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        sys.exit(2)


def build_parser() -> ArgumentParser:
    """Return the parser of all commands; it imports none of what they use."""
    parser = ArgumentParser(
        prog="allinone",
        description="One Transformer for video and text: train, evaluate, search, ask. "
        "`allinone COMMAND --help` explains a command.",
        allow_abbrev=False,
    )
    add_commands(parser, COMMANDS)
    return parser


def quiet_other_ranks(rank: int) -> None:
    """Let only the first of torchrun's processes log and warn, because the others would repeat it.

    The log of `allinone.data` differs from process to process (the videos that it could not read, for example), so
    all processes show it.
    """
    # A warning in C++ that there are no unused parameters, which is usual with a single objective.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if rank > 0:
        warnings.simplefilter("ignore")
        for handler in logging.getLogger().handlers:
            handler.addFilter(lambda line: line.levelno >= logging.ERROR or line.name.startswith("allinone.data"))


def on_thread_error(thread: threading.ExceptHookArgs) -> None:
    """Print no traceback of a full disk: TensorBoard's writer raises it in its thread and again in the main one."""
    if not (isinstance(thread.exc_value, OSError) and thread.exc_value.errno in FULL):
        threading.__excepthook__(thread)
