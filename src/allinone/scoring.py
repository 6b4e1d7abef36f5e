"""`Scorer`: run a model on clips and token ids in batches; what a `Predictor` is without reading videos and texts."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from allinone.model.features import BlockFeatures, features
from allinone.model.heads import ChoiceHead, ContrastiveHead, MatchingHead, RankingHead
from allinone.model.model import AllInOne
from allinone.model.packed import bfloat16_pays, pack
from allinone.model.weights import check_finite
from allinone.progress import Progress
from allinone.text.tokenizer import Tokenizer, pad

Precision = Literal["float32", "bfloat16"]


class EmbeddedVideos(NamedTuple):
    """Vectors of the videos that could be read.

    `kept` are the indices of these videos in the given list, one per row of `vectors`; `skipped` maps the index of each
    other video to the reason.
    """

    vectors: Float[Tensor, "K E"]
    kept: list[int]
    skipped: dict[int, str]


class MatchedVideos(NamedTuple):
    """Probabilities of the videos that could be read; the rest as in `EmbeddedVideos`."""

    probs: Float[Tensor, "K Q"]
    kept: list[int]
    skipped: dict[int, str]


class Scorer:
    """A model on its device, in its precision: clips and token ids to embeddings and scores.

    Results are float32 on the CPU. Letters of shapes as in `Predictor`. `token_ids` are unpadded, and `pairs` hold
    indices of clips and of texts.
    """

    def __init__(
        self,
        model: AllInOne,
        tokenizer: Tokenizer | None = None,
        *,
        batch_size: int = 32,
        device: str | torch.device | None = None,
        precision: Precision | None = None,
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
        self.batch_size = batch_size

    def embed_clips(self, clips: UInt8[Tensor, "G V T C H W"]) -> Float[Tensor, "G E"]:
        """Return unit vectors of clips."""
        # The mean over several views is shorter than 1.
        return F.normalize(self.video_only(self.model.require(ContrastiveHead).embed_video, clips), dim=-1)

    def embed_tokens(
        self, token_ids: Sequence[list[int]], *, on_progress: Progress | None = None
    ) -> Float[Tensor, "Q E"]:
        """Return unit vectors of texts."""
        head, encoder = self.model.require(ContrastiveHead), self.encoder
        vectors, num_done = torch.empty(len(token_ids), self.model.config.shared_dim), 0
        for batch in batched(shortest_first(token_ids), self.batch_size):
            ids, mask = self._pad([token_ids[i] for i in batch])
            vectors[batch] = self._compute(
                lambda ids, mask: head.embed_text(encoder.encode_text(ids, mask, num_out_tokens=1)), ids, mask
            )
            num_done += len(batch)
            if on_progress:
                on_progress("texts", num_done, len(token_ids))
        return F.normalize(vectors, dim=-1)

    def video_only(self, head: Callable[[Tensor], Tensor], clips: UInt8[Tensor, "G V T C H W"]) -> Float[Tensor, "G X"]:
        """Return a head's outputs for clips without text, averaged over the views of each."""
        outputs = [
            self._compute(lambda frames: head(self.encoder.encode_video(frames, num_out_tokens=1)), part)
            for part in clips.flatten(0, 1).split(self.batch_size)
        ]
        return torch.cat(outputs).unflatten(0, clips.shape[:2]).mean(dim=1)

    def joint(
        self,
        head: Callable[[Tensor], Tensor],
        clips: UInt8[Tensor, "G V T C H W"],
        token_ids: Sequence[list[int]],
        pairs: Int[Tensor, "M 2"],
        *,
        on_progress: Progress | None = None,
    ) -> Float[Tensor, "M ..."]:
        """Return a head's outputs for (clip, text) pairs of indices, averaged over the views of each clip.

        The head gets the pooled joint feature.
        """
        encoder, num_views = self.encoder, clips.shape[1]
        by_length = shortest_first([token_ids[i] for i in pairs[:, 1].tolist()])
        outputs = [self._compute(head, torch.empty(0, self.model.config.width))]  # the right shape without any pair
        num_done = 0
        for batch in batched(by_length, max(1, self.batch_size // num_views)):  # a pass for each view
            chosen, texts = pairs[batch].unbind(dim=1)
            ids, mask = self._pad([token_ids[i] for i in texts.tolist()])
            output = self._compute(
                lambda frames, ids, mask: head(encoder.pool(encoder(frames, ids, mask, num_out_tokens=1).text)),
                clips[chosen].flatten(0, 1),
                ids.repeat_interleave(num_views, dim=0),
                mask.repeat_interleave(num_views, dim=0),
            )
            outputs.append(output.unflatten(0, (len(batch), num_views)).mean(dim=1))
            num_done += len(batch)
            if on_progress:
                on_progress("pairs", num_done, len(pairs))
        # Back in the order of `pairs`.
        return torch.cat(outputs)[torch.tensor(by_length, dtype=torch.long).argsort()]

    def log_odds(
        self,
        clips: UInt8[Tensor, "G V T C H W"],
        token_ids: Sequence[list[int]],
        pairs: Int[Tensor, "M 2"],
        *,
        on_progress: Progress | None = None,
    ) -> Float[Tensor, " M"]:
        """Return log-odds of the matching head that clip and text of each pair belong together; 0 is undecided."""
        logits = self.joint(self.model.require(MatchingHead), clips, token_ids, pairs, on_progress=on_progress)
        return logits[:, 1] - logits[:, 0]

    def match_all(self, clips: UInt8[Tensor, "G V T C H W"], token_ids: Sequence[list[int]]) -> Float[Tensor, "G Q"]:
        """Return the log-odds of each clip with each text."""
        log_odds = self.log_odds(clips, token_ids, all_pairs(len(clips), len(token_ids)))
        return log_odds.unflatten(0, (len(clips), len(token_ids)))

    def option_scores(
        self, clips: UInt8[Tensor, "G V T C H W"], token_ids: Sequence[list[int]], pairs: Int[Tensor, "M 2"]
    ) -> Float[Tensor, " M"]:
        """Return how well clip and text of each pair fit, for the choice between options."""
        head = self.option_head()
        return self.log_odds(clips, token_ids, pairs) if head is None else self.joint(head, clips, token_ids, pairs)

    def option_head(self) -> ChoiceHead | RankingHead | None:
        """Return the head that chooses between options; None if the matching head has to."""
        head = self.model.get(ChoiceHead) or self.model.get(RankingHead)
        if head is None and self.model.get(MatchingHead) is None:
            raise self.model.without(ChoiceHead, RankingHead, MatchingHead, to="choose")
        return head

    def block_features(
        self, clips: UInt8[Tensor, "B V T C H W"] | None, token_ids: Sequence[list[int]] | None, **options: Any
    ) -> list[BlockFeatures]:
        """Return features (`model/features.py`) of the first view of each clip with its own text, or of one of the two.

        The encoder is the plain one in float32, because packed blocks have no attention and round their tokens.
        """
        frames = None if clips is None else clips[:, 0].to(self.device)
        text = (None, None) if token_ids is None else (x.to(self.device) for x in self._pad(list(token_ids)))
        with torch.no_grad():
            return [block.cpu() for block in features(self.model.encoder, frames, *text, **options)]

    def _pad(self, token_ids: list[list[int]]) -> tuple[Tensor, Tensor]:
        assert self.tokenizer is not None
        return pad(token_ids, self.tokenizer.pad_id)

    def _compute(self, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """Run the model on one batch: on its device, in its precision, without gradients; return float32 on the CPU.

        Raises:
            ValueError: an output is not finite. No score could be made of it.
        """
        by_torch = self.precision == "bfloat16" and self.device.type != "cpu"  # on a CPU the encoder is packed
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=by_torch)
        with torch.inference_mode(), autocast:
            output = function(*(tensor.to(self.device) for tensor in tensors)).float().cpu()
        if not output.isfinite().all():
            check_finite(self.model.state_dict())  # says so if the weights are the reason
            raise ValueError(f"the model's output is NaN or infinite in {self.precision}, though its weights are not")
        return output


def all_pairs(num_clips: int, num_texts: int) -> Int[Tensor, "M 2"]:
    """Return the indices of each clip with each text, clip by clip."""
    return torch.cartesian_prod(torch.arange(num_clips), torch.arange(num_texts)).reshape(-1, 2)


def batched(items: list[int], size: int) -> list[list[int]]:
    """Cut a list into parts of `size`; the last may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def shortest_first(token_ids: Sequence[list[int]]) -> list[int]:
    """Return indices in the order of length, so that the texts of a batch need little padding."""
    return sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
