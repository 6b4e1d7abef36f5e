"""The checkpoint folder: everything that a model is, in files that load without unpickling anything.

`config.json` (the model and its heads), `model.safetensors`, `tokenizer.json`, `experiment.json` (the run that made
it), `README.md` (a card for people) and, where training can go on from it, `training/`. A folder is written whole or
not at all.
"""

import logging
import math
import re
import reprlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from allinone.checks import fits
from allinone.files.faults import first_line
from allinone.files.reading import read_json
from allinone.files.tensors import load_tensors, save_tensors, tensor_shapes
from allinone.files.whole import old_name, recover, whole_folder, write_json
from allinone.model.config import ModelConfig
from allinone.model.heads import HEADS, known_heads
from allinone.model.model import AllInOne
from allinone.model.start import heads_of
from allinone.model.time import TIMES, Rolling
from allinone.model.weights import load_all
from allinone.own_code import warn_of_other_code
from allinone.text.tokenizer import FILE_NAME as TOKENIZER
from allinone.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

FORMAT = 2
"""Format 2 names the way of time. Format 1 had only `roll_video`, in the model's fields."""
CONFIG, WEIGHTS, EXPERIMENT, CARD, TRAINING = (
    "config.json",
    "model.safetensors",
    "experiment.json",
    "README.md",
    "training",
)
OWN_FILES = {CONFIG, WEIGHTS, TOKENIZER, EXPERIMENT, CARD, TRAINING}
FILES = "files"
"""In `config.json`: the checksums of the other small files."""

OWN = "own_heads"
"""In `config.json`: the heads of a user's own code. They are left out where that code is not imported."""

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
WAYS = (
    "To get one, train it on your own clips (`allinone train captioned --set data.root=CLIPS --to RUN`) or convert "
    "released weights (`allinone convert WEIGHTS.ckpt FOLDER --vocab vocab.txt`). To make an index, released ones must "
    "have been trained further (`--set init=FOLDER`)"
)
"""Where people get a checkpoint from."""

Built = TypeVar("Built")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds. `tokenizer` is None where a model was converted without a vocabulary."""

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
    """Write a checkpoint folder, in place of an older one of that name; `more` may add files of `training/` to it.

    At every moment the old folder or the new one is there, whole: a process that is killed leaves no half.
    Raises ValueError where something stands in its place that is no checkpoint of ours.
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
        written = [name for name in (TOKENIZER, EXPERIMENT) if (new / name).exists()]
        heads = {kind: asdict(head.config) for kind, head in heads_of(model).items()}
        config = {
            "format": FORMAT,
            "model": asdict(model.config) | {"time": {"kind": model.encoder.time.kind, **asdict(model.config.time)}},
            "heads": {kind: fields for kind, fields in heads.items() if kind in HEADS},
            OWN: {kind: fields for kind, fields in heads.items() if kind not in HEADS},
            FILES: {name: file_checksum(new / name) for name in written},
        }
        write_json(new / CONFIG, config)
        (new / CARD).write_text(card or model_card(model), encoding="utf-8")
        if more is not None:
            more(new)
    return folder


def load_checkpoint(source: str | Path, num_frames: int | None = None) -> Checkpoint:
    """Read a checkpoint folder, the newest one of a run's folder, or that of a hub id such as `owner/name`.

    The network is used only for a hub id, where no such folder exists. `num_frames` makes the model one for clips of
    another number of frames. Of a run, the newest checkpoint that is not damaged is taken, and a warning logged for
    each that is. Raises ValueError, naming the file, where one is missing, damaged or does not fit; PermissionError
    where this user may not read it.
    """
    checkpoint, _ = first_whole(find_checkpoints(source), read_checkpoint)
    if num_frames is not None:
        checkpoint = replace(checkpoint, model=checkpoint.model.with_frames(num_frames))
    return checkpoint


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read one checkpoint folder; see `load_checkpoint`."""
    model = load_model(folder)
    tokenizer = Tokenizer.load(folder) if (folder / TOKENIZER).exists() else None
    check_saved(folder, TOKENIZER)
    if tokenizer is not None and tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"{folder}: {TOKENIZER} has {tokenizer.vocab_size} entries, but the model's vocab_size is "
            f"{model.config.vocab_size}"
        )
    experiment = read_json(folder / EXPERIMENT) if (folder / EXPERIMENT).exists() else None
    warn_of_other_code(code_of(folder), str(folder))
    return Checkpoint(model.eval(), tokenizer, experiment, folder)


def check_saved(folder: Path, name: str) -> None:
    """ValueError where a file is missing or another one than was saved with this checkpoint.

    A file that was not saved with it may be there all the same: a converted model is given its vocabulary later.
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
    """CRC-32 of the bytes of a small file."""
    return f"{zlib.crc32(path.read_bytes()):08x}"


def first_whole(folders: Sequence[Path], read: Callable[[Path], Built]) -> tuple[Built, int]:
    """What `read` makes of the first of these checkpoints that it can read, and how many were damaged before it.

    A damaged one is a warning, and where all are, the error of the last.
    """
    for number, folder in enumerate(folders):
        try:
            return read(folder), number
        except ValueError as error:
            if number + 1 == len(folders):
                raise
            log.warning("%s; using the checkpoint before it, %s", error, folders[number + 1].name)
    raise AssertionError("no folders")


