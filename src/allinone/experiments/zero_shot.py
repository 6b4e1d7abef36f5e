"""Zero-shot evaluation: a pre-trained checkpoint on tasks that it was not trained for.

    allinone evaluate checkpoints/base hmdb51_zero_shot --set data.root=/data/hmdb51

For multiple choice of captions (`msrvtt_choice`, `lsmdc_choice`, `egomcq`) and retrieval, evaluate the checkpoint with
the fine-tuning of that name.
"""

from allinone.data.example import Dataset
from allinone.datasets import hmdb51, kinetics400, ucf101, webvid
from allinone.evaluators.base import EvaluatorConfig
from allinone.evaluators.recognition import RecognitionAccuracy
from allinone.evaluators.retrieval import Retrieval
from allinone.experiment import Data, Experiment
from allinone.model.config import BASE
from allinone.train.optim import Optim


def webvid_zero_shot() -> Experiment:
    """Retrieval on the validation clips of WebVid2.5M, which are no part of pre-training."""
    return _untrained(Retrieval.Config(data=webvid.Captions("val2M")))


def kinetics400_zero_shot() -> Experiment:
    """Kinetics-400 by the names of its classes: the one with the embedding most similar to the clip's."""
    return _by_name(kinetics400.Labels("val"))


def hmdb51_zero_shot() -> Experiment:
    """HMDB51, the test part of its first split, by the names of its classes."""
    return _by_name(hmdb51.Labels("test1"))


def ucf101_zero_shot() -> Experiment:
    """UCF101, the test part of its first split, by the names of its classes."""
    return _by_name(ucf101.Labels("test1"))


def _by_name(data: Dataset) -> Experiment:
    return _untrained(RecognitionAccuracy.Config(data=data, num_views=3))


def _untrained(evaluator: EvaluatorConfig) -> Experiment:
    return Experiment(
        model=BASE,
        train_data={},
        objectives={},
        evaluators={"zero_shot": evaluator},
        optim=Optim.Config(num_steps=1, warmup=0),  # nothing is trained, but a step is the least
        data=Data(batch_size=32, num_workers=8),
    )
