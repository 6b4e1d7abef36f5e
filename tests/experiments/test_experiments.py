"""Every experiment at a tiny size: two steps of training and an evaluation, on made data in its data sets' layouts."""

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import layouts
from allinone.checkpoint import save_checkpoint
from allinone.data.example import Dataset, Example
from allinone.data.sources import TrainingData
from allinone.data.table import ExampleTable
from allinone.experiment import Experiment, TokenizerConfig, evaluate, train
from allinone.experiments import experiments, pretrain, questions, recognition, retrieval, zero_shot
from allinone.inference import Predictor
from allinone.model.model import AllInOne
from layouts.item import Item
from tiny import CONFIG, tiny_predictor, tiny_tokenizer, write_videos

SIZES = {"train": 6, "val": 4, "test": 4}
COLORS = ("red", "green", "blue", "black", "white")
MODULES = (pretrain, questions, recognition, retrieval, zero_shot)
NAMES = sorted(name for name, made in experiments().items() if made.__module__ in {m.__name__ for m in MODULES})


def writers() -> dict[str, Callable[[Path, list[Item]], None]]:
    """`write_NAME` of each module of layouts, by the name of the data set."""
    modules = [importlib.import_module(f"layouts.{info.name}") for info in pkgutil.iter_modules(layouts.__path__)]
    functions = (pair for module in modules for pair in inspect.getmembers(module, inspect.isfunction))
    return {name.removeprefix("write_"): function for name, function in functions if name.startswith("write_")}


WRITERS = writers()


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    return write_videos(tmp_path_factory.mktemp("clips"), sum(SIZES.values()))


def items(clips: list[Path], experiment: str, dataset: str) -> list[Item]:
    """A record of each clip with all that any task asks; TGIF-QA tells its tasks apart by what there is."""
    made = []
    for n, (video, split) in enumerate(zip(clips, (s for s, size in SIZES.items() for _ in range(size)), strict=True)):
        color, turn = COLORS[n % 5], n % 5
        item = Item(
            video=video, split=split, caption=f"a {color} ball moves {n} times", question="what color is the ball",
            answer=color, options=COLORS[turn:] + COLORS[:turn], right=0, number=n % 4 + 1,
            label=("run", "walk")[n % 2], kind="descriptive", start_sec=0.0, end_sec=0.9,
        )  # fmt: skip
        own = {"vcr": {"options": item.options[:4]}, "nlvr2": {"answer": ("true", "false")[n % 2]}}
        made.append(replace(item, **own.get(dataset, {})))
    kept = {"tgif_frame": {"options": ()}, "tgif_count": {"options": (), "answer": ""}}
    kept |= {"tgif_transition": {"kind": "transition"}}
    return [replace(item, **kept.get(experiment, {})) for item in made]


def datasets_of(experiment: Experiment) -> Iterator[tuple[Path, Dataset]]:
    for source in experiment.train_data.values():
        yield experiment.data.folder(source), source.data
    for config in experiment.evaluators.values():
        for dataset in config.datasets:
            yield experiment.data.folder(config), dataset


def tiny(experiment: Experiment, root: Path) -> Experiment:
    """The same experiment with a model of two layers, small pictures and two steps."""
    sizes = {"num_frames": experiment.model.num_frames, "max_text_len": experiment.model.max_text_len}
    return replace(
        experiment,
        model=CONFIG.replace(**sizes),
        data=replace(
            experiment.data,
            root=str(root),
            batch_size=4,
            global_batch=None,
            num_workers=0,
            allow_missing=True,
            transform=replace(experiment.data.transform, resize=36, crop=32),
        ),
        optim=replace(experiment.optim, num_steps=2, warmup=1),
        train=replace(experiment.train, precision="float32", tensorboard=False),
        tokenizer=TokenizerConfig(size=150),
        init=None,
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(experiments()))
def test_evaluation_reads_as_many_tokens_and_frames_as_training(name):
    made = experiments()[name]()
    like = {key: getattr(made.model, key) for key in ("num_frames", "max_text_len", "image_size", "patch_size")}
    experiment = replace(made, model=CONFIG.replace(**like), data=replace(made.data, cache_mb=0))
    words, text = tiny_tokenizer(), "a dark green ball " * 50
    examples = ExampleTable.of([Example(video=Path("a.mp4"), video_id="a", text=text)] * 256)
    training_data = TrainingData({}, experiment.data)
    training_data.sources, training_data.examples = (
        made.train_data,
        dict.fromkeys(made.train_data, examples),
    )
    loaders = training_data.loaders(
        experiment.data, words, num_frames=made.model.num_frames, max_text_len=made.model.max_text_len
    )
    predictor = Predictor(AllInOne.build(experiment.model, {}), words, data=experiment.data)
    assert len(predictor.tokenize([text])[0]) == made.model.max_text_len
    for source_name, loader in loaders.items():
        reader = loader.reader
        assert reader.texts is not None
        assert reader.texts.read([examples[0]])["text_ids"].tolist() == predictor.tokenize([text])
        num_frames = made.train_data[source_name].num_frames or predictor.reader().num_frames  # images have one
        assert reader.clips.num_frames == num_frames
        assert reader.clips.transform.config.crop == predictor.reader().transform.config.crop


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_trains_and_evaluates_on_the_official_layout(name, clips, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    experiment = tiny(experiments()[name](), tmp_path / "data")
    written = set()
    for folder, dataset in datasets_of(experiment):
        module = type(dataset).__module__.rpartition(".")[2]
        if (folder, module) not in written:
            written.add((folder, module))
            WRITERS[module](folder, items(clips, name, module))
    if experiment.train_data:
        result = train(experiment, tmp_path / "run")
        assert result.step == 2
        losses = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        assert all(line["loss"] > 0 and line["grad_norm"] > 0 for line in losses if "loss" in line)
        checkpoint = result.checkpoint
    else:
        with pytest.raises(ValueError, match="nothing to train on"):
            train(experiment, tmp_path / "run")
        predictor = tiny_predictor()
        checkpoint = save_checkpoint(tmp_path / "checkpoint", predictor.model, predictor.tokenizer)
    if not experiment.evaluators:
        return
    tables = evaluate(checkpoint, experiment, name=name, to=tmp_path / "evaluation")
    scores = json.loads((tmp_path / "evaluation" / "scores.json").read_text())
    if experiment.train_data:
        read = scores["num_frames"], scores["max_text_len"]
        assert read == (experiment.model.num_frames, experiment.model.max_text_len)
    for evaluator, columns in tables.items():
        found, config = columns["score"], experiment.evaluators[evaluator]
        assert found.num_samples == len(list(config.data.examples(experiment.data.folder(config)))) >= SIZES["val"]
        # Retrieval also tells of the captions of each video, and visual commonsense reasoning of its second stage.
        said = [p for p in found.predictions if p.get("direction") != "v2t" and p["kind"] != "QA->R"]
        assert len(said) == found.num_samples
        assert scores["evaluators"][evaluator]["num_samples"] == found.num_samples
        assert found.scores["missing"].value == 0
        secret = all(prediction.get("truth") is None and "rank" not in prediction for prediction in found.predictions)
        assert bool(found.files) <= secret
