"""Fine-tuning for text-video retrieval; see `finetune.py`. Figures are R@1/R@5/R@10, text to video, of size B."""

from dataclasses import replace
from typing import Any

from allinone.datasets import activitynet, coco, didemo, flickr30k, lsmdc, msrvtt, msvd, youcook2
from allinone.evaluators.retrieval import Retrieval
from allinone.experiment import Experiment
from allinone.experiments.finetune import AUGMENTED, Reader, finetune
from allinone.objectives.vtc import VTC
from allinone.objectives.vtm import VTM

CONTRAST = {"vtc": VTC.Config()}
CONTRAST_AND_MATCHING = {"vtc": VTC.Config(), "vtm": VTM.Config(negatives="hard")}


def msrvtt_retrieval() -> Experiment:
    """Text-video retrieval on MSR-VTT, dual stream: trained on `train9k`, scored on `1kA` with three views.

        allinone train msrvtt_retrieval --set data.root=/data/msrvtt

    Paper 36.1/62.3/72.1, released log 35.6/62.8/71.3.
    """
    return _videos(msrvtt.Captions, {"test": "1kA"}, train="train9k", num_samples=9_000)


def msrvtt_retrieval_two_stage() -> Experiment:
    """`msrvtt_retrieval` with matching, which re-ranks the best 32 of the dual stream.

        allinone train msrvtt_retrieval_two_stage --set data.root=/data/msrvtt

    Paper 37.1/66.7/75.9, released log 35.4/67.0/77.6. The released code draws 15 negative captions per clip for its
    ranking loss; here negative captions and clips come from the batch, drawn by similarity.
    """
    test = Retrieval.Config(data=msrvtt.Captions("1kA"), mode="two_stage", num_views=3, add_cosine=True)
    return replace(msrvtt_retrieval(), objectives=CONTRAST_AND_MATCHING, evaluators={"test": test})


def msrvtt_retrieval_7k() -> Experiment:
    """`msrvtt_retrieval`, trained on the 7,010 videos of `train7k`: about two points of R@1 lower.

        allinone train msrvtt_retrieval_7k --set data.root=/data/msrvtt

    No figure in the paper.
    """
    return _videos(msrvtt.Captions, {"test": "1kA"}, train="train7k", num_samples=7_010)


def msrvtt_retrieval_full() -> Experiment:
    """Retrieval on the split of 2016: 6,513 videos to train, 2,990 to test, each with 20 captions that all are queries.

        allinone train msrvtt_retrieval_full --set data.root=/data/msrvtt

    No figure in the paper.
    """
    return _videos(
        msrvtt.Captions, {"val": "full-val", "test": "full-test"}, train="full-train", num_samples=6_513
    )  # fmt: skip


def msvd_retrieval() -> Experiment:
    """Retrieval on MSVD: every caption of a test video is a query.

        allinone train msvd_retrieval --set data.root=/data/msvd

    No figure in the paper.
    """
    return finetune(
        msvd.Captions("train"), CONTRAST_AND_MATCHING, _evaluators(msvd.Captions, {"val": "val", "test": "test"}),
        num_samples=1_200, num_epochs=50, batch_size=256,
    )  # fmt: skip


def didemo_retrieval() -> Experiment:
    """Paragraph-to-video retrieval on DiDeMo: all descriptions of a video, in order of time, are its text.

        allinone train didemo_retrieval --set data.root=/data/didemo

    Paper 32.7/61.4/73.5.
    """
    splits = {"val": "val", "test": "test"}
    # A paragraph has several sentences.
    return _videos(didemo.Captions, splits, num_samples=8_392, lr=6e-4, max_text_len=80)


def activitynet_retrieval() -> Experiment:
    """Paragraph-to-video retrieval on ActivityNet Captions, scored on val_1.

        allinone train activitynet_retrieval --set data.root=/data/activitynet

    Paper 22.4/53.7/67.7.
    """
    return _videos(activitynet.Captions, {"val_1": "val_1"}, num_samples=10_009, max_text_len=80)


def lsmdc_retrieval() -> Experiment:
    """Retrieval on LSMDC: clips of films and their audio descriptions, 1,000 to test.

        allinone train lsmdc_retrieval --set data.root=/data/lsmdc

    No figure in the paper.
    """
    return _videos(
        lsmdc.Captions, {"test": "test"}, CONTRAST_AND_MATCHING,
        num_samples=101_055, num_epochs=50, lr=1e-4, max_text_len=80,
    )  # fmt: skip


def youcook2_retrieval() -> Experiment:
    """Retrieval on YouCook2: the steps of recipes, scored on those of the validation videos.

        allinone train youcook2_retrieval --set data.root=/data/youcook2

    No figure in the paper; hyperparameters as for LSMDC.
    """
    return _videos(
        youcook2.Captions, {"val": "val"}, CONTRAST_AND_MATCHING, num_samples=10_337, num_epochs=50, lr=1e-4
    )  # fmt: skip


def coco_retrieval() -> Experiment:
    """Retrieval on COCO, Karpathy's splits: a photo is a clip of one frame.

        allinone train coco_retrieval --set data.root=/data/coco

    No figure in the paper.
    """
    return _images(coco.Captions, num_samples=113_287, num_epochs=50, lr=3e-4)  # an epoch counts photos, not captions


def flickr30k_retrieval() -> Experiment:
    """Retrieval on Flickr30k, Karpathy's splits.

        allinone train flickr30k_retrieval --set data.root=/data/flickr30k

    No figure in the paper.
    """
    return _images(flickr30k.Captions, num_samples=29_000, num_epochs=10)


def _videos(
    reader: Reader, splits: dict[str, str], objectives: Any = CONTRAST, *, train: str = "train", **settings: Any
) -> Experiment:
    settings = {"num_epochs": 200, "batch_size": 1024, "lr": 3e-4, "transform": AUGMENTED} | settings
    return finetune(reader(train), objectives, _evaluators(reader, splits), **settings)


def _images(reader: Reader, **settings: Any) -> Experiment:
    evaluators = {split: Retrieval.Config(data=reader(split)) for split in ("val", "test")}
    settings = {"batch_size": 256, "transform": AUGMENTED, "num_frames": 1} | settings
    return finetune(reader("train"), CONTRAST_AND_MATCHING, evaluators, **settings)


def _evaluators(reader: Reader, splits: dict[str, str]) -> dict[str, Retrieval.Config]:
    """Return an evaluator of each split, by the name of the evaluator; the last one averages three views."""
    last = [*splits][-1]
    return {
        name: Retrieval.Config(data=reader(split), num_views=3 if name == last else 1) for name, split in splits.items()
    }
