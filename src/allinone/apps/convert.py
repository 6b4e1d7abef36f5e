"""Convert released All-in-One weights, or a ViT, to a checkpoint folder (`allinone convert`)."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from allinone.checkpoint import model_card, save_checkpoint
from allinone.checks import did_you_mean
from allinone.files.faults import first_line
from allinone.files.lock import only_process
from allinone.files.reading import check_readable
from allinone.model.config import PAPER_SIZES
from allinone.model.model import AllInOne, known_abilities
from allinone.model.released import convert_released, is_released
from allinone.model.vit import start_from_vit
from allinone.model.weight_files import read_tensors
from allinone.model.weights import Report, check_finite
from allinone.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of weights in the hub repository of a ViT."""


def convert(
    weights: str | Path,
    folder: str | Path,
    *,
    vocab: str | None = None,
    answers: Sequence[str] | None = None,
    num_heads: int | None = None,
    size: str | None = None,
    image_size: int | None = None,
    num_frames: int | None = None,
) -> tuple[Path, Report]:
    """Write a checkpoint folder. The report says what became of every tensor, and what the checkpoint can do.

    Args:
        weights: a file, or a hub id if there is no such file. It holds a released All-in-One checkpoint, or a ViT or
            DeiT that starts a new model with other parts at random.
        vocab: the `vocab.txt` of the weights, or a hub id. Without one the checkpoint cannot read text.
        answers: the labels of the answer head of a released checkpoint, in order.
        num_heads: attention heads of a released checkpoint, for a width that no released size has.
        size: of the new model that a ViT starts. Default: by its width.
        image_size: of the new model that a ViT starts.
        num_frames: extends or cuts the temporal embedding.

    Raises:
        ValueError: the file is neither, or an option does not apply to it.
    """
    # 1. The files. The vocabulary is read before the model is built, since it may be missing.
    path = find_weights(weights)
    tensors = read_tensors(path)
    tokenizer = Tokenizer.from_vocab(vocab) if vocab else None
    # 2. The model.
    try:
        check_finite(tensors)
        model, report, kind = build_model(tensors, answers, num_heads, size, image_size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    # 3. Another number of frames resizes the temporal embedding.
    if num_frames is not None and num_frames != model.config.num_frames:
        report.resized.append(f"temporal embedding ({model.config.num_frames} to {num_frames} frames)")
        model = model.with_frames(num_frames)
    # 4. A token without a row in the embedding would fail only when that word is read.
    if tokenizer is not None and tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(f"{vocab} has {tokenizer.vocab_size} tokens, but the model {model.config.vocab_size}")
    card = model_card(model, f"Converted from {path.name}: {kind}.")
    with only_process(folder):  # two conversions into one folder would mix their files
        save_checkpoint(folder, model, tokenizer, card=card)
    model.source = str(folder)
    report.abilities = can_and_cannot(model)
    if tokenizer is None:
        log.warning(
            "%s has no vocabulary, so nothing can read text with it: convert again with --vocab vocab.txt, the one of "
            "these weights (of the released ones: google-bert/bert-base-uncased)",
            folder,
        )
    return Path(folder), report


def build_model(
    tensors: dict[str, torch.Tensor],
    answers: Sequence[str] | None,
    num_heads: int | None,
    size: str | None,
    image_size: int | None,
) -> tuple[AllInOne, Report, str]:
    """Return the model of these tensors, what became of each, and which kind of weights they are.

    Each kind has options that the other has no use for. Those are errors, and not ignored.
    """
    if is_released(tensors):
        for name, value in {"size": size, "image_size": image_size}.items():
            if value is not None:
                raise ValueError(f"{name} is for a ViT; this is a released checkpoint, which has its own")
        return *convert_released(tensors, num_heads=num_heads, answers=answers), "a released All-in-One checkpoint"
    if answers is not None or num_heads is not None:
        raise ValueError("answers and num_heads are for a released checkpoint; this looks like a ViT")
    return *from_vit(tensors, size, image_size), "ImageNet weights; the text part is random until it is trained"


def read_answers(path: str | Path) -> list[str]:
    """Read the answers of a head in order, from a JSON list or from the released object of answers and their indices.

    Raises:
        ValueError: the file holds anything else.
    """
    check_readable(Path(path))
    try:
        answers = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({first_line(error)})") from error
    if isinstance(answers, dict):
        if not all(type(number) is int for number in answers.values()):  # not isinstance: `true` is an int, too
            raise ValueError(f"{path}: wanted a whole number for each answer")
        answers = sorted(answers, key=answers.__getitem__)
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(f"{path}: wanted a list of answers, or an object of answers and their numbers")
    return answers


def can_and_cannot(model: AllInOne) -> list[str]:
    """Return lines on what a checkpoint has heads for, and the commands that add the others."""
    lacking: dict[str, list[str]] = {}
    for ability, head in known_abilities().items():
        if ability not in model.abilities:
            lacking.setdefault(model.how_to_add(head), []).append(ability)
    lines = [f"it can: {', '.join(model.abilities) or 'nothing yet'}"]
    for command, names in lacking.items():
        index = ", so it cannot be indexed" if "embed" in names else ""
        lines.append(f"it cannot: {', '.join(names)}{index}: {command} adds that")
    return lines


def from_vit(tensors: dict[str, torch.Tensor], size: str | None, image_size: int | None) -> tuple[AllInOne, Report]:
    """Return a new model that starts from this ViT, by default of the size with its width."""
    # The class token is [1, 1, D] in every ViT of timm, so its size is the width.
    width = tensors["cls_token"].numel() if "cls_token" in tensors else 0
    if size is None:
        distilled = "dist_token" in tensors
        # The distilled size is as wide as another one: the distillation token decides between them.
        by_width = {c.width: name for name, c in PAPER_SIZES.items() if not c.distilled}
        if width not in by_width:
            widths = ", ".join(f"{name} {width}" for width, name in by_width.items())
            raise ValueError(f"neither a released checkpoint nor a ViT of a known width ({width}; there are: {widths})")
        size = "small_distilled" if distilled and by_width[width] == "small" else by_width[width]
    if size not in PAPER_SIZES:
        raise ValueError(
            f"no size called {size!r}; {did_you_mean(size, PAPER_SIZES)}there are: {', '.join(PAPER_SIZES)}"
        )
    config = PAPER_SIZES[size] if image_size is None else PAPER_SIZES[size].replace(image_size=image_size)
    torch.manual_seed(0)  # the parts that a ViT lacks are the same in every conversion
    model = AllInOne.build(config)
    return model, start_from_vit(model, tensors)


def find_weights(weights: str | Path) -> Path:
    """Return the file itself, or download the weights of a hub repository `owner/name`."""
    path = Path(weights)
    # `owner/name` of the hub, if it cannot be a path: one slash, no such folder, no extension.
    if path.exists() or str(weights).count("/") != 1 or path.parent.is_dir() or path.suffix:
        return path
    from huggingface_hub import hf_hub_download, list_repo_files

    files = set(list_repo_files(str(weights)))
    name = next((name for name in WEIGHT_FILES if name in files), None)
    if name is None:
        raise ValueError(f"{weights}: no weights in this repository; wanted one of {', '.join(WEIGHT_FILES)}")
    return Path(hf_hub_download(str(weights), name))
