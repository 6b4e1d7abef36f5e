"""`Predictor`: a trained model at work on videos and texts. Evaluation, search and applications go through it."""

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from io import IOBase
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from typing_extensions import TypeAliasType

from allinone.checkpoint import load_checkpoint
from allinone.data.clip_reader import ClipReader, Span
from allinone.data.example import Example, option_texts
from allinone.data.loader import ClipLoader, DataConfig
from allinone.model.device import choose_device
from allinone.model.heads import (
    AnswerHead,
    ChoiceHead,
    ContrastiveHead,
    Head,
    LabelHead,
    MatchingHead,
    MLMHead,
    NumberHead,
    RankingHead,
)
from allinone.model.model import AllInOne
from allinone.model.packed import bfloat16_pays, pack
from allinone.model.weights import check_finite
from allinone.progress import Progress
from allinone.text.notes import notes_on
from allinone.text.tokenizer import MASK, Tokenizer, cut_note, pad
from allinone.types import Clip
from allinone.video.in_memory import Frames, to_tensor
from allinone.video.sampling import segment_times
from allinone.video.transforms import Transform

log = logging.getLogger(__name__)

InMemory = Clip | Frames

# Named types, so that `help` shows their names and not the dozen types in them.
Source = TypeAliasType("Source", str | Path | bytes | Span | Example | InMemory)
"""A video or image: a file, its bytes, a part of a file, or frames in memory (`video/in_memory.py`)."""

Sources = TypeAliasType("Sources", Source | Sequence[Source])
"""One video, or several in a list; frames in an array or tensor of five axes are several too."""

ONE = (str, Path, bytes, bytearray, memoryview, IOBase, Span, Example, Clip, Tensor, np.ndarray, Image.Image)
"""What is a single video, or an error, where a list is several videos."""

Precision = Literal["float32", "bfloat16"]


class EmbeddedVideos(NamedTuple):
    """Vectors of the videos that could be read.

    `kept` are their indices in the list that was given, a row of `vectors` for each; `skipped` are those of the
    others, each with the reason.
    """

    vectors: Float[Tensor, "K E"]
    kept: list[int]
    skipped: dict[int, str]


class MatchedVideos(NamedTuple):
    """Probabilities of the videos that could be read, as `EmbeddedVideos`."""

    probs: Float[Tensor, "K Q"]
    kept: list[int]
    skipped: dict[int, str]


RESIZE = 268 / 224
"""Short side of a frame over the square that is cut out of it, in the paper."""

MAX_RESIZE = 32
"""A larger share is damage: such a frame would fill the memory."""


def load(
    source: str | Path, num_frames: int | None = None, device: str | None = None, precision: Precision | None = None
) -> "Predictor":
    """A predictor from a checkpoint folder, a run's folder or a hub id.

    `num_frames` makes the clips longer or shorter than in training. The device is a GPU where there is one. Frames are
    cut as in the run that made the checkpoint. The precision is by default the one that is faster here.
    """
    checkpoint = load_checkpoint(source, num_frames)
    place = choose_device(device)
    try:
        transform = evaluation_transform(checkpoint.model.config.image_size, checkpoint.experiment)
    except ValueError as error:
        raise ValueError(f"{checkpoint.folder}: {error}") from error
    data = DataConfig(batch_size=32, transform=transform)
    name = str(checkpoint.folder if Path(source).exists() else source)  # of a run's checkpoints, the one that was read
    return Predictor(checkpoint.model, checkpoint.tokenizer, data=data, device=place, precision=precision, name=name)


def evaluation_transform(image_size: int, experiment: dict[str, Any] | None = None) -> Transform.Config:
    """The central square, resized as in the run that made the checkpoint, or else as in the paper.

    ValueError where that run's `experiment.json` has a size that no run has.
    """
    resize: Any = experiment
    for key in ("data", "transform", "resize"):
        resize = resize.get(key) if isinstance(resize, dict) else None
    if resize is None:
        resize = round(RESIZE * image_size)
    elif type(resize) is not int or not image_size <= resize <= MAX_RESIZE * image_size:
        raise ValueError(
            f"experiment.json: data.transform.resize: wanted a whole number from {image_size}, the model's image_size, "
            f"to {MAX_RESIZE * image_size}, got {resize!r}"
        )
    return Transform.Config(resize=resize, crop=image_size)


