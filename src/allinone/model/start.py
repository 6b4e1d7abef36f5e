"""Start a model from the weights of another checkpoint: same tensors, rows by name, resized embeddings."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from allinone.model.config import ModelConfig
from allinone.model.heads import Head
from allinone.model.model import AllInOne
from allinone.model.weights import Report, load_all, resize_position, resize_time
from allinone.text.tokenizer import Tokenizer

MUST_AGREE = ("width", "num_heads", "depth", "mlp_ratio", "patch_size", "distilled")
"""Fields of `ModelConfig` without which tensors of two models cannot be the same."""


def start_from(
    model: AllInOne, source: AllInOne, tokenizer: Tokenizer | None = None, source_tokenizer: Tokenizer | None = None
) -> Report:
    """Start a model from the weights of `source`, with all heads that both have.

    Rows of a token, an answer or a class are taken by name, so vocabularies may differ. Position and temporal
    embeddings are resized. Heads of other kinds or sizes are dropped or stay new; all of it is in the report.

    Args:
        tokenizer: that of `model`. Unless both tokenizers are given, the vocabularies must have the same size, and are
            assumed to be the same.

    Raises:
        ValueError: the encoders have other sizes, or vocabularies cannot be matched.
    """
    check_same_blocks(source, model.config)
    if None in (source_tokenizer, tokenizer) and source.config.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"{source.source}: a vocabulary of {source.config.vocab_size} entries, wanted {model.config.vocab_size}; "
            "give both tokenizers, so that the same entries are found"
        )
    # Without both tokenizers rows of tokens have no names, and are taken as they are.
    if tokenizer is None or source_tokenizer is None:
        old_names, new_names = row_names(source, ()), row_names(model, ())
    else:
        old_names, new_names = row_names(source, source_tokenizer.tokens), row_names(model, tokenizer.tokens)
    own, report, taken = model.state_dict(), Report(), {}
    # In this order: rows by name where the names differ, the same shape as it is, then what can be resized.
    for name, old in source.state_dict().items():
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
    started = start_missing_heads(model, source, report)
    report.new.extend(name for name in own if name not in taken and not name.startswith(started))
    return report


def start_missing_heads(model: AllInOne, source: AllInOne, report: Report) -> tuple[str, ...]:
    """Let heads that `source` lacks start from its other heads. Returns the prefixes of their tensors."""
    started = ()
    for kind, head in heads_of(model).items():
        if kind not in source.heads and (line := head.start_from_others(heads_of(source))):
            report.taken.append(line)
            started += (f"heads.{kind}.",)
    return started


def heads_of(model: AllInOne) -> dict[str, Head]:
    """The heads of a model by kind."""
    return {kind: head for kind, head in model.heads.items() if isinstance(head, Head)}


def check_same_blocks(source: AllInOne, config: ModelConfig) -> None:
    """Raise ValueError, naming the sizes, where the encoders differ in one that decides what a tensor means."""
    pairs = {name: (getattr(source.config, name), getattr(config, name)) for name in MUST_AGREE}
    wrong = [f"{name} {old} (wanted {new})" for name, (old, new) in pairs.items() if old != new]
    if wrong:
        raise ValueError(f"{source.source}: this model cannot start from that one: {', '.join(wrong)}")


def longer_texts(old: Tensor, new: Tensor, config: ModelConfig) -> Tensor:
    """Cut the positions of a text, or leave those new that the old model does not have."""
    return torch.cat([old[: len(new)], new[len(old) :]])  # the second part is empty where texts become shorter


RESIZED: Mapping[str, Callable[[Tensor, Tensor, ModelConfig], Tensor]] = {
    "encoder.text.position.weight": longer_texts,
    "encoder.vision.time": lambda old, new, config: resize_time(old, config.num_frames),
    "encoder.vision.position": lambda old, new, config: resize_position(old, config.num_patches, config.num_special),
}
"""Embeddings that fit another length or grid after resizing."""


def row_names(model: AllInOne, tokens: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the names of rows (tokens, answers, classes) by the name of their tensor."""
    names: dict[str, Sequence[str]] = {"encoder.text.word.weight": tokens}
    for kind, head in heads_of(model).items():
        names |= {f"heads.{kind}.{tensor}": rows for tensor, rows in head.row_names(tokens).items()}
    return names


def match_rows(old: Tensor, old_names: Sequence[str], new: Tensor, new_names: Sequence[str]) -> tuple[Tensor, int]:
    """Return the new tensor with the old rows of all names that both have, and how many those are."""
    index = {name: i for i, name in enumerate(old_names)}
    known = [i for i, name in enumerate(new_names) if name in index]
    matched = new.clone()
    matched[known] = old[[index[new_names[i]] for i in known]].to(new)
    return matched, len(known)
