"""The checkpoint folder: everything that a model is, in files that load without unpickling anything.

`config.json` (the model and its heads), `model.safetensors`, `tokenizer.json`, `experiment.json` (the run that made
it), `README.md` (a card for people) and, where training can go on from it, `training/`. A folder is written whole or
not at all.
"""

import ctypes
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from allinone.model.config import ModelConfig
from allinone.model.heads import HEADS, AnswerHead, Head, LabelHead, MatchingHead, RankingHead
from allinone.model.model import AllInOne, resize_position, resize_time
from allinone.model.weights import Report, first_line, load_all
from allinone.text.tokenizer import FILE_NAME as TOKENIZER
from allinone.text.tokenizer import Tokenizer

FORMAT = 1
CONFIG, WEIGHTS, EXPERIMENT, CARD, TRAINING = (
    "config.json",
    "model.safetensors",
    "experiment.json",
    "README.md",
    "training",
)
OWN_FILES = {CONFIG, WEIGHTS, TOKENIZER, EXPERIMENT, CARD, TRAINING}
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

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
    new = beside(folder, "new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        config = {
            "format": FORMAT,
            "model": asdict(model.config),
            "heads": {kind: asdict(head.config) for kind, head in named_heads(model).items()},
        }
        write_json(new / CONFIG, config)
        save_tensors(new / WEIGHTS, model.state_dict())
        if tokenizer is not None:
            tokenizer.save(new / TOKENIZER)
        if experiment is not None:
            write_json(new / EXPERIMENT, experiment)
        (new / CARD).write_text(card or model_card(model), encoding="utf-8")
        if more is not None:
            more(new)
        flush(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    put_in_place(new, folder)
    return folder


def load_checkpoint(source: str | Path, num_frames: int | None = None) -> Checkpoint:
    """Read a checkpoint folder, the newest one of a run's folder, or that of a hub id such as `owner/name`.

    The network is used only for a hub id, where no such folder exists. `num_frames` makes the model one for clips of
    another number of frames. Raises ValueError, naming the file, where one is missing, damaged or does not fit.
    """
    folder = find_checkpoint(source)
    model = build_model(folder)
    load_weights(model, folder)
    tokenizer = Tokenizer.load(folder) if (folder / TOKENIZER).is_file() else None
    if tokenizer is not None and tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"{folder}: {TOKENIZER} has {tokenizer.vocab_size} entries, but the model's vocab_size is "
            f"{model.config.vocab_size}"
        )
    experiment = read_json(folder / EXPERIMENT) if (folder / EXPERIMENT).is_file() else None
    if num_frames is not None:
        model = model.with_frames(num_frames)
    return Checkpoint(model.eval(), tokenizer, experiment, folder)


def find_checkpoint(source: str | Path) -> Path:
    """The local folder of a checkpoint, a run or a hub id."""
    folder = Path(source)
    swapping = beside(folder, "old")
    if (folder / CONFIG).is_file():
        return folder
    if not folder.exists() and (swapping / CONFIG).is_file():
        return swapping
    newest = newest_checkpoint(folder)
    if newest is not None:
        return newest
    if folder.exists():
        raise ValueError(f"{folder}: no checkpoint; one has a {CONFIG}, and a run's folder has checkpoints/")
    if isinstance(source, Path) or not HUB_ID.fullmatch(source) or folder.parent.exists():
        raise ValueError(f"{folder}: no such checkpoint folder, and no hub id owner/name either")
    return download(source)


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
    """The checkpoints of a run, oldest first."""
    found = {}
    for folder in (run_dir / "checkpoints").glob("step-*"):
        match = STEP_FOLDER.fullmatch(folder.name)
        if match and (folder / CONFIG).is_file():
            found[int(match[1])] = folder
    return [found[step] for step in sorted(found)]


def newest_checkpoint(run_dir: Path) -> Path | None:
    return next(reversed(step_folders(run_dir)), None)