class Predictor:
    """Embeds, matches and answers. Everything is done in batches, and no result depends on what else is in its batch.

    Results are float32 on the CPU, whatever the model computes in. Where several views of a video are asked for, they
    look at other moments, and what the model says of them is averaged. `data` says how videos are read and how large
    the batches are (random changes are left out). A clip has `num_frames` frames, and a text is cut to `max_text_len`
    tokens, as the model was trained; the first cut is logged.
    Without a `precision` it is the one that is faster on the device (see `bfloat16_pays`).

    A video (`Source`) is a file, its bytes, a part of a file (`Span`), or frames in memory: a uint8 tensor
    [T, 3, H, W], a uint8 numpy array [T, H, W, 3] or [T, 3, H, W], a picture (array or Pillow), or a list of pictures.
    Where several videos may be given (`Sources`), a list is a list of videos.

    Letters of shapes: G videos, K those that could be read, V views of a video, T frames, C channels, H W pixels,
    Q texts, O options, E the space that videos and texts share, A answers or classes, M pairs of clip and text,
    X whatever a head gives.
    """

    def __init__(
        self,
        model: AllInOne,
        tokenizer: Tokenizer | None = None,
        *,
        data: DataConfig | None = None,
        device: str | torch.device | None = None,
        precision: Precision | None = None,
        name: str | None = None,
    ):
        if precision not in ("float32", "bfloat16", None):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', got {precision!r}")
        self.model = (model if device is None else model.to(device)).eval()
        self.device = next(model.parameters()).device
        if precision is None:
            precision = "bfloat16" if bfloat16_pays(model.config, self.device) else "float32"
        self.precision: Precision = precision
        is_packed = precision == "bfloat16" and self.device.type == "cpu"
        self.encoder = pack(self.model.encoder) if is_packed else self.model.encoder
        self.tokenizer = tokenizer
        self.name = name
        self.num_frames = model.config.num_frames
        self.max_text_len = model.config.max_text_len
        self.is_cut_logged = False
        self.data = self.reading(
            data or DataConfig(batch_size=32, transform=evaluation_transform(model.config.image_size))
        )

    def using(self, data: DataConfig) -> "Predictor":
        """The same model (with weights that are packed once), reading videos another way or in other batches."""
        other = copy.copy(self)
        other.data = self.reading(data)
        other.is_cut_logged = False
        return other

    def reading(self, data: DataConfig) -> DataConfig:
        """`data` without what is for training. ValueError where its frames are not of the model's size."""
        size = self.model.config.image_size
        if data.transform.crop != size:
            raise ValueError(
                f"the transform cuts out squares of {data.transform.crop} pixels, but the model takes {size}; "
                f"set data.transform.crop={size}"
            )
        return replace(
            data,
            transform=replace(data.transform, random_crop=False, flip_prob=0.0, augment=0),
            cache_mb=0,  # that is for reading a video more than once
        )

    def __repr__(self) -> str:
        config = self.model.config
        return (
            f"Predictor({self.name or 'unnamed'}: width {config.width}, depth {config.depth}, clips of "
            f"{self.num_frames} frames of {config.image_size} pixels, texts of up to {self.max_text_len} tokens, heads "
            f"{', '.join(self.model.heads) or 'none'}; {self.precision} on {self.device})"
        )

    # What a user asks for

    @overload
    def embed_video(
        self,
        videos: Sources,
        *,
        num_views: int = 1,
        allow_missing: Literal[False] = False,
        on_progress: Progress | None = None,
    ) -> Float[Tensor, "G E"]: ...

    @overload
    def embed_video(
        self,
        videos: Sources,
        *,
        num_views: int = 1,
        allow_missing: Literal[True],
        on_progress: Progress | None = None,
    ) -> EmbeddedVideos: ...

    def embed_video(
        self,
        videos: Sources,
        *,
        num_views: int = 1,
        allow_missing: bool = False,
        on_progress: Progress | None = None,
    ) -> Float[Tensor, "G E"] | EmbeddedVideos:
        """A vector of unit length for each video; its product with that of a text is their similarity.

        Videos that cannot be read are one VideoError that names them all. With `allow_missing` the result is that of
        the others, with which those are: `vectors, kept, skipped = model.embed_video(files, allow_missing=True)`.
        """
        self.model.require(ContrastiveHead)
        none = torch.empty(0, self.model.config.shared_dim)
        vectors, kept, skipped = self.of_each(
            as_list(videos), self.embed_clips, none, num_views, allow_missing, on_progress
        )
        return EmbeddedVideos(vectors, kept, skipped) if allow_missing else vectors

    def embed_text(self, texts: str | Sequence[str], *, on_progress: Progress | None = None) -> Float[Tensor, "Q E"]:
        """A vector of unit length for each text."""
        return self.embed_rows(self.rows([texts] if isinstance(texts, str) else texts), on_progress=on_progress)

    @overload
    def match(
        self,
        video: Sources,
        texts: str | Sequence[str],
        *,
        num_views: int = 1,
        allow_missing: Literal[False] = False,
        on_progress: Progress | None = None,
    ) -> Float[Tensor, " Q"] | Float[Tensor, "G Q"]: ...

    @overload
    def match(
        self,
        video: Sources,
        texts: str | Sequence[str],
        *,
        num_views: int = 1,
        allow_missing: Literal[True],
        on_progress: Progress | None = None,
    ) -> MatchedVideos: ...

    def match(
        self,
        video: Sources,
        texts: str | Sequence[str],
        *,
        num_views: int = 1,
        allow_missing: bool = False,
        on_progress: Progress | None = None,
    ) -> Float[Tensor, " Q"] | Float[Tensor, "G Q"] | MatchedVideos:
        """The probability of each text that it belongs to the video (joint mode). The texts do not compete.

        For several videos a row for each; each pair is computed, so G x Q passes. `allow_missing` as in `embed_video`.
        """
        rows = self.rows([texts] if isinstance(texts, str) else texts)
        self.model.require(MatchingHead)

        def match_clips(clips: UInt8[Tensor, "G V T C H W"]) -> Float[Tensor, "G Q"]:
            odds = self.log_odds(clips, rows, all_pairs(len(clips), len(rows)))
            return odds.sigmoid().unflatten(0, (len(clips), len(rows)))

        sources, none = as_list(video), torch.empty(0, len(rows))
        probs, kept, skipped = self.of_each(sources, match_clips, none, num_views, allow_missing, on_progress)
        if allow_missing:
            return MatchedVideos(probs, kept, skipped)
        return probs[0] if is_one(video) else probs

    def answer(
        self, video: Source, question: str, top_k: int | None = 5, *, num_views: int = 1
    ) -> list[tuple[str, float]]:
        """The likeliest answers of the checkpoint's closed list, with their probabilities, which over all sum to 1."""
        rows = self.rows([question])
        head = self.model.require(AnswerHead)
        logits = self.answer_logits(self.one_clip(video, num_views), rows, all_pairs(1, 1))
        return likeliest(head.config.answers, logits[0].softmax(dim=0), top_k)

    def choose(
        self, video: Source, question: str, options: Sequence[str], *, num_views: int = 1
    ) -> Float[Tensor, " O"]:
        """The probability of each option to be the right one; they sum to 1. The question may be empty.

        Uses the checkpoint's head for that (choice, or ranking); without one, the matching head, in the order of
        `match`.
        """
        if isinstance(options, str) or not options:
            raise ValueError(f"a list of one option or more is wanted, got {options!r}")
        self.option_head()
        rows = self.rows(option_texts(question, options))
        scores = self.option_scores(self.one_clip(video, num_views), rows, all_pairs(1, len(rows)))
        return scores.softmax(dim=0)

    def classify(self, video: Source, labels: Sequence[str], *, num_views: int = 1) -> Float[Tensor, " O"]:
        """The probability of each label, without training for them (zero-shot); they sum to 1.

        A label is a text as in training, so `a dog runs` may do better than `dog`.
        """
        return self.label_probs(self.one_clip(video, num_views), labels)[0]

    def fill(self, video: Source, text: str, top_k: int | None = 5, *, num_views: int = 1) -> list[tuple[str, float]]:
        """The likeliest words at the [MASK] of a text (`the man is [MASK] a ball`), with their probabilities.

        A word is one whole token of the vocabulary; the probabilities of all of these sum to 1.
        """
        self.model.require(MLMHead)
        self.cloze(text)
        return likeliest(self.words(), self.word_probs(self.one_clip(video, num_views), text)[0], top_k)

    # Videos and texts to tensors

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text."""
        if self.tokenizer is None:
            raise ValueError(
                "this checkpoint has no tokenizer.json, so it cannot read text; put the one of its vocabulary into the "
                "folder: Tokenizer.from_vocab('vocab.txt').save(folder)"
            )
        whole = self.tokenizer.rows(texts)
        note = cut_note(whole, self.max_text_len)
        if note and not self.is_cut_logged and self.data.control == "none":  # controls read the same texts again
            log.warning("%s", note)
            self.is_cut_logged = True
        return [self.tokenizer.cut(row, self.max_text_len) for row in whole]

    def notes(self, texts: Sequence[str]) -> list[str]:
        """What the model misses of these texts: words that it does not know, and ends that are cut off."""
        if self.tokenizer is None:
            return []
        self.is_cut_logged = True  # whoever asks for notes shows them
        return [note for text in texts for note in notes_on(self.tokenizer, text, self.max_text_len)]

    def clips(
        self,
        sources: Sequence[Source],
        *,
        num_views: int = 1,
        allow_missing: bool = False,
        skipped: dict[int, str] | None = None,
        on_progress: Progress | None = None,
    ) -> Iterator[tuple[list[int], UInt8[Tensor, "G V T C H W"]]]:
        """Read videos, batch by batch: the numbers of the sources in a batch, and their frames.

        Files come before what is in memory. Videos that cannot be read are one VideoError that names them all, raised
        when everything was tried; with `allow_missing` they are logged, and no batch has their numbers, which are put
        into `skipped` with the reasons.
        """
        if num_views < 1:
            raise ValueError(f"num_views must be at least 1, got {num_views}")
        report = on_progress or (lambda what, done, total: None)
        files, in_memory, num_done = {}, {}, 0
        for number, source in enumerate(sources):
            if isinstance(source, str | Path | bytes | Span | Example):
                files[number] = source
            else:
                in_memory[number] = source.frames if isinstance(source, Clip) else to_tensor(source)
        loader = ClipLoader(
            list(files.values()),
            self.data,
            num_frames=self.num_frames,
            num_views=num_views,
            allow_missing=allow_missing,
        )
        numbers = list(files)
        for batch, frames in loader if files else ():
            yield [numbers[i] for i in batch], frames.unflatten(0, (len(batch), num_views))
            num_done = max(batch) + 1
            report("clips", num_done, len(sources))
        for number, reason in sorted(loader.unreadable.items()):
            log.warning("left out: video %d of %d, %s", numbers[number] + 1, len(sources), reason)
            if skipped is not None:
                skipped[numbers[number]] = reason
        num_done = len(files)
        for batch in batched(list(in_memory), self.data.batch_size):
            yield batch, torch.stack([self.views(in_memory[number], num_views) for number in batch])
            num_done += len(batch)
            report("clips", num_done, len(sources))

    def of_each(
        self,
        sources: Sequence[Source],
        function: Callable[[Tensor], Tensor],
        none: Float[Tensor, "0 X"],
        num_views: int,
        allow_missing: bool,
        on_progress: Progress | None,
    ) -> tuple[Float[Tensor, "K X"], list[int], dict[int, str]]:
        """A row of each video, made of its clips by `function` (`none` of no video); see `EmbeddedVideos`."""
        order: list[int] = []
        skipped: dict[int, str] = {}
        made = [none]
        for numbers, clips in self.clips(
            sources, num_views=num_views, allow_missing=allow_missing, skipped=skipped, on_progress=on_progress
        ):
            order += numbers
            made.append(function(clips))
        return torch.cat(made)[torch.tensor(order, dtype=torch.long).argsort()], sorted(order), skipped

    def one_clip(self, video: Source, num_views: int) -> UInt8[Tensor, "1 V T C H W"]:
        return next(self.clips([video], num_views=num_views))[1]

    def reader(self) -> ClipReader:
        """Reads single clips as this model wants them."""
        return ClipReader(self.num_frames, Transform(self.data.transform), control=self.data.control)

    def views(self, frames: UInt8[Tensor, "_ 3 _ _"], num_views: int) -> UInt8[Tensor, "V T C H W"]:
        """Clips of frames that are there already: of each equal segment of them the middle one."""
        transform = Transform(self.data.transform)
        moments = [
            segment_times(0, len(frames), self.num_frames, view=v, num_views=num_views) for v in range(num_views)
        ]
        return torch.stack([transform(frames[torch.tensor(times).long()]) for times in moments])

    # Tensors to embeddings and scores

    def embed_clips(self, clips: UInt8[Tensor, "G V T C H W"]) -> Float[Tensor, "G E"]:
        """Unit vectors of clips, in batches."""
        head = self.model.require(ContrastiveHead)
        return F.normalize(self.video_only(head.embed_video, clips), dim=-1)

    def embed_rows(self, rows: Sequence[list[int]], *, on_progress: Progress | None = None) -> Float[Tensor, "Q E"]:
        """Unit vectors of texts, in batches of about the same length."""
        head, encoder = self.model.require(ContrastiveHead), self.encoder
        vectors, num_done = torch.empty(len(rows), self.model.config.shared_dim), 0
        for batch in batched(shortest_first(rows), self.data.batch_size):
            ids, mask = self.pad([rows[i] for i in batch])
            vectors[batch] = self.compute(
                lambda ids, mask: head.embed_text(encoder.encode_text(ids, mask, num_out_tokens=1)), ids, mask
            )
            num_done += len(batch)
            if on_progress:
                on_progress("texts", num_done, len(rows))
        return F.normalize(vectors, dim=-1)

    def log_odds(
        self,
        clips: UInt8[Tensor, "G V T C H W"],
        rows: Sequence[list[int]],
        pairs: Int[Tensor, "M 2"],
        *,
        on_progress: Progress | None = None,
    ) -> Float[Tensor, " M"]:
        """How sure the matching head is that clip and text (their numbers in `pairs`) belong together; 0 is undecided.

        The sigmoid of it is a probability.
        """
        logits = self.joint(self.model.require(MatchingHead), clips, rows, pairs, on_progress=on_progress)
        return logits[:, 1] - logits[:, 0]

    def answer_logits(
        self, clips: UInt8[Tensor, "G V T C H W"], rows: Sequence[list[int]], pairs: Int[Tensor, "M 2"]
    ) -> Float[Tensor, "M A"]:
        """Logits over the answers for each clip and question in `pairs`."""
        return self.joint(self.model.require(AnswerHead), clips, rows, pairs)

    def numbers(
        self, clips: UInt8[Tensor, "G V T C H W"], rows: Sequence[list[int]], pairs: Int[Tensor, "M 2"]
    ) -> Float[Tensor, " M"]:
        """What is counted in answer to each clip and question in `pairs`."""
        return self.joint(self.model.require(NumberHead), clips, rows, pairs)

    def option_scores(
        self, clips: UInt8[Tensor, "G V T C H W"], rows: Sequence[list[int]], pairs: Int[Tensor, "M 2"]
    ) -> Float[Tensor, " M"]:
        """How well each clip and text in `pairs` fit each other, for the choice between options."""
        head = self.option_head()
        return self.log_odds(clips, rows, pairs) if head is None else self.joint(head, clips, rows, pairs)

    def option_head(self) -> ChoiceHead | RankingHead | None:
        """The head that chooses between options; None where that is up to the matching head."""
        head = self.model.get(ChoiceHead) or self.model.get(RankingHead)
        if head is None and self.model.get(MatchingHead) is None:
            raise self.model.without(ChoiceHead, RankingHead, MatchingHead, to="choose")
        return head

    def label_logits(self, clips: UInt8[Tensor, "G V T C H W"]) -> Float[Tensor, "G A"]:
        """Logits over the classes that the checkpoint was trained to recognise."""
        return self.video_only(self.model.require(LabelHead), clips)

    def label_probs(self, clips: UInt8[Tensor, "G V T C H W"], labels: Sequence[str]) -> Float[Tensor, "G O"]:
        """Which of some texts fits each clip best: by the two streams at their temperature, or by the matching head."""
        if isinstance(labels, str) or not labels:
            raise ValueError(f"a list of one label or more is wanted, got {labels!r}")
        rows, head = self.rows(labels), self.model.get(ContrastiveHead)
        if head is not None:
            scores = self.embed_clips(clips) @ self.embed_rows(rows).T * head.scale.item()
        elif self.model.get(MatchingHead) is not None:
            pairs = all_pairs(len(clips), len(rows))
            scores = self.log_odds(clips, rows, pairs).unflatten(0, (len(clips), len(rows)))
        else:
            raise self.model.without(ContrastiveHead, MatchingHead, to="classify without training")
        return scores.softmax(dim=1)

    def word_probs(self, clips: UInt8[Tensor, "G V T C H W"], text: str) -> Float[Tensor, "G words"]:
        """The probability of each of `words` at the [MASK] of the text, for each clip."""
        head, encoder = self.model.require(MLMHead), self.encoder
        row, place = self.cloze(text)
        ids, mask = self.pad([row])
        logits = [
            self.compute(
                lambda frames, ids, mask: head(encoder(frames, ids, mask, num_out_tokens=place + 1).text[:, place]),
                part,
                ids.expand(len(part), -1),
                mask.expand(len(part), -1),
            )
            for part in clips.flatten(0, 1).split(self.data.batch_size)
        ]
        assert self.tokenizer is not None
        is_word = self.tokenizer.is_word_start
        of_words = torch.cat(logits)[:, : len(is_word)][:, is_word]
        return of_words.unflatten(0, clips.shape[:2]).mean(dim=1).softmax(dim=1)

    def words(self) -> list[str]:
        """The tokens of the vocabulary that stand for a whole word."""
        assert self.tokenizer is not None
        return [self.tokenizer.tokens[i] for i in self.tokenizer.is_word_start.nonzero()[:, 0].tolist()]

    def cloze(self, text: str) -> tuple[list[int], int]:
        """The token ids of a text that has a gap, and the place of its one [MASK] among them."""
        [row] = self.rows([text])
        assert self.tokenizer is not None
        places = [place for place, token in enumerate(row) if token == self.tokenizer.mask_id]
        if len(places) != 1:
            raise ValueError(
                f"a text with one {MASK} in its first {self.max_text_len} tokens is wanted, for the word that is "
                f"missing; got {len(places)} in {text!r}"
            )
        return row, places[0]

    def video_only(self, head: Callable[[Tensor], Tensor], clips: UInt8[Tensor, "G V T C H W"]) -> Float[Tensor, "G X"]:
        """What a head says of clips without any text, averaged over the views of each; in batches."""
        outputs = [
            self.compute(lambda frames: head(self.encoder.encode_video(frames, num_out_tokens=1)), part)
            for part in clips.flatten(0, 1).split(self.data.batch_size)
        ]
        return torch.cat(outputs).unflatten(0, clips.shape[:2]).mean(dim=1)

    def joint(
        self,
        head: Head,
        clips: UInt8[Tensor, "G V T C H W"],
        rows: Sequence[list[int]],
        pairs: Int[Tensor, "M 2"],
        *,
        on_progress: Progress | None = None,
    ) -> Float[Tensor, "M ..."]:
        """What a head says of the pooled joint feature of each (clip, text) pair, averaged over the clip's views."""
        encoder, num_views = self.encoder, clips.shape[1]
        by_length = shortest_first([rows[i] for i in pairs[:, 1].tolist()])
        outputs = [self.compute(head, torch.empty(0, self.model.config.width))]
        num_done = 0
        for batch in batched(by_length, max(1, self.data.batch_size // num_views)):
            chosen, texts = pairs[batch].unbind(dim=1)
            ids, mask = self.pad([rows[i] for i in texts.tolist()])
            output = self.compute(
                lambda frames, ids, mask: head(encoder.pool(encoder(frames, ids, mask, num_out_tokens=1).text)),
                clips[chosen].flatten(0, 1),
                ids.repeat_interleave(num_views, dim=0),
                mask.repeat_interleave(num_views, dim=0),
            )
            outputs.append(output.unflatten(0, (len(batch), num_views)).mean(dim=1))
            num_done += len(batch)
            if on_progress:
                on_progress("pairs", num_done, len(pairs))
        return torch.cat(outputs)[torch.tensor(by_length, dtype=torch.long).argsort()]

    def pad(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        assert self.tokenizer is not None
        return pad(rows, self.tokenizer.pad_id)

    def compute(self, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """Run the model on one batch: on its device, in its precision, without gradients; float32 on the CPU again.

        ValueError where a number is not finite, since nobody could tell what NaN % means.
        """
        by_torch = self.precision == "bfloat16" and self.device.type != "cpu"  # on a CPU the encoder is packed
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=by_torch)
        with torch.inference_mode(), autocast:
            output = function(*(tensor.to(self.device) for tensor in tensors)).float().cpu()
        if not output.isfinite().all():
            check_finite(self.model.state_dict())
            raise ValueError(f"the model's output is NaN or infinite in {self.precision}, though its weights are not")
        return output


def is_one(videos: Sources) -> bool:
    """Whether it is one video; frames [T, 3, H, W] are one, [N, T, 3, H, W] are N, and so is a list of N videos."""
    return isinstance(videos, ONE) and not (isinstance(videos, Tensor | np.ndarray) and videos.ndim == 5)


def as_list(videos: Sources) -> list[Source]:
    if is_one(videos) or not isinstance(videos, Iterable):
        return [videos]  # pyright: ignore[reportReturnType]
    return list(videos)  # pyright: ignore[reportArgumentType, reportReturnType]


def likeliest(names: Sequence[str], probs: Float[Tensor, " X"], top_k: int | None) -> list[tuple[str, float]]:
    """The `top_k` names of the highest probability, the best first."""
    ordered, numbers = probs.sort(descending=True, stable=True)
    return [(names[int(i)], p) for p, i in zip(ordered[:top_k].tolist(), numbers[:top_k].tolist(), strict=True)]


def all_pairs(num_clips: int, num_texts: int) -> Int[Tensor, "M 2"]:
    """Each clip with each text, clip by clip."""
    return torch.cartesian_prod(torch.arange(num_clips), torch.arange(num_texts)).reshape(-1, 2)


def batched(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def shortest_first(rows: Sequence[list[int]]) -> list[int]:
    """Their numbers in the order of length, so that the texts of a batch need little padding."""
    return sorted(range(len(rows)), key=lambda i: len(rows[i]))
