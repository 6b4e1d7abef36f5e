"""Fine-tuning and linear probes for action recognition; see `finetune.py`. Figures are top-1 accuracies of size B."""

from typing import Any

from allinone.datasets import hmdb51, kinetics400, ucf101
from allinone.evaluators.recognition import RecognitionAccuracy
from allinone.experiment import Experiment
from allinone.experiments.finetune import Reader, finetune
from allinone.objectives.recognition import Recognition


def kinetics400_probe() -> Experiment:
    """Kinetics-400 by a linear layer on the frozen encoder, 8 frames.

        allinone train kinetics400_probe --set data.root=/data/kinetics400

    Paper 50.8, released log 52.3. For fine-tuning: `train.freeze_encoder=false`.
    """
    return _recognition(
        kinetics400.Labels, {"train": "train", "val": "val"},
        num_samples=246_534, lr=3e-4, num_frames=8, frozen=True,
    )  # fmt: skip


def hmdb51_probe() -> Experiment:
    """HMDB51, its first split, by a linear layer on the frozen encoder.

        allinone train hmdb51_probe --set data.root=/data/hmdb51

    Paper 50.8, released log 51.2. The other splits: `train_data.train.data.split=train2
    evaluators.test.data.split=test2`, and 3.
    """
    return _recognition(hmdb51.Labels, num_samples=3_570, frozen=True)


def hmdb51_finetune() -> Experiment:
    """HMDB51, its first split, with the whole model trained.

        allinone train hmdb51_finetune --set data.root=/data/hmdb51

    No figure in the paper; hyperparameters of the probe.
    """
    return _recognition(hmdb51.Labels, num_samples=3_570)


def ucf101_probe() -> Experiment:
    """UCF101, its first split, by a linear layer on the frozen encoder.

        allinone train ucf101_probe --set data.root=/data/ucf101

    No figure in the paper; hyperparameters as for HMDB51.
    """
    return _recognition(ucf101.Labels, num_samples=9_537, frozen=True)


def ucf101_finetune() -> Experiment:
    """UCF101, its first split, with the whole model trained.

        allinone train ucf101_finetune --set data.root=/data/ucf101

    No figure in the paper; hyperparameters as for HMDB51.
    """
    return _recognition(ucf101.Labels, num_samples=9_537)


def _recognition(reader: Reader, splits: dict[str, str] | None = None, **settings: Any) -> Experiment:
    splits = splits or {"train": "train1", "test": "test1"}
    evaluators = {
        name: RecognitionAccuracy.Config(data=reader(split), mode="head", num_views=3)
        for name, split in splits.items()
        if name != "train"
    }
    settings = {"num_epochs": 50, "batch_size": 256} | settings
    return finetune(reader(splits["train"]), {"classes": Recognition.Config()}, evaluators, **settings)
