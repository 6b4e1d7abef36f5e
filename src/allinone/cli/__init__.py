"""The command `allinone`: thin doors to the library. Nothing heavy is imported before a command needs it.

Each module here adds its commands to the parser and names the function that runs each.
"""

import logging
import os
import sys
import threading
import warnings

from jsonargparse import ArgumentParser

from allinone.cli import asking, data, export, searching, training
from allinone.files.faults import FULL, explain
from allinone.processes import leave_current_folder
from allinone.progress import show_logs


def main(arguments: list[str] | None = None) -> None:
    """Run a command. What a user can mend is one line on stderr, and exit code 2."""
    if arguments is None:  # this process is the command's
        leave_current_folder()
        threading.excepthook = on_thread_error
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    show_logs("")
    if "RANK" in os.environ:
        say_things_once(int(os.environ["RANK"]))
    for chatty in ("httpx", "httpcore", "huggingface_hub", "onnx_ir", "onnxscript"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    command = str(chosen.command)
    try:
        (training.COMMANDS | searching.COMMANDS | asking.COMMANDS | data.COMMANDS | export.COMMANDS)[command](
            chosen[command]
        )
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, ImportError) as error:
        print(f"allinone {command}: {explain(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        sys.exit(2)


def say_things_once(rank: int) -> None:
    """Let only the first of torchrun's processes log and warn, because the others would repeat it.

    What `allinone.data` logs concerns the process: the videos that it could not read, for example.
    """
    # A warning in C++ that there are no unused parameters, which is usual with a single objective.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if rank > 0:
        warnings.simplefilter("ignore")
        for handler in logging.getLogger().handlers:
            handler.addFilter(lambda line: line.levelno >= logging.ERROR or line.name.startswith("allinone.data"))


def on_thread_error(thread: threading.ExceptHookArgs) -> None:
    """Say nothing of a full disk: TensorBoard's writer meets it in a thread, and raises it in the main one as well."""
    if not (isinstance(thread.exc_value, OSError) and thread.exc_value.errno in FULL):
        threading.__excepthook__(thread)


def build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="allinone", description="One Transformer for video and words: train, evaluate, search, ask."
    )
    commands = parser.add_subcommands(dest="command", required=True)
    training.add_commands(commands)
    searching.add_commands(commands)
    asking.add_commands(commands)
    data.add_commands(commands)
    export.add_commands(commands)
    return parser
