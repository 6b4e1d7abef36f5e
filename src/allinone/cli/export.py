"""`allinone export`."""

from typing import Any

from jsonargparse import ArgumentParser, Namespace


def add_commands(commands: Any) -> None:
    export = ArgumentParser(
        description="Write a folder of ONNX files that works without torch; each file is checked against torch."
    )
    export.add_argument("model", type=str, metavar="M", help="checkpoint folder, run folder or hub id")
    export.add_argument(
        "to", type=str, metavar="OUT", help="the folder for the ONNX files, preprocess.json and example.py"
    )
    commands.add_subcommand("export", export, help="a model to ONNX files")


def run_export(options: Namespace) -> None:
    from allinone.apps.export import export

    for exported in export(options.model, options.to):
        print(f"{exported.path}: differs from torch by {exported.difference:.1e} at most")


COMMANDS = {"export": run_export}
