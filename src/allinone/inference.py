"""`Predictor`: ask a trained model about videos and texts. Evaluation, search and applications go through it."""

import copy
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, overload

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from allinone.checkpoint import load_checkpoint
from allinone.data.clip_reader import ClipReader, Span
from allinone.data.example import option_texts
from allinone.data.loader import DataConfig
from allinone.data.video_inputs import Source, Sources, as_list, for_evaluation, is_one, read_clips
from allinone.model.device import choose_device
from allinone.model.features import BlockFeatures
from allinone.model.heads import AnswerHead, ContrastiveHead, MatchingHead, MLMHead
from allinone.model.model import AllInOne
from allinone.progress import Progress
from allinone.questions import Moment, Question, parts
from allinone.scoring import EmbeddedVideos, MatchedVideos, Precision, Scorer, all_pairs
from allinone.text.notes import notes_on
from allinone.text.tokenizer import MASK, Tokenizer, cut_note
from allinone.text_side import load_text_side, weights_digest
from allinone.video.transforms import Transform, evaluation_transform

log = logging.getLogger(__name__)


def load(
    source: str | Path,
    num_frames: int | None = None,
    device: str | None = None,
    precision: Precision | None = None,
    *,
    text_only: bool = False,
) -> "Predictor":
    """Return a predictor from a checkpoint folder, a run's folder or a hub id.

    Frames are resized as in the run that made the checkpoint.

    Args:
        num_frames: clips of another length than in training.
        device: a GPU if there is one, by default.
        precision: the faster one on that device, by default.
        text_only: read only the weights that embed texts, for a quick start; on the CPU, in float32.
    """
    # A device that does not exist is an error before a file is read.
    digest, place = None, choose_device(device)
    if text_only and num_frames is None:
        checkpoint, digest = load_text_side(source)
        place, precision = None, "float32"  # stays on the CPU
    else:
        checkpoint = load_checkpoint(source, num_frames)
    # Any level may be missing; a converted model has no experiment at all.
    resize: Any = checkpoint.experiment
    for key in ("data", "transform", "resize"):
        resize = resize.get(key) if isinstance(resize, dict) else None
    try:
        transform = evaluation_transform(checkpoint.model.config.image_size, resize)
    except ValueError as error:
        raise ValueError(f"{checkpoint.folder}: experiment.json: data.transform.resize: {error}") from error
    data = DataConfig(batch_size=32, transform=transform)
    name = str(checkpoint.folder if Path(source).exists() else source)  # of a run, the checkpoint that was read
    predictor = Predictor(
        checkpoint.model, checkpoint.tokenizer, data=data, device=place, precision=precision, name=name
    )
    predictor.digest = digest
    return predictor


