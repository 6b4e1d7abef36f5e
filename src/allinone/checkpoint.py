"""The checkpoint folder: everything that a model is, in files that load without unpickling anything.

config.json          the model and its heads
model.safetensors    the weights
tokenizer.json       the vocabulary
experiment.json      the run that made it
README.md            a model card
training/            what resuming needs, in checkpoints of a run

A folder is written whole or not at all.
"""

import logging
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from allinone.checkpoint_config import CONFIG, EXPERIMENT, WEIGHTS, check_sizes, code_of, config_values, read_config
from allinone.files.faults import first_line
from allinone.files.reading import read_json
from allinone.files.tensors import load_tensors, save_tensors, tensor_shapes
from allinone.files.whole import old_name, recover, whole_folder, write_json
from allinone.model.config import ModelConfig
from allinone.model.model import AllInOne
from allinone.model.start import heads_of
from allinone.model.weights import load_all
from allinone.own_code import CodeNotLoaded, warn_of_other_code
from allinone.text.tokenizer import FILE_NAME as TOKENIZER
from allinone.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

CARD, TRAINING = "README.md", "training"
OWN_FILES = {CONFIG, WEIGHTS, TOKENIZER, EXPERIMENT, CARD, TRAINING}

FILES = "files"
"""In `config.json`: the checksums of the other small files."""

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
STEP_FOLDER = re.compile(r"step-(\d+)")

WAYS = (
    "To get one, train it on your own clips (`allinone train captioned --set data.root=CLIPS --to RUN`) or convert "
    "released weights (`allinone convert WEIGHTS.ckpt FOLDER --vocab vocab.txt`). To make an index, released ones must "
    "have been trained further (`--set init=FOLDER`)"
)
"""How to get a checkpoint, for errors."""

Read = TypeVar("Read")


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint folder. `tokenizer` is None if a model was converted without a vocabulary."""

    model: AllInOne
    tokenizer: Tokenizer | None
    experiment: dict[str, Any] | None
    folder: Path


def save_checkpoint(
    folder: str | Path,
    model: AllInOne,
    tokenizer: Tokenizer | None,
    experiment: dict[str, Any] | None = None,
    card: str | None = None,
    more: Callable[[Path], None] | None = None,
) -> Path:
    """Write a checkpoint folder, whole or not at all, in place of an older one of that name.

    Args:
        card: text of the model card; by default `model_card(model)`.
        more: writes further files, such as `training/`, into the folder that it is given.

    Raises:
        ValueError: `folder` is something else than a checkpoint of ours.
    """
    folder = Path(folder)
    recover(folder)
    refuse_to_overwrite(folder)
    with whole_folder(folder) as new:
        save_tensors(new / WEIGHTS, model.state_dict())
        if tokenizer is not None:
            tokenizer.save(new / TOKENIZER)
        if experiment is not None:
            write_json(new / EXPERIMENT, experiment)
        # After these files, because the config has their checksums.
        written = [name for name in (TOKENIZER, EXPERIMENT) if (new / name).exists()]
        write_json(new / CONFIG, config_values(model) | {FILES: {name: file_checksum(new / name) for name in written}})
        (new / CARD).write_text(card or model_card(model), encoding="utf-8")
        if more is not None:
            more(new)
    return folder


def load_checkpoint(source: str | Path, num_frames: int | None = None) -> Checkpoint:
    """Read a checkpoint folder, the newest one of a run's folder, or that of a hub id such as `owner/name`.

    The network is used only for a hub id, and only if no such folder exists. Of a run, damaged checkpoints are skipped
    with a warning.

    Args:
        num_frames: makes the model one for clips of another number of frames.

    Raises:
        ValueError: a file is missing, damaged or does not fit the others; the message names it.
        PermissionError: this user may not read a file.
    """
    checkpoint, _ = first_whole(find_checkpoints(source), read_checkpoint)
    if num_frames is not None:
        checkpoint = replace(checkpoint, model=checkpoint.model.with_frames(num_frames))
    return checkpoint


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read one checkpoint folder; see `load_checkpoint`."""
    model = _read_model(folder)
    return Checkpoint(model.eval(), *read_small_files(folder, model.config), folder)


def _read_model(folder: Path) -> AllInOne:
    config, heads, unknown = read_config(folder / CONFIG)
    if unknown:
        files = ", ".join(code_of(folder)) or "code of your own"
        log.warning("%s: without its head %s: %s is not loaded", folder, ", ".join(unknown), files)
    check_sizes(folder, config, heads, tensor_shapes(folder / WEIGHTS))  # before the model takes memory
    model = AllInOne.build(config, heads)
    model.source = str(folder)
    skipped = tuple(f"heads.{kind}." for kind in unknown)
    try:
        tensors = load_tensors(folder / WEIGHTS)
        load_all(model, {name: tensor for name, tensor in tensors.items() if not name.startswith(skipped)})
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    return model


def read_small_files(folder: Path, config: ModelConfig) -> tuple[Tokenizer | None, dict[str, Any] | None]:
    """Read the tokenizer and the experiment of a checkpoint; None for what it does not have."""
    tokenizer = Tokenizer.load(folder) if (folder / TOKENIZER).exists() else None
    # Also notices a file that is gone, and another valid one in its place.
    check_saved(folder, TOKENIZER)
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"{folder}: {TOKENIZER} has {tokenizer.vocab_size} entries, but the model's vocab_size is "
            f"{config.vocab_size}"
        )
    warn_of_other_code(code_of(folder), str(folder))
    return tokenizer, read_json(folder / EXPERIMENT) if (folder / EXPERIMENT).exists() else None


