"""`allinone demo`: make synthetic videos, train on them, evaluate, index, search and ask; the result is a report."""

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from allinone.apps.look.curves import needs_plots
from allinone.apps.look.report import Report, Row, ShownAnswer, ShownHit, ShownQuery, write_report
from allinone.apps.search import VideoIndex, require_lancedb
from allinone.data.cache import FrameCache
from allinone.datasets.synthetic import Captions, Questions, make_world
from allinone.evaluators.base import Evaluation
from allinone.evaluators.controls import run_evaluator
from allinone.evaluators.results import write_results
from allinone.experiment import Experiment, circumstances, override, train
from allinone.experiments.world import world_contrast, world_joint
from allinone.inference import Predictor, load
from allinone.progress import Progress

NUM_TRAIN, NUM_TRAIN_QUICK = 6000, 400
NUM_SHOWN = 8


@dataclass
class Clock:
    """The seconds that each part of the demo took; `say` gets a line at its beginning and end."""

    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.say(f"{name} ...")
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        self.say(f"{name}: {self.seconds[name]:.0f} s")


def demo(
    folder: Path, *, quick: bool = False, seed: int = 0, on_progress: Progress | None = None, say: Callable[[str], None]
) -> Path:
    """Run all parts in `folder`, and return the path of the report. A second call continues where the first stopped.

    `quick` runs every part in about a minute, but hardly trains. `say` gets a line for each part.
    """
    # 1. Missing packages are an error now, and not after minutes of training. LanceDB is only looked for: it is loaded
    # after training, because loaders do not fork once it is.
    with needs_plots("the demo"):
        for package in ("jinja2", "matplotlib"):
            import_module(package)
    require_lancedb()
    # 2. The world. A quick one has another folder, since a world has one size.
    clock = Clock(say)
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / ("world-quick" if quick else "world")
    with clock.part("make the world"):
        progress = None if on_progress is None else lambda done, total: on_progress("videos made", done, total)
        make_world(root, num_train=NUM_TRAIN_QUICK if quick else NUM_TRAIN, seed=seed, progress=progress)
    settings = [f"data.root={root}", f"train.seed={seed}", f"data.seed={seed}"]
    if quick:
        settings += ["optim.num_steps=20", "optim.warmup=5"]
    first, second = override(world_contrast(), settings), override(world_joint(), settings)
    runs = [folder / ("quick" if quick else "run") / name for name in ("contrast", "joint")]
    # 3. Two stages of training. Both read the same clips many times, from one cache of decoded frames. What an earlier
    # call finished is resumed, not repeated; evaluators run once, below.
    videos = (example.files[0] for example in Captions("train").examples(root))
    cache = FrameCache(videos, first.data.cache_mb, first.data.transform.resize)
    with clock.part("train: contrast"):
        start = train(replace(first, evaluators={}), runs[0], resume=True, cache=cache).checkpoint
    with clock.part("train: all objectives"):
        second = override(second, [f"init={start}"])
        checkpoint = train(replace(second, evaluators={}), runs[1], resume=True, cache=cache).checkpoint
    # 4. Every use of the trained model.
    model = load(checkpoint)
    with clock.part("evaluate"):
        evaluations = {
            name: run_evaluator(model, config, second.data, ("blind",) if name == "answers" else (), on_progress)
            for name, config in second.evaluators.items()
        }
    with clock.part("index and search"):
        queries = search_gallery(model, root, folder / ("quick.index" if quick else "gallery.index"), on_progress)
    with clock.part("ask"):
        answers = ask(model, root)
    # 5. The results: as an evaluation folder, a report for people, and on the terminal.
    how = {"checkpoint": str(checkpoint), "experiment": "world_joint", **circumstances(model, second)}
    write_results(folder / "evaluation", how, evaluations, overwrite=True)
    report = Report(
        title="All-in-One on a synthetic world",
        summary=summary(first, second, quick),
        tables=tables(evaluations),
        metrics_files=[run / "metrics.jsonl" for run in runs],
        queries=queries,
        answers=answers,
        facts=facts(clock, seed),
    )
    path = folder / "report.html"
    write_report(path, report)
    say_tables(report.tables, say)
    say(f"\n{sum(clock.seconds.values()):.0f} s in all")
    return path


def say_tables(tables: Mapping[str, Sequence[Row]], say: Callable[[str], None]) -> None:
    """Say the scores with their intervals and the score of guessing, one row a line."""
    for name, rows in tables.items():
        say(f"\n{name}")
        for row in rows:
            chance = "" if row.chance is None else f"  (chance {row.chance:.0f})"
            interval = "" if row.interval is None else f"  [{row.interval[0]:5.1f}, {row.interval[1]:5.1f}]"
            say(f"  {row.name:42} {row.value:6.1f}{interval}{chance}")