def find_checkpoints(source: str | Path) -> list[Path]:
    """The local folder of a checkpoint or a hub id; of a run all there are, the newest first."""
    folder = Path(source)
    swapping = old_name(folder)
    if (folder / CONFIG).is_file():
        return [folder]
    if not folder.exists() and (swapping / CONFIG).is_file():
        return [swapping]
    if of_run := step_folders(folder):
        return of_run[::-1]
    if folder.exists():
        raise ValueError(f"{folder}: no checkpoint; one has a {CONFIG}, and a run's folder has checkpoints/. {WAYS}")
    if isinstance(source, Path) or not HUB_ID.fullmatch(source) or folder.parent.exists():
        raise ValueError(f"{folder}: no such checkpoint folder, and no hub id owner/name either. {WAYS}")
    return [download(source)]


def download(hub_id: str) -> Path:
    import huggingface_hub  # imported here: nobody else needs it, and it is slow to import

    wanted = [CONFIG, WEIGHTS, TOKENIZER, EXPERIMENT]
    try:
        folder = Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=wanted))
    except (OSError, ValueError) as error:  # the hub's own errors are kinds of these
        raise ValueError(
            f"{hub_id}: no such folder here, and not to be had from the hub ({first_line(error)})"
        ) from error
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{hub_id}: this hub repository is no checkpoint of All-in-One: it has no {CONFIG}")
    return folder


STEP_FOLDER = re.compile(r"step-(\d+)")


def step_folder(run_dir: Path, step: int) -> Path:
    """Where a run keeps its checkpoint of this step."""
    return run_dir / "checkpoints" / f"step-{step:08d}"


def step_folders(run_dir: Path) -> list[Path]:
    """The checkpoints of a run, damaged ones too, oldest first."""
    found = {}
    for folder in (run_dir / "checkpoints").glob("step-*"):
        if match := STEP_FOLDER.fullmatch(folder.name):
            found[int(match[1])] = folder
    return [found[step] for step in sorted(found)]


def newest_checkpoint(run_dir: Path) -> Path | None:
    return next(reversed(step_folders(run_dir)), None)