def check_saved(folder: Path, name: str) -> None:
    """Compare a small file with its checksum in `config.json`.

    A file without a checksum may have been added later: a converted model is given its vocabulary so.

    Raises:
        ValueError: the file is missing or another one.
    """
    files = read_json(folder / CONFIG).get(FILES, {})
    saved = files.get(name) if isinstance(files, dict) else None
    if saved is None:
        return
    if not (folder / name).exists():
        raise ValueError(f"{folder}: damaged: no {name}, with which it was saved")
    if saved != file_checksum(folder / name):
        raise ValueError(f"{folder / name}: damaged: it is not what was saved")


def file_checksum(path: Path) -> str:
    """Return the CRC-32 of a small file."""
    return f"{zlib.crc32(path.read_bytes()):08x}"


def refuse_to_overwrite(folder: Path) -> None:
    """Raise ValueError if `folder` is a file, a link, or a folder with anything but a checkpoint."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"{folder}: exists where the checkpoint folder should go, and is no folder")
    names = sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in names if name not in OWN_FILES]
    # An empty folder may be used. One with neither config nor weights may be anything.
    if foreign or (names and not {CONFIG, WEIGHTS} & set(names)):
        listed = ", ".join((foreign or names)[:5])
        raise ValueError(f"{folder}: holds {listed}, which is no checkpoint of ours to replace; choose another folder")


# Finding checkpoints


def find_checkpoints(source: str | Path) -> list[Path]:
    """Return the local folder of a checkpoint or a hub id; of a run all its checkpoints, newest first."""
    folder = Path(source)
    replaced = old_name(folder)  # a process was killed while it replaced the folder
    # In this order: a checkpoint, the older one of a replacement that was killed, a run, a hub id.
    if (folder / CONFIG).is_file():
        return [folder]
    if not folder.exists() and (replaced / CONFIG).is_file():
        return [replaced]
    if of_run := step_folders(folder):
        return of_run[::-1]
    if folder.exists():
        raise ValueError(f"{folder}: no checkpoint; one has a {CONFIG}, and a run's folder has checkpoints/. {WAYS}")
    # If the folder above exists, a path was meant.
    if isinstance(source, Path) or not HUB_ID.fullmatch(source) or folder.parent.exists():
        raise ValueError(f"{folder}: no such checkpoint folder, and no hub id owner/name either. {WAYS}")
    return [download(source)]


def download(hub_id: str) -> Path:
    """Return the local copy of a hub repository, downloaded if it is not in the hub's cache."""
    import huggingface_hub  # imported here: only hub ids need it, and it is slow to import

    files = [CONFIG, WEIGHTS, TOKENIZER, EXPERIMENT]
    try:
        folder = Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=files))
    except (OSError, ValueError) as error:  # base classes of the hub's errors
        raise ValueError(f"{hub_id}: no such folder here, and the hub gave none ({first_line(error)})") from error
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{hub_id}: this hub repository is no checkpoint of All-in-One: it has no {CONFIG}")
    return folder


def first_whole(folders: Sequence[Path], read: Callable[[Path], Read]) -> tuple[Read, int]:
    """Read the first checkpoint that is not damaged; return it and the number of damaged ones before it.

    Each damaged one is a warning.

    Raises:
        ValueError: all are damaged; the error of the last. Or code of the user's is needed, which is no damage.
    """
    for i, folder in enumerate(folders):
        try:
            return read(folder), i
        except CodeNotLoaded:  # a ValueError too, but the checkpoint before it needs the same code
            raise
        except ValueError as error:
            if i + 1 == len(folders):
                raise
            log.warning("%s; using the checkpoint before it, %s", error, folders[i + 1].name)
    raise AssertionError("no folders")


def step_folder(run_dir: Path, step: int) -> Path:
    """Return the folder of a run's checkpoint of this step."""
    return run_dir / "checkpoints" / f"step-{step:08d}"


def step_folders(run_dir: Path) -> list[Path]:
    """Return the checkpoints of a run, damaged ones too, oldest first."""
    folders = {}
    # Sorted by number: names are in order only up to eight digits.
    for folder in (run_dir / "checkpoints").glob("step-*"):
        if match := STEP_FOLDER.fullmatch(folder.name):
            folders[int(match[1])] = folder
    return [folders[step] for step in sorted(folders)]


def newest_checkpoint(run_dir: Path) -> Path | None:
    """Return the checkpoint of a run's last step, if there is any."""
    return next(reversed(step_folders(run_dir)), None)


def model_card(model: AllInOne, text: str = "") -> str:
    """Return a model card: what this is, what it can do, and how to use it. `text` comes after the first paragraph."""
    config = model.config
    num_parameters = sum(p.numel() for p in model.parameters())
    heads = "\n".join(f"- `{kind}`: {head.purpose}" for kind, head in heads_of(model).items())
    parts = [
        "---\nlibrary_name: allinone\n---\n\n# All-in-One video-language model",
        f"One Transformer for video and text: {num_parameters:,} parameters, width {config.width}, "
        f"depth {config.depth}, {config.num_frames} frames of {config.image_size} x {config.image_size} pixels, "
        f"a vocabulary of {config.vocab_size:,}.",
        text,
        f"## Heads\n\n{heads or 'None: only an encoder.'}",
        '## Use\n\n```python\nimport allinone\n\nmodel = allinone.load("path/to/this/folder")\n```',
        f"`{CONFIG}` holds every number of the architecture, `{EXPERIMENT}`, if there is one, the run that made it.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