class Predictor(Scorer):
    """A model that embeds, matches and answers. No result depends on what else is in its batch.

    Results are float32 on the CPU, whatever the model computes in. With several views of a video, each looks at other
    moments, and the outputs of the model are averaged. Texts are cut to `max_text_len` tokens, as in training; the
    first cut is logged. `data` says how videos are read and sets the batch size; random augmentation is switched off.
    The default `precision` is the faster one on the device (see `bfloat16_pays`).

    A video (`Source`) is a file, its bytes, a part of a file (`Span`), or frames in memory: a uint8 tensor
    [T, 3, H, W], a uint8 numpy array [T, H, W, 3] or [T, 3, H, W], a picture (array or Pillow), or a list of pictures.
    Where several videos may be given (`Sources`), a list is a list of videos.

    Letters of shapes: G videos, K those that could be read, V views of a video, T frames, C channels, H W pixels,
    Q texts, O options, E the space that videos and texts share, A answers or classes, M pairs of clip and text,
    X outputs of a head.
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
        default = DataConfig(batch_size=32, transform=evaluation_transform(model.config.image_size))
        self.data = for_evaluation(data or default, model.config.image_size)
        super().__init__(model, tokenizer, batch_size=self.data.batch_size, device=device, precision=precision)
        self.name = name
        self.num_frames = model.config.num_frames
        self.max_text_len = model.config.max_text_len
        self.is_cut_logged = False
        self.digest: str | None = None

    def using(self, data: DataConfig) -> "Predictor":
        """Return the same model, sharing its weights, that reads videos another way or in other batches."""
        other = copy.copy(self)
        other.data = for_evaluation(data, self.model.config.image_size)
        other.batch_size = data.batch_size
        other.is_cut_logged = False
        return other

    def __repr__(self) -> str:
        config = self.model.config
        return (
            f"Predictor({self.name or 'unnamed'}: width {config.width}, depth {config.depth}, clips of "
            f"{self.num_frames} frames of {config.image_size} pixels, texts of up to {self.max_text_len} tokens, heads "
            f"{', '.join(self.model.heads) or 'none'}; {self.precision} on {self.device})"
        )

    @property
    def identity(self) -> str:
        """A fingerprint of all that decides about a vector: weights, sizes, vocabulary, and the transform of frames."""
        seen = (
            asdict(self.model.config),
            self.data.transform,
            self.max_text_len,
            self.tokenizer and self.tokenizer.tokens,
        )
        digest = self.digest or weights_digest(self.model)
        return hashlib.blake2b(f"{seen!r} {digest}".encode(), digest_size=16).hexdigest()

    # Embed and match

    @overload
    def embed_video(
        self, videos: Sources, *, num_views: int = 1, on_progress: Progress | None = None
    ) -> Float[Tensor, "G E"]: ...

    @overload
    def embed_video(
        self, videos: Sources, *, allow_missing: Literal[True], num_views: int = 1, on_progress: Progress | None = None
    ) -> EmbeddedVideos: ...

    def embed_video(
        self, videos: Sources, *, allow_missing: bool = False, num_views: int = 1, on_progress: Progress | None = None
    ) -> Float[Tensor, "G E"] | EmbeddedVideos:
        """Return a vector of unit length for each video; its product with that of a text is their similarity.

        Videos that cannot be read are one VideoError that names them all. With `allow_missing` they are left out, and
        the result says which: `vectors, kept, skipped = model.embed_video(files, allow_missing=True)`.
        """
        self.model.require(ContrastiveHead)
        none = torch.empty(0, self.model.config.shared_dim)
        found = self._map_clips(as_list(videos), self.embed_clips, none, num_views, allow_missing, on_progress)
        return EmbeddedVideos(*found) if allow_missing else found[0]

    def embed_text(self, texts: str | Sequence[str], *, on_progress: Progress | None = None) -> Float[Tensor, "Q E"]:
        """Return a vector of unit length for each text."""
        return self.embed_tokens(self.tokenize([texts] if isinstance(texts, str) else texts), on_progress=on_progress)

    @overload
    def match(
        self,
        video: Sources,
        texts: str | Sequence[str],
        *,
        num_views: int = 1,
        on_progress: Progress | None = None,
    ) -> Float[Tensor, " Q"] | Float[Tensor, "G Q"]: ...

    @overload
    def match(
        self,
        video: Sources,
        texts: str | Sequence[str],
        *,
        allow_missing: Literal[True],
        num_views: int = 1,
        on_progress: Progress | None = None,
    ) -> MatchedVideos: ...

    def match(
        self,
        video: Sources,
        texts: str | Sequence[str],
        *,
        allow_missing: bool = False,
        num_views: int = 1,
        on_progress: Progress | None = None,
    ) -> Float[Tensor, " Q"] | Float[Tensor, "G Q"] | MatchedVideos:
        """Return the probability of each text that it belongs to the video (joint mode). The texts do not compete.

        Several videos give a row each. Every pair is computed: G x Q passes. `allow_missing` as in `embed_video`.
        """
        token_ids = self.tokenize([texts] if isinstance(texts, str) else texts)
        self.model.require(MatchingHead)
        found = self._map_clips(
            as_list(video),
            lambda clips: self.match_all(clips, token_ids).sigmoid(),
            torch.empty(0, len(token_ids)),
            num_views,
            allow_missing,
            on_progress,
        )
        if allow_missing:
            return MatchedVideos(*found)
        return found[0][0] if is_one(video) else found[0]  # one row for a single video

    # Ask

    def answer(
        self, video: Source, question: str, top_k: int | None = 5, *, num_views: int = 1
    ) -> list[tuple[str, float]]:
        """Return the most probable answers of the checkpoint's closed list; the probabilities of all sum to 1."""
        asked = self._open_question(question)
        return asked.top(self.one_clip(video, num_views), top_k)

    def fill(self, video: Source, text: str, top_k: int | None = 5, *, num_views: int = 1) -> list[tuple[str, float]]:
        """Return the most probable words at the [MASK] of a text (`the man is [MASK] a ball`).

        A word is one whole token of the vocabulary; the probabilities of all of these sum to 1.
        """
        asked = self._cloze(text)
        return asked.top(self.one_clip(video, num_views), top_k)

    def classify(self, video: Source, labels: Sequence[str], *, num_views: int = 1) -> Float[Tensor, " O"]:
        """Return the probability of each label, without training for them (zero-shot); they sum to 1.

        A label is a text as in training, so `a dog runs` may do better than `dog`.
        """
        asked = self._zero_shot(labels)
        return asked.probs(self.one_clip(video, num_views))[0]

    def choose(
        self, video: Source, question: str, options: Sequence[str], *, num_views: int = 1
    ) -> Float[Tensor, " O"]:
        """Return the probability of each option to be the right one; they sum to 1. The question may be empty.

        Uses the head for that (choice or ranking); without one the matching head, in the order of `match`.
        """
        if isinstance(options, str) or not options:
            raise ValueError(f"options must be a list of at least one text, got {options!r}")
        self.option_head()
        token_ids = self.tokenize(option_texts(question, options))
        scores = self.option_scores(self.one_clip(video, num_views), token_ids, all_pairs(1, len(token_ids)))
        return scores.softmax(dim=0)

    def question(self, asked: str | Sequence[str]) -> Question:
        """Return a question to `ask`, checked before any video is read.

        A text is an open question, or with one [MASK] a text with a word to fill in. A list is labels to choose from.

        Raises:
            ValueError: the text is empty, or the checkpoint has no head for this (`MissingHead`).
        """
        notes = self.notes([asked] if isinstance(asked, str) else asked)
        if not isinstance(asked, str):
            return replace(self._zero_shot(asked), notes=tuple(notes))
        if not asked.strip():
            raise ValueError("the question is empty")
        return replace(self._cloze(asked) if MASK in asked else self._open_question(asked), notes=tuple(notes))

    def ask(
        self, video: Source, question: Question, top_k: int | None = 5, *, num_views: int = 1
    ) -> list[tuple[str, float]]:
        """Return the most probable answers about the whole video, with their probabilities."""
        return question.top(self.one_clip(video, num_views), top_k)

    def ask_over_time(
        self, video: str | Path, question: Question, every_sec: int | float, on_progress: Progress | None = None
    ) -> list[Moment]:
        """Return the most probable answer about each part of a video of `every_sec`, in order."""
        cut, moments = parts(self.reader().look_up(Path(video)).duration_sec, every_sec), []
        for indices, clips in self.clips([Span(video, *part) for part in cut], on_progress=on_progress):
            best = question.probs(clips).max(dim=1)
            for i, probability, answer in zip(indices, best.values.tolist(), best.indices.tolist(), strict=True):
                moments.append(Moment(*cut[i], question.answers[answer], probability))
        return moments

    def _open_question(self, text: str) -> Question:
        head = self.model.require(AnswerHead)
        token_ids = self.tokenize([text])
        return Question(
            head.config.answers,
            lambda clips: self.joint(head, clips, token_ids, all_pairs(len(clips), 1)).softmax(dim=1),
        )

    def _zero_shot(self, labels: Sequence[str]) -> Question:
        """Score labels by the two streams at their temperature; without these by the matching head."""
        if isinstance(labels, str) or not labels:
            raise ValueError(f"labels must be a list of at least one text, got {labels!r}")
        labels = tuple(label.strip() for label in labels)
        if len(set(labels)) < len(labels) or not all(labels):
            raise ValueError(f"labels must be different texts, none of them empty; got {list(labels)}")
        head = self.model.get(ContrastiveHead)
        # A missing head is an error now, before a video is read.
        if head is None and self.model.get(MatchingHead) is None:
            raise self.model.without(ContrastiveHead, MatchingHead, to="classify without training")
        token_ids = self.tokenize(labels)

        def probs(clips: UInt8[Tensor, "G V T C H W"]) -> Float[Tensor, "G O"]:
            if head is None:
                return self.match_all(clips, token_ids).softmax(dim=1)
            return (self.embed_clips(clips) @ self.embed_tokens(token_ids).T * head.scale.item()).softmax(dim=1)

        return Question(labels, probs)

    def _cloze(self, text: str) -> Question:
        """Score the words at the one [MASK] of a text."""
        head, encoder = self.model.require(MLMHead), self.encoder
        [row] = self.tokenize([text])
        assert self.tokenizer is not None
        positions = [i for i, token in enumerate(row) if token == self.tokenizer.mask_id]
        if len(positions) != 1:
            raise ValueError(
                f"expected a text with one {MASK} in its first {self.max_text_len} tokens, for the missing word; "
                f"got {len(positions)} in {text!r}"
            )
        [position], (ids, mask), is_word = positions, self._pad([row]), self.tokenizer.is_word_start

        def probs(clips: UInt8[Tensor, "G V T C H W"]) -> Float[Tensor, "G words"]:
            # All tokens are read, but only those up to [MASK] leave the last block.
            logits = [
                self._compute(
                    lambda frames, ids, mask: head(
                        encoder(frames, ids, mask, num_out_tokens=position + 1).text[:, position]
                    ),
                    part,
                    ids.expand(len(part), -1),
                    mask.expand(len(part), -1),
                )
                for part in clips.flatten(0, 1).split(self.batch_size)
            ]
            # A model may have more outputs than the tokenizer has tokens.
            of_words = torch.cat(logits)[:, : len(is_word)][:, is_word]
            return of_words.unflatten(0, clips.shape[:2]).mean(dim=1).softmax(dim=1)

        return Question(tuple(self.tokenizer.tokens[i] for i in is_word.nonzero()[:, 0].tolist()), probs)

    # Look inside

    def features(
        self,
        video: Sources | None = None,
        text: str | Sequence[str] | None = None,
        *,
        layers: Sequence[int] = (-1,),
        attention: bool = False,
    ) -> list[BlockFeatures]:
        """Return the tokens that leave some blocks (-1 is the last one) and, if asked for, the attention in them.

        With both a video and a text the mode is joint; several videos have a text each. With one of the two it is the
        video-only or the text-only mode.
        """
        for given in (video, text):
            if isinstance(given, list | tuple) and not given:
                raise ValueError("features of an empty list")
        clips, token_ids = None, None
        if video is not None:
            batches = list(self.clips(as_list(video)))
            # Frames in memory are read after files, so the order is restored.
            order = torch.tensor([i for indices, _ in batches for i in indices]).argsort()
            clips = torch.cat([clips for _, clips in batches])[order]
        if text is not None:
            token_ids = self.tokenize([text] if isinstance(text, str) else text)
        if clips is not None and token_ids is not None and len(clips) != len(token_ids):
            raise ValueError(f"{len(clips)} videos and {len(token_ids)} texts; wanted one text for each video")
        return self.block_features(clips, token_ids, layers=layers, attention=attention)

    # Videos and texts to tensors

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, at most `max_text_len`, unpadded."""
        if self.tokenizer is None:
            raise ValueError(
                "this checkpoint has no tokenizer.json, so it cannot read text; put the one of its vocabulary into the "
                "folder: Tokenizer.from_vocab('vocab.txt').save(folder)"
            )
        whole = self.tokenizer.tokenize(texts)
        note = cut_note([len(ids) for ids in whole], self.max_text_len)
        if note and not self.is_cut_logged and self.data.control == "none":  # controls read the same texts again
            log.warning("%s", note)
            self.is_cut_logged = True
        return [self.tokenizer.cut(row, self.max_text_len) for row in whole]

    def notes(self, texts: Sequence[str]) -> list[str]:
        """Return sentences about what the model misses of these texts: unknown words, and ends that are cut off."""
        if self.tokenizer is None:
            return []
        self.is_cut_logged = True  # the caller shows the notes
        return [note for text in texts for note in notes_on(self.tokenizer, text, self.max_text_len)]

    def clips(
        self, sources: Sequence[Source], **options: Any
    ) -> Iterator[tuple[list[int], UInt8[Tensor, "G V T C H W"]]]:
        """Read videos batch by batch as this model takes them, with `options` of `data.video_inputs.read_clips`."""
        # Only `text_only` sets a digest.
        if self.digest is not None:
            raise ValueError("this model was loaded with text_only, so it reads no videos; load all of it")
        return read_clips(sources, self.data, self.num_frames, **options)

    def one_clip(self, video: Source, num_views: int) -> UInt8[Tensor, "1 V T C H W"]:
        """Read the clip of a single video."""
        return next(self.clips([video], num_views=num_views))[1]

    def reader(self) -> ClipReader:
        """Return a reader of single clips as this model takes them."""
        return ClipReader(self.num_frames, Transform(self.data.transform), control=self.data.control)

    def _map_clips(
        self,
        sources: Sequence[Source],
        function: Callable[[Tensor], Tensor],
        none: Float[Tensor, "0 X"],
        num_views: int,
        allow_missing: bool,
        on_progress: Progress | None,
    ) -> tuple[Float[Tensor, "K X"], list[int], dict[int, str]]:
        """Apply `function` to the clips of all videos. The rows (`none` without any) are in the order of the videos."""
        order: list[int] = []
        skipped: dict[int, str] = {}
        outputs = [none]
        for indices, clips in self.clips(
            sources, num_views=num_views, allow_missing=allow_missing, skipped=skipped, on_progress=on_progress
        ):
            order += indices
            outputs.append(function(clips))
        return torch.cat(outputs)[torch.tensor(order, dtype=torch.long).argsort()], sorted(order), skipped