def start_from(model: AllInOne, source: Checkpoint, tokenizer: Tokenizer | None = None) -> Report:
    """Start a model from the weights of another, with as many of its heads as this one has too.

    Rows that stand for a word piece or an answer go by name, so vocabularies may differ. `tokenizer` is that of the new
    model; without both tokenizers the vocabularies must be equally large, and are taken to be the same. Position and
    temporal embeddings are resized. Heads of other kinds or sizes are dropped or stay new; all of it is in the report.
    Raises ValueError where the encoders compute different things.
    """
    check_same_blocks(source, model.config)
    if None in (source.tokenizer, tokenizer) and source.model.config.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"{source.folder}: a vocabulary of {source.model.config.vocab_size} entries, wanted "
            f"{model.config.vocab_size}; give both tokenizers, which tell the entries that are the same"
        )
    known_rows = tokenizer is not None and source.tokenizer is not None
    old_names = row_names(source.model, source.tokenizer if known_rows else None)
    new_names = row_names(model, tokenizer if known_rows else None)
    own, report, taken = model.state_dict(), Report(), {}
    for name, old in source.model.state_dict().items():
        new, rows = own.get(name), (old_names.get(name, ()), new_names.get(name, ()))
        if new is None:
            report.dropped.append(f"{name}: this model has no such tensor")
        elif all(rows) and old.shape[1:] == new.shape[1:] and (len(old) != len(new) or rows[0] != rows[1]):
            taken[name], num_known = match_rows(old, rows[0], new, rows[1])
            report.resized.append(f"{name} ({num_known} of {len(rows[1])} entries known)")
        elif old.shape == new.shape:
            taken[name] = old
            report.taken.append(name)
        elif name in RESIZED:
            taken[name] = RESIZED[name](old, new, model.config)
            report.resized.append(f"{name} {tuple(old.shape)} to {tuple(new.shape)}")
        else:
            report.dropped.append(f"{name}: {tuple(old.shape)}, and this model's is {tuple(new.shape)}")
    load_all(model, {**own, **taken})
    ranking, matching = model.get(RankingHead), source.model.get(MatchingHead)
    if ranking is not None and matching is not None and source.model.get(RankingHead) is None:
        ranking.start_from(matching)
        taken |= {f"heads.ranking.{name}": tensor for name, tensor in ranking.state_dict().items()}
        report.taken.append("heads.matching.linear -> heads.ranking.linear (the row of a matching pair)")
    report.new.extend(name for name in own if name not in taken)
    return report


def check_same_blocks(source: Checkpoint, config: ModelConfig) -> None:
    fixed = ("width", "num_heads", "depth", "mlp_ratio", "patch_size", "distilled")
    pairs = {name: (getattr(source.model.config, name), getattr(config, name)) for name in fixed}
    wrong = [f"{name} {there} (wanted {here})" for name, (there, here) in pairs.items() if there != here]
    if wrong:
        raise ValueError(f"{source.folder}: this model cannot start from that one: {', '.join(wrong)}")


def longer_texts(old: Tensor, new: Tensor, config: ModelConfig) -> Tensor:
    """Positions of a text that the old model did not know stay as they are."""
    return torch.cat([old[: len(new)], new[len(old) :]])


RESIZED: dict[str, Callable[[Tensor, Tensor, ModelConfig], Tensor]] = {
    "encoder.text.position.weight": longer_texts,
    "encoder.vision.time": lambda old, new, config: resize_time(old, config.num_frames),
    "encoder.vision.position": lambda old, new, config: resize_position(old, config.num_patches, config.num_special),
}


def row_names(model: AllInOne, tokenizer: Tokenizer | None) -> dict[str, tuple[str, ...]]:
    """What the rows of a tensor stand for, where they stand for something with a name."""
    pieces = tokenizer.tokens if tokenizer is not None else ()
    answers = head.config.answers if (head := model.get(AnswerHead)) is not None else ()
    classes = head.config.classes if (head := model.get(LabelHead)) is not None else ()
    return {
        "encoder.text.word.weight": pieces,
        "heads.mlm.decoder.weight": pieces,
        "heads.mlm.decoder.bias": pieces,
        "heads.answer.layers.4.weight": answers,
        "heads.answer.layers.4.bias": answers,
        "heads.label.linear.weight": classes,
        "heads.label.linear.bias": classes,
    }


def match_rows(old: Tensor, old_names: Sequence[str], new: Tensor, new_names: Sequence[str]) -> tuple[Tensor, int]:
    """The new tensor with the old rows of the names in both; and how many those are."""
    place = {name: i for i, name in enumerate(old_names)}
    known = [i for i, name in enumerate(new_names) if name in place]
    matched = new.clone()
    matched[known] = old[[place[new_names[i]] for i in known]].to(new)
    return matched, len(known)