def model_card(model: AllInOne, text: str = "") -> str:
    """A model card: what this is, what it can do, and how to use it. `text` comes after the first paragraph."""
    config = model.config
    num_parameters = sum(p.numel() for p in model.parameters())
    heads = (
        "\n".join(f"- `{kind}`: {head.purpose}" for kind, head in heads_of(model).items()) or "None: an encoder alone."
    )
    parts = [
        "---\nlibrary_name: allinone\n---\n\n# All-in-One video-language model",
        f"One Transformer for video and words: {num_parameters:,} parameters, width {config.width}, "
        f"depth {config.depth}, {config.num_frames} frames of {config.image_size} x {config.image_size} pixels, "
        f"a vocabulary of {config.vocab_size:,}.",
        text,
        f"## Heads\n\n{heads}",
        '## Use\n\n```python\nimport allinone\n\nmodel = allinone.load("path/to/this/folder")\n```',
        f"`{CONFIG}` holds every number of the architecture, `{EXPERIMENT}`, if there is one, the run that made it.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def load_model(folder: Path) -> AllInOne:
    """The model of a checkpoint folder. Nothing is built before the sizes of `config.json` are those of the weights."""
    config, heads, left_out = read_config(folder / CONFIG)
    if left_out:
        files = ", ".join(code_of(folder)) or "code of your own"
        log.warning("%s: without its head %s: %s is not loaded", folder, ", ".join(left_out), files)
    shapes = tensor_shapes(folder / WEIGHTS)
    check_sizes(folder, config, heads, shapes)
    model = AllInOne.build(config, heads)
    model.source = str(folder)
    try:
        unread = tuple(f"heads.{kind}." for kind in left_out)
        tensors = load_tensors(folder / WEIGHTS)
        load_all(model, {name: tensor for name, tensor in tensors.items() if not name.startswith(unread)})
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    return model


def read_config(path: Path) -> tuple[ModelConfig, dict[str, Any], list[str]]:
    """The model's config and those of its heads, by kind; and the kinds whose code is not imported."""
    config = read_json(path)
    written = config.get("format")
    if type(written) is not int or not 1 <= written <= FORMAT:
        raise ValueError(f"{path}: format {written!r}, but this version of allinone reads 1 to {FORMAT}")
    model = model_from_json(config.get("model"), written, path)
    heads, own, known = config.get("heads", {}), config.get(OWN, {}), known_heads()
    for name, value in (("heads", heads), (OWN, own)):
        if not isinstance(value, dict):
            raise ValueError(f"{path}: {name}: expected an object, got {type(value).__name__}")
    unknown = sorted(heads.keys() - HEADS.keys())
    if unknown:
        raise ValueError(f"{path}: unknown heads {', '.join(unknown)}; there are: {', '.join(HEADS)}")
    configs = {
        kind: from_json(known[kind].Config, fields, f"{path}: head {kind}")
        for kind, fields in (heads | own).items()
        if kind in known
    }
    return model, configs, sorted(own.keys() - known.keys())


def code_of(folder: Path) -> dict[str, str]:
    """Return the user's files that the run of this checkpoint used, with their SHA-256."""
    code = read_json(folder / EXPERIMENT).get("code") if (folder / EXPERIMENT).exists() else None
    return dict(code) if isinstance(code, dict) else {}


def model_from_json(fields: Any, written: int, path: Path) -> ModelConfig:
    """Return the model's config, from any format."""
    where = f"{path}: model"
    fields = dict(fields) if isinstance(fields, Mapping) else fields
    if isinstance(fields, dict) and written == 1:
        fields["time"] = {"kind": Rolling.kind, "video": fields.pop("roll_video", False)}
    if isinstance(fields, dict) and isinstance(fields.get("time"), Mapping):
        time = dict(fields["time"])
        kind = time.pop("kind", None)
        if not isinstance(kind, str) or kind not in TIMES:
            files = ", ".join(code_of(path.parent)) or "the file that defines it"
            raise ValueError(
                f"{where}: time: unknown kind {kind!r}; there are: {', '.join(TIMES)}. If it is your own, import "
                f"{files} before loading the checkpoint"
            )
        fields["time"] = from_json(TIMES[kind].Config, time, f"{where}: time")
    return from_json(ModelConfig, fields, where)


def check_sizes(
    folder: Path, config: ModelConfig, heads: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """ValueError, naming the key, where `config.json` tells of another size than the weights have."""
    missing = [name for name, size in SIZE_TENSORS.items() if len(shapes.get(name, ())) != size]
    missing += [f"heads.{kind}.*" for kind in heads if not any(name.startswith(f"heads.{kind}.") for name in shapes)]
    if missing:
        raise ValueError(f"{folder / WEIGHTS}: {', '.join(missing)} missing or misshapen, of a model as in {CONFIG}")
    pairs = {f"model.{name}": (getattr(config, name), there) for name, there in model_sizes(shapes).items()}
    for kind, head in heads.items():
        for name, tensor in known_heads()[kind].sizes.items():
            said, shape = getattr(head, name), shapes.get(f"heads.{kind}.{tensor}")
            if said is not None and shape:
                pairs[f"heads.{kind}.{name}"] = (said if isinstance(said, int) else len(said), shape[0])
    wrong = [f"{key} is {said}, but {there} in the weights" for key, (said, there) in pairs.items() if said != there]
    if wrong:
        raise ValueError(f"{folder / CONFIG}: does not fit {WEIGHTS}: {'; '.join(wrong)}")


SIZE_TENSORS = {
    "encoder.text.word.weight": 2,
    "encoder.text.position.weight": 2,
    "encoder.vision.special": 2,
    "encoder.vision.position": 2,
    "encoder.vision.patch.weight": 4,
    "encoder.blocks.0.mlp.fc1.weight": 2,
}
"""Tensors that tell the sizes of a model, and their numbers of dimensions."""


def model_sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The sizes in a `ModelConfig` that the shapes of our weights tell."""
    word, position, special, places, patch, mlp = (shapes[name] for name in SIZE_TENSORS)
    sizes = {
        "width": word[1],
        "vocab_size": word[0],
        "max_text_len": position[0],
        "depth": len({name.split(".")[2] for name in shapes if name.startswith("encoder.blocks.")}),
        "mlp_ratio": mlp[0] // max(mlp[1], 1),
        "patch_size": patch[3],
        "image_size": patch[3] * math.isqrt(max(places[0] - special[0], 0)),
        "distilled": special[0] == 2,
    }
    if time := shapes.get("encoder.vision.time"):
        sizes["num_frames"] = time[0]
    if shared := shapes.get("heads.contrastive.text.weight"):
        sizes["shared_dim"] = shared[0]
    return sizes


def from_json(kind: Callable[..., Built], fields: Any, where: str) -> Built:
    """A frozen config from its JSON; lists become tuples. ValueError names a key that is unknown or of a wrong type."""
    if not isinstance(fields, Mapping):
        raise ValueError(f"{where}: expected an object, got {type(fields).__name__}")
    types = get_type_hints(kind)
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    for name, value in values.items():
        if name not in types:
            raise ValueError(f"{where}: no such key as {name!r}; there are: {', '.join(types) or 'none'}")
        if not fits(value, types[name]):
            wanted = types[name].__name__ if isinstance(types[name], type) else str(types[name])
            raise ValueError(f"{where}: {name}: wanted {wanted.replace('typing.', '')}, got {reprlib.repr(value)}")
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def refuse_to_overwrite(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"{folder}: stands where the checkpoint folder should go, and is no folder")
    there = sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in there if name not in OWN_FILES]
    if foreign or (there and not {CONFIG, WEIGHTS} & set(there)):
        names = ", ".join((foreign or there)[:5])
        raise ValueError(f"{folder}: holds {names}, which is no checkpoint of ours to replace; choose another folder")