def search_gallery(
    model: Predictor, root: Path, index_path: Path, on_progress: Progress | None
) -> tuple[ShownQuery, ...]:
    """Index the clips of the gallery, and search for some of their captions."""
    gallery = Captions("test").examples(root)
    index = VideoIndex.open(index_path, model)
    index.add([example.files[0] for example in gallery], on_progress=on_progress)
    captions = {example.files[0].resolve(): example.text for example in gallery}  # the index has absolute paths
    queries = []
    for example in gallery[:: len(gallery) // NUM_SHOWN][:NUM_SHOWN]:  # spread over all kinds of scenes
        hits = [
            ShownHit(
                video=Path(hit.video),
                start_sec=hit.start_sec,
                end_sec=hit.end_sec,
                score=hit.score if hit.match is None else hit.match,
                caption=captions[Path(hit.video).resolve()],
                right=Path(hit.video).resolve() == example.files[0].resolve(),
            )
            for hit in index.search(example.text, top_k=3, rerank=10)
        ]
        queries.append(ShownQuery(text=example.text, hits=tuple(hits)))
    return tuple(queries)


def ask(model: Predictor, root: Path) -> tuple[ShownAnswer, ...]:
    """Return answers to some of the test questions, of every kind."""
    questions = Questions("test").examples(root)
    chosen = questions[:: len(questions) // NUM_SHOWN][:NUM_SHOWN]
    return tuple(
        ShownAnswer(
            video=example.files[0],
            question=example.text,
            truth=example.answer or "",
            answers=tuple(model.answer(example.files[0], example.text, top_k=3)),
        )
        for example in chosen
    )


def summary(first: Experiment, second: Experiment, quick: bool) -> str:
    steps = f"{first.optim.num_steps} steps of contrast, then {second.optim.num_steps} of all objectives"
    held_out = "Every number is on clips with captions that do not occur in training."
    if quick:
        return f"The quick form: {steps}. It shows that every part runs; the numbers mean little. {held_out}"
    return f"A model of half a million parameters, trained from scratch on a CPU: {steps}. {held_out}"


def tables(evaluations: Mapping[str, Mapping[str, Evaluation]]) -> dict[str, list[Row]]:
    """Return the tables of scores, each with the score of guessing."""

    def row(name: str, evaluator: str, metric: str, chance: float, note: str = "", column: str = "score") -> Row:
        score = evaluations[evaluator][column].scores[metric]
        interval = None if score.low is None or score.high is None else (score.low, score.high)
        return Row(name, score.value, chance, note, interval)

    retrieval = [
        # The gallery has 100 clips, so guessing finds the right one among the first k in k of 100 cases.
        row(f"{name}, {way} R@{k}", "gallery", f"{stage}{way}/R@{k}", float(k))
        for stage, name in (("dual/", "dual stream"), ("", "re-ranked by the joint mode"))
        for way in ("t2v", "v2t")
        for k in (1, 5)
    ]
    chances = {name: score.value for name, score in evaluations["answers"]["score"].scores.items() if "chance" in name}
    kinds = [name.removeprefix("chance/") for name in chances if "/" in name]
    answers = [
        row("all questions", "answers", "accuracy", chances["chance"]),
        row("all questions, blind", "answers", "accuracy", chances["chance"], "control: frames withheld", "blind"),
        *(row(kind, "answers", f"accuracy/{kind}", chances[f"chance/{kind}"]) for kind in kinds),
    ]
    order = []
    for name, mode in (("order", "dual stream"), ("order_joint", "joint mode")):
        order += [
            row(f"{mode}: caption picks its clip", name, "t2v/pairs", 50),
            row(f"{mode}: clip picks its caption", name, "v2t/pairs", 50),
            row(
                f"{mode}: control, one frame repeated", name, "single_frame/t2v/pairs", 50,
                "50: single frames give nothing away",
            ),
        ]  # fmt: skip
    return {
        "Retrieval in a gallery of 100 clips with distinct captions": retrieval,
        "Questions": answers,
        "Pairs that differ only in time order": order,
    }


def facts(clock: Clock, seed: int) -> dict[str, str]:
    """Return times, versions and the seed, for the last table of the report."""
    seconds = {f"seconds to {name}": f"{seconds:.0f}" for name, seconds in clock.seconds.items()}
    versions = {name: version(name) for name in ("allinone", "torch", "av")}
    return {**seconds, **versions, "python": platform.python_version(), "seed": str(seed)}