def model_card(model: AllInOne, text: str = "") -> str:
    """A model card: what this is, what it can do, and how to use it. `text` comes after the first paragraph."""
    config = model.config
    num_parameters = sum(p.numel() for p in model.parameters())
    abilities = {
        "contrastive": "`embed_video`, `embed_text`: dual-stream retrieval",
        "matching": "`match`: does a text belong to a video?",
        "ranking": "`choose`: which of several texts belongs to a video?",
        "answer": "`answer`: open questions with a closed list of answers",
        "choice": "`choose`: multiple-choice questions",
        "number": "how many times? (a number that answers a question)",
        "label": "recognition: which of the classes does a clip show?",
        "mlm": "masked words (pre-training)",
    }
    heads = "\n".join(f"- `{kind}`: {abilities[kind]}" for kind in model.heads) or "None: an encoder alone."
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


def named_heads(model: AllInOne) -> dict[str, Head]:
    return {kind: head for kind, head in model.heads.items() if isinstance(head, Head)}


def build_model(folder: Path) -> AllInOne:
    """The model that `config.json` tells of, with random weights."""
    path = folder / CONFIG
    config = read_json(path)
    written = config.get("format")
    if not isinstance(written, int) or not 1 <= written <= FORMAT:
        raise ValueError(f"{path}: format {written!r}, but this version of allinone reads 1 to {FORMAT}")
    model = from_json(ModelConfig, config.get("model"), f"{path}: model")
    heads = config.get("heads", {})
    unknown = sorted(heads.keys() - HEADS.keys())
    if unknown:
        raise ValueError(f"{path}: unknown heads {', '.join(unknown)}; there are: {', '.join(HEADS)}")
    kinds: dict[str, Any] = dict(HEADS)
    configs = {kind: from_json(kinds[kind].Config, fields, f"{path}: head {kind}") for kind, fields in heads.items()}
    return AllInOne.build(model, configs)


def load_weights(model: AllInOne, folder: Path) -> None:
    """Put `model.safetensors` of a checkpoint into a model of exactly its tensors."""
    try:
        load_all(model, read_safetensors(folder / WEIGHTS))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def from_json(kind: Callable[..., Built], fields: Any, where: str) -> Built:
    """A frozen config from its JSON; lists become tuples."""
    if not isinstance(fields, Mapping):
        raise ValueError(f"{where}: wanted an object, got {type(fields).__name__}")
    try:
        return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({first_line(error)})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: wanted an object, got {type(value).__name__}")
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: missing or damaged ({first_line(error)})") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})


# Whole or not at all: write beside, make sure that it is on the disk, swap.


def beside(folder: Path, what: str) -> Path:
    return folder.absolute().parent / f".{folder.absolute().name}.{what}"


def refuse_to_overwrite(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"{folder}: stands where the checkpoint folder should go, and is no folder")
    there = sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in there if name not in OWN_FILES]
    if foreign or (there and CONFIG not in there):
        names = ", ".join((foreign or there)[:5])
        raise ValueError(f"{folder}: holds {names}, which is no checkpoint of ours to replace; choose another folder")


def put_in_place(new: Path, folder: Path) -> None:
    """Give a finished folder its name. An older one of that name is there until then, and removed afterwards."""
    replaced = beside(folder, "old")
    if not folder.exists():
        os.rename(new, folder)
    elif exchange(new, folder):
        replaced = new
    else:
        os.rename(folder, replaced)  # killed right here, the old one is found under this name
        os.rename(new, folder)
    flush_folder(folder.absolute().parent)
    if replaced.exists():
        remove(replaced)


def exchange(one: Path, other: Path) -> bool:
    """Swap two folders in a single step; False where the system or the file system cannot."""
    at_here, swap = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    return rename is not None and rename(at_here, os.fsencode(one), at_here, os.fsencode(other), swap) == 0


def recover(folder: Path) -> None:
    """Undo the first half of a swap that was killed between its two steps, or finish the second."""
    old = beside(folder, "old")
    if old.exists() and folder.exists():
        remove(old)
    elif old.exists():
        os.rename(old, folder)


def remove(folder: Path) -> None:
    """Remove a folder so that no half of it is ever taken for a whole one."""
    gone = beside(folder, "gone")
    shutil.rmtree(gone, ignore_errors=True)
    os.rename(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


def flush(folder: Path) -> None:
    """Make sure that a folder and everything in it is on the disk."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            flush_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    if os.name == "posix":  # other systems cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
