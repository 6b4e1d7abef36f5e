"""Fine-tuning and probing on the public benchmarks: one function a row of the paper, or of a task beside it.

Every run starts from a checkpoint, by default `checkpoints/base`: the released weights, converted with

    allinone convert all-in-one-base.ckpt checkpoints/base --vocab vocab.txt

Batch sizes, learning rates and epochs are those of the released configurations (an epoch shows each video, or each
question, once). `data.global_batch` is the published batch, whatever the number of processes, and `data.batch_size`
what one process holds in memory at a time, by default an eighth: make it smaller for a smaller GPU. With fewer than
eight processes the update is the same but for contrast, which has fewer negatives. The figures that papers and
released logs give, and ours, are in `docs/results.md`, in the row of the function's name.
`allinone evaluate checkpoints/base EXPERIMENT` without training is the zero-shot score, where the head for it is there.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from allinone.data.example import Dataset
from allinone.datasets import (
    activitynet,
    activitynet_qa,
    coco,
    didemo,
    egoclip,
    flickr30k,
    hmdb51,
    kinetics400,
    lsmdc,
    msrvtt,
    msrvtt_qa,
    msvd,
    msvd_qa,
    nextqa,
    nlvr2,
    tgif_qa,
    tvqa,
    ucf101,
    vcr,
    vqav2,
    youcook2,
)
from allinone.evaluators.base import EvaluatorConfig
from allinone.evaluators.choice import ChoiceAccuracy
from allinone.evaluators.classification import AnswerAccuracy
from allinone.evaluators.number import Number
from allinone.evaluators.recognition import RecognitionAccuracy
from allinone.evaluators.retrieval import Retrieval
from allinone.experiment import AnswerVocabConfig, Data, Experiment, Source
from allinone.model.config import BASE
from allinone.objectives.answering import Answering
from allinone.objectives.base import ObjectiveConfig
from allinone.objectives.choice import Choice
from allinone.objectives.counting import Counting
from allinone.objectives.recognition import Recognition
from allinone.objectives.vtc import VTC
from allinone.objectives.vtm import VTM
from allinone.train.config import TrainConfig
from allinone.train.optim import Optim
from allinone.video.transforms import Transform

AUGMENTED = Transform.Config(random_crop=True, augment=2)
CROPPED = Transform.Config(random_crop=True)


def _finetune(
    train: Dataset | Mapping[str, Dataset],
    objectives: Mapping[str, ObjectiveConfig],
    evaluators: Mapping[str, EvaluatorConfig],
    *,
    num_samples: int,
    num_epochs: int,
    batch_size: int,
    lr: float = 1e-4,
    transform: Transform.Config = CROPPED,
    num_frames: int = 3,
    max_text_len: int = 40,
    num_answers: int | None = None,
    frozen: bool = False,
) -> Experiment:
    """What all have in common. `num_samples` are what an epoch shows."""
    sources = train if isinstance(train, Mapping) else {"train": train}
    return Experiment(
        model=BASE.replace(num_frames=num_frames, max_text_len=max_text_len),
        train_data={name: Source(data=data) for name, data in sources.items()},
        objectives=objectives,
        evaluators=evaluators,
        optim=Optim.Config(lr=lr, num_steps=num_samples * num_epochs // batch_size),
        data=Data(batch_size=batch_size // 8, global_batch=batch_size, transform=transform, num_workers=8),
        train=TrainConfig(precision="bfloat16", freeze_encoder=frozen),
        answers=AnswerVocabConfig(max_size=num_answers),
        init="checkpoints/base",
    )


# Retrieval

CONTRAST = {"vtc": VTC.Config()}
CONTRAST_AND_MATCHING = {"vtc": VTC.Config(), "vtm": VTM.Config(negatives="hard")}


def msrvtt_retrieval() -> Experiment:
    """Text-video retrieval on MSR-VTT, dual stream: trained on `train9k`, scored on `1kA` with three views.

        allinone train msrvtt_retrieval --set data.root=/data/msrvtt

    Paper 36.1/62.3/72.1, released log 35.6/62.8/71.3 (R@1/5/10, text to video, B).
    """
    return _finetune(
        msrvtt.Captions("train9k"),
        CONTRAST,
        {"test": Retrieval.Config(data=msrvtt.Captions("1kA"), num_views=3)},
        num_samples=9_000, num_epochs=200, batch_size=1024, lr=3e-4, transform=AUGMENTED,
    )  # fmt: skip


def msrvtt_retrieval_two_stage() -> Experiment:
    """The same with matching beside contrast, which re-ranks the dual stream's best 32.

        allinone train msrvtt_retrieval_two_stage --set data.root=/data/msrvtt

    Paper 37.1/66.7/75.9, released log 35.4/67.0/77.6. The released code draws 15 foreign captions a clip for its
    ranking loss; here foreign captions and clips are those of the batch, drawn by similarity.
    """
    base = msrvtt_retrieval()
    test = Retrieval.Config(data=msrvtt.Captions("1kA"), mode="two_stage", num_views=3, add_cosine=True)
    return replace(base, objectives=CONTRAST_AND_MATCHING, evaluators={"test": test})


def msrvtt_retrieval_7k() -> Experiment:
    """As `msrvtt_retrieval`, trained on the 7,010 videos of `train7k`: about two points of R@1 lower.

        allinone train msrvtt_retrieval_7k --set data.root=/data/msrvtt

    No figure in the paper.
    """
    base = msrvtt_retrieval()
    return replace(
        base,
        train_data={"train": Source(data=msrvtt.Captions("train7k"))},
        optim=replace(base.optim, num_steps=7_010 * 200 // 1024),
    )


def msrvtt_retrieval_full() -> Experiment:
    """Retrieval on the split of 2016: 6,513 videos to train, 2,990 to test, each with 20 captions that all are queries.

        allinone train msrvtt_retrieval_full --set data.root=/data/msrvtt

    No figure in the paper.
    """
    return _finetune(
        msrvtt.Captions("full-train"),
        CONTRAST,
        {
            "val": Retrieval.Config(data=msrvtt.Captions("full-val")),
            "test": Retrieval.Config(data=msrvtt.Captions("full-test"), num_views=3),
        },
        num_samples=6_513, num_epochs=200, batch_size=1024, lr=3e-4, transform=AUGMENTED,
    )  # fmt: skip


def msvd_retrieval() -> Experiment:
    """Retrieval on MSVD: every caption of a test video is a query.

        allinone train msvd_retrieval --set data.root=/data/msvd

    No figure in the paper.
    """
    return _finetune(
        msvd.Captions("train"),
        CONTRAST_AND_MATCHING,
        {
            "val": Retrieval.Config(data=msvd.Captions("val")),
            "test": Retrieval.Config(data=msvd.Captions("test"), num_views=3),
        },
        num_samples=1_200, num_epochs=50, batch_size=256,
    )  # fmt: skip


def didemo_retrieval() -> Experiment:
    """Paragraph-to-video retrieval on DiDeMo: all descriptions of a video, in order of time, are its text.

        allinone train didemo_retrieval --set data.root=/data/didemo

    Paper 32.7/61.4/73.5 (R@1/5/10, B).
    """
    return _finetune(
        didemo.Captions("train"),
        CONTRAST,
        {
            "val": Retrieval.Config(data=didemo.Captions("val")),
            "test": Retrieval.Config(data=didemo.Captions("test"), num_views=3),
        },
        num_samples=8_392, num_epochs=200, batch_size=1024, lr=6e-4, transform=AUGMENTED, max_text_len=80,
    )  # fmt: skip


def activitynet_retrieval() -> Experiment:
    """Paragraph-to-video retrieval on ActivityNet Captions, scored on val_1.

        allinone train activitynet_retrieval --set data.root=/data/activitynet

    Paper 22.4/53.7/67.7 (R@1/5/10, B).
    """
    return _finetune(
        activitynet.Captions("train"),
        CONTRAST,
        {"val_1": Retrieval.Config(data=activitynet.Captions("val_1"), num_views=3)},
        num_samples=10_009, num_epochs=200, batch_size=1024, lr=3e-4, transform=AUGMENTED, max_text_len=80,
    )  # fmt: skip


def lsmdc_retrieval() -> Experiment:
    """Retrieval on LSMDC: clips of films and what is said of them, 1,000 to test.

        allinone train lsmdc_retrieval --set data.root=/data/lsmdc

    No figure in the paper.
    """
    return _finetune(
        lsmdc.Captions("train"),
        CONTRAST_AND_MATCHING,
        {"test": Retrieval.Config(data=lsmdc.Captions("test"), num_views=3)},
        num_samples=101_055, num_epochs=50, batch_size=1024, transform=AUGMENTED, max_text_len=80,
    )  # fmt: skip


def youcook2_retrieval() -> Experiment:
    """Retrieval on YouCook2: the steps of recipes, scored on those of the validation videos.

        allinone train youcook2_retrieval --set data.root=/data/youcook2

    No figure in the paper; hyperparameters as for LSMDC.
    """
    return _finetune(
        youcook2.Captions("train"),
        CONTRAST_AND_MATCHING,
        {"val": Retrieval.Config(data=youcook2.Captions("val"), num_views=3)},
        num_samples=10_337, num_epochs=50, batch_size=1024, transform=AUGMENTED,
    )  # fmt: skip


# Open questions

ANSWERING = {"answers": Answering.Config()}


def msrvtt_questions() -> Experiment:
    """MSRVTT-QA: open questions, 1,500 answers.

        allinone train msrvtt_questions --set data.root=/data/msrvtt_qa

    Paper and released log 42.9 (B); with more pre-training data 46.8.
    """
    return _questions(msrvtt_qa.Questions, num_samples=158_581, num_answers=1_500)


def msvd_questions() -> Experiment:
    """MSVD-QA: open questions, 1,000 answers.

        allinone train msvd_questions --set data.root=/data/msvd_qa

    Paper 46.1 (B); with more pre-training data 48.3.
    """
    return _questions(msvd_qa.Questions, num_samples=30_933, num_answers=1_000)


def tgif_frame() -> Experiment:
    """TGIF-QA FrameQA: open questions about one frame, 1,540 answers.

        allinone train tgif_frame --set data.root=/data/tgif_qa

    Released log 65.0 (B), with images 67.2 to 68.5 (B+).
    """
    return _finetune(
        tgif_qa.Frames("train"),
        ANSWERING,
        {"test": AnswerAccuracy.Config(data=tgif_qa.Frames("test"))},
        num_samples=39_392, num_epochs=20, batch_size=512, num_answers=1_540,
    )  # fmt: skip


def activitynet_questions() -> Experiment:
    """ActivityNet-QA: open questions about long videos, 1,000 answers.

        allinone train activitynet_questions --set data.root=/data/activitynet_qa

    No figure in the paper; hyperparameters as for MSVD-QA.
    """
    return _questions(activitynet_qa.Questions, num_samples=32_000, num_answers=1_000)


def vqav2_questions() -> Experiment:
    """VQAv2: open questions about photos, 3,129 answers; scored by the answers of ten people each.

        allinone train vqav2_questions --set data.root=/data/vqav2

    Also writes the file for the test server. No figure in the paper. The peers train on soft scores of all ten
    answers; this trains on the most frequent one.
    """
    return _finetune(
        vqav2.Questions("train"),
        ANSWERING,
        {
            "val": AnswerAccuracy.Config(data=vqav2.Questions("val")),
            "test-dev": AnswerAccuracy.Config(data=vqav2.Questions("test-dev2015")),
        },
        num_samples=443_757, num_epochs=10, batch_size=256, num_frames=1, num_answers=3_129,
    )  # fmt: skip


def nlvr2_statements() -> Experiment:
    """NLVR2: is a statement true of a pair of photos? The pair is a clip of two frames.

        allinone train nlvr2_statements --set data.root=/data/nlvr2

    No figure in the paper.
    """
    return _finetune(
        nlvr2.Questions("train"),
        ANSWERING,
        {
            "dev": AnswerAccuracy.Config(data=nlvr2.Questions("dev")),
            "test": AnswerAccuracy.Config(data=nlvr2.Questions("test1")),
        },
        num_samples=86_373, num_epochs=10, batch_size=128, num_frames=2,
    )  # fmt: skip


def tgif_count() -> Experiment:
    """TGIF-QA Count: how many times? Mean squared error of a number from 1 to 10.

        allinone train tgif_count --set data.root=/data/tgif_qa

    No figure in the paper; hyperparameters as for FrameQA.
    """
    return _finetune(
        tgif_qa.Counts("train"),
        {"count": Counting.Config()},
        {"test": Number.Config(data=tgif_qa.Counts("test"))},
        num_samples=26_843, num_epochs=20, batch_size=512,
    )  # fmt: skip


# Multiple choice

CHOOSING = {"choice": Choice.Config(head="choice")}
RANKING = {"choice": Choice.Config(head="ranking")}


def tgif_action() -> Experiment:
    """TGIF-QA Action: what is done so many times? Five options.

        allinone train tgif_action --set data.root=/data/tgif_qa

    Paper 92.5, released log 93.0 (B); B+ 95.4 to 96.3. The options give much away: look at `--blind` too.
    """
    return _finetune(
        tgif_qa.Actions("train"),
        CHOOSING,
        {"test": ChoiceAccuracy.Config(data=tgif_qa.Actions("test"))},
        num_samples=20_475, num_epochs=100, batch_size=512,
    )  # fmt: skip


def tgif_transition() -> Experiment:
    """TGIF-QA Transition: what comes before or after? Five options.

        allinone train tgif_transition --set data.root=/data/tgif_qa

    Released code 94.3 (B). The options give much away: look at `--blind` too.
    """
    return _finetune(
        tgif_qa.Transitions("train"),
        CHOOSING,
        {"test": ChoiceAccuracy.Config(data=tgif_qa.Transitions("test"))},
        num_samples=52_704, num_epochs=100, batch_size=512,
    )  # fmt: skip


def tvqa_choice() -> Experiment:
    """TVQA: questions about scenes of series, five answers, in the span that is told, with its subtitles.

        allinone train tvqa_choice --set data.root=/data/tvqa

    Also writes the file for the test server. Released configuration, no figure in the paper.
    """
    return _finetune(
        tvqa.Choices("train", subtitles=True),
        CHOOSING,
        {
            "val": ChoiceAccuracy.Config(data=tvqa.Choices("val", subtitles=True)),
            "test": ChoiceAccuracy.Config(data=tvqa.Choices("test_public", subtitles=True)),
        },
        num_samples=122_039, num_epochs=100, batch_size=512, max_text_len=100,
    )  # fmt: skip


def nextqa_choice() -> Experiment:
    """NExT-QA: causal, temporal and descriptive questions with five answers, each kind with its own accuracy.

        allinone train nextqa_choice --set data.root=/data/nextqa

    No figure in the paper; hyperparameters as for TGIF-QA, with fewer epochs.
    """
    return _finetune(
        nextqa.Choices("train"),
        CHOOSING,
        {
            "val": ChoiceAccuracy.Config(data=nextqa.Choices("val")),
            "test": ChoiceAccuracy.Config(data=nextqa.Choices("test")),
        },
        num_samples=34_132, num_epochs=20, batch_size=512,
    )  # fmt: skip


def msrvtt_choice() -> Experiment:
    """MSRVTT multiple choice: which of five captions is the video's? Trained on captions, with others of the batch.

        allinone evaluate checkpoints/base msrvtt_choice --set data.root=/data/msrvtt     zero-shot
        allinone train msrvtt_choice --set data.root=/data/msrvtt

    Paper: zero-shot 80.3 (released log 78.1), fine-tuned 92.0 (B).
    """
    return _finetune(
        msrvtt.Captions("train7k"),
        RANKING,
        {"test": ChoiceAccuracy.Config(data=msrvtt.Choices("test"))},
        num_samples=7_010, num_epochs=10, batch_size=256,
    )  # fmt: skip


def lsmdc_choice() -> Experiment:
    """LSMDC multiple choice: which of five descriptions is the clip's?

        allinone evaluate checkpoints/base lsmdc_choice --set data.root=/data/lsmdc     zero-shot
        allinone train lsmdc_choice --set data.root=/data/lsmdc

    Paper: zero-shot 56.3, released log 56.7 (B).
    """
    return _finetune(
        lsmdc.Choices("train"),
        RANKING,
        {
            "val": ChoiceAccuracy.Config(data=lsmdc.Choices("val")),
            "test": ChoiceAccuracy.Config(data=lsmdc.Choices("test")),
        },
        num_samples=101_079, num_epochs=20, batch_size=256, lr=1e-5,
    )  # fmt: skip


def egomcq() -> Experiment:
    """EgoMCQ: which of five clips does a narration tell of? From other videos (inter) or the same one (intra).

        allinone evaluate checkpoints/base egomcq --set data.root=/data/egoclip     zero-shot
        allinone train egomcq --set data.root=/data/egoclip

    Paper: zero-shot 36.5 (B). The released configuration passes ten times over its data; here once over EgoClip.
    """
    return _finetune(
        egoclip.Captions("train"),
        CONTRAST_AND_MATCHING,
        {"val": ChoiceAccuracy.Config(data=egoclip.Choices("val"))},
        num_samples=3_847_723, num_epochs=1, batch_size=256,
    )  # fmt: skip


def vcr_choice() -> Experiment:
    """Visual commonsense reasoning: the answer (Q->A), its rationale (QA->R), and both (Q->AR), four options each.

        allinone train vcr_choice --set data.root=/data/vcr

    People have names, and what is mentioned is tinted in the image. Also writes the file for the test server.
    """
    return _finetune(
        {"answers": vcr.Answers("train"), "rationales": vcr.Rationales("train")},
        RANKING,
        {
            "val": ChoiceAccuracy.Config(data=vcr.Answers("val"), then=vcr.Rationales("val")),
            "test": ChoiceAccuracy.Config(data=vcr.Answers("test"), then=vcr.Rationales("test")),
        },
        num_samples=212_923, num_epochs=200, batch_size=256, transform=AUGMENTED, num_frames=1, max_text_len=80,
    )  # fmt: skip


# Action recognition

RECOGNISING = {"classes": Recognition.Config()}


def kinetics400_probe() -> Experiment:
    """Kinetics-400 by a linear layer on the frozen encoder, 8 frames.

        allinone train kinetics400_probe --set data.root=/data/kinetics400

    Paper 50.8, released log 52.3 (top-1, B). For fine-tuning: `train.freeze_encoder=false`.
    """
    return _finetune(
        kinetics400.Labels("train"),
        RECOGNISING,
        {"val": RecognitionAccuracy.Config(data=kinetics400.Labels("val"), mode="head", num_views=3)},
        num_samples=246_534, num_epochs=50, batch_size=256, lr=3e-4, num_frames=8, frozen=True,
    )  # fmt: skip


def hmdb51_probe() -> Experiment:
    """HMDB51, its first split, by a linear layer on the frozen encoder.

        allinone train hmdb51_probe --set data.root=/data/hmdb51

    Paper 50.8, released log 51.2 (B). The other splits: `train_data.train.data.split=train2
    evaluators.test.data.split=test2`, and 3.
    """
    return _recognition(hmdb51.Labels, num_samples=3_570, frozen=True)


def hmdb51_finetune() -> Experiment:
    """HMDB51, its first split, with the whole model trained.

        allinone train hmdb51_finetune --set data.root=/data/hmdb51

    No figure in the paper; hyperparameters of the probe.
    """
    return _recognition(hmdb51.Labels, num_samples=3_570, frozen=False)


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
    return _recognition(ucf101.Labels, num_samples=9_537, frozen=False)


# Images


def coco_retrieval() -> Experiment:
    """Retrieval on COCO, Karpathy's splits: a photo is a clip of one frame.

        allinone train coco_retrieval --set data.root=/data/coco

    No figure in the paper.
    """
    return _image_retrieval(coco.Captions, num_samples=113_287, num_epochs=50, lr=3e-4)


def flickr30k_retrieval() -> Experiment:
    """Retrieval on Flickr30k, Karpathy's splits.

        allinone train flickr30k_retrieval --set data.root=/data/flickr30k

    No figure in the paper.
    """
    return _image_retrieval(flickr30k.Captions, num_samples=29_000, num_epochs=10, lr=1e-4)


# What rows of a kind share


def _questions(reader: Callable[[str], Dataset], *, num_samples: int, num_answers: int) -> Experiment:
    return _finetune(
        reader("train"),
        ANSWERING,
        {split: AnswerAccuracy.Config(data=reader(split)) for split in ("val", "test")},
        num_samples=num_samples, num_epochs=20, batch_size=512, num_answers=num_answers,
    )  # fmt: skip


def _recognition(reader: Callable[[str], Dataset], *, num_samples: int, frozen: bool) -> Experiment:
    return _finetune(
        reader("train1"),
        RECOGNISING,
        {"test": RecognitionAccuracy.Config(data=reader("test1"), mode="head", num_views=3)},
        num_samples=num_samples, num_epochs=50, batch_size=256, frozen=frozen,
    )  # fmt: skip


def _image_retrieval(reader: Callable[[str], Dataset], *, num_samples: int, num_epochs: int, lr: float) -> Experiment:
    return _finetune(
        reader("train"),
        CONTRAST_AND_MATCHING,
        {split: Retrieval.Config(data=reader(split)) for split in ("val", "test")},
        num_samples=num_samples, num_epochs=num_epochs, batch_size=256, lr=lr, transform=AUGMENTED, num_frames=1,
    )  # fmt: skip
