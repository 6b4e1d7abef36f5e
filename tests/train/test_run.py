import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from allinone.checkpoint import load_checkpoint, newest_checkpoint
from allinone.model.heads import AnswerHead, ContrastiveHead, MatchingHead, MLMHead
from allinone.objectives.answering import Answering
from allinone.objectives.base import Objective
from allinone.objectives.vtc import VTC
from allinone.train import signals
from allinone.train.config import TrainConfig
from allinone.train.optim import Optim
from allinone.train.run import Prepared, TrainingDiverged, run_training
from allinone.train.signals import TrainingInterrupted
from allinone.train.step import TrainSource
from allinone.types import Losses
from train.tiny_run import MODEL, OBJECTIVES, Memory, batch, part, sources, tiny_run

QUIET = TrainConfig(save_every=3, tensorboard=False)


def metrics(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def losses(run_dir: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in metrics(run_dir) if "loss" in line]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    """The folder of a run of twelve steps that nothing stopped."""
    run_dir = tmp_path_factory.mktemp("unbroken")
    run_training(tiny_run(), run_dir)
    return run_dir


class Poison(Objective):
    """A head's loss that is not finite, or only its gradient, at the steps given."""

    def __init__(self, steps: list[int], *, gradient_only: bool = False):
        super().__init__()
        self.head = ContrastiveHead(ContrastiveHead.Config(), MODEL)
        self.steps, self.gradient_only, self.num_calls = steps, gradient_only, 0

    def forward(self, views):
        self.num_calls += 1
        text = self.head.embed_text(views.text)
        loss = text.square().sum() - text.sum()
        if self.num_calls in self.steps:
            loss = loss + (text[0, 0] * 0).abs().sqrt() if self.gradient_only else loss * torch.nan
        return Losses(loss)


def poisoned(poison: Poison, **changes: Any) -> Prepared:
    captions = {"captions": TrainSource(Memory([batch(seed) for seed in range(5)]))}
    return tiny_run(**{"objectives": {"poison": poison}, "sources": captions} | changes)


# A run, its folder and its log


def test_a_run_leaves_a_checkpoint_with_all_heads_and_the_experiment(unbroken):
    checkpoint = load_checkpoint(unbroken)
    assert checkpoint.folder.name == "step-00000012"
    assert set(map(type, checkpoint.model.heads.values())) == {ContrastiveHead, MatchingHead, MLMHead, AnswerHead}
    assert checkpoint.experiment == json.loads((unbroken / "experiment.json").read_text())
    assert "After 12 training steps" in (checkpoint.folder / "README.md").read_text()
    assert sorted(p.name for p in (unbroken / "checkpoints").iterdir()) == ["step-00000009", "step-00000012"]


def test_the_log_has_every_step_once_with_the_losses_of_its_objectives(unbroken):
    lines = metrics(unbroken)
    assert [line["step"] for line in lines] == list(range(1, 13))
    weights = {name: config.weight for name, config in OBJECTIVES.items()}
    for line in lines:
        parts = {name: line[f"{name}/loss"] for name in weights if f"{name}/loss" in line}
        assert set(parts) == ({"answers"} if line["sources"] == "questions" else {"vtc", "vtm", "mlm"})
        assert line["loss"] == pytest.approx(sum(weights[name] * loss for name, loss in parts.items()), rel=1e-6)
        assert line["grad_norm"] > 0
        assert line["clips_per_sec"] > 0
    assert {line["sources"] for line in lines} == {"captions", "questions"}
    config = Optim.Config(num_steps=12, lr=1e-3, warmup=2)
    assert [line["lr"] for line in lines] == [config.learning_rate(step) for step in range(12)]


def test_the_same_seed_gives_the_same_losses_and_another_one_others(unbroken, tmp_path):
    run_training(tiny_run(), tmp_path / "same")
    assert losses(tmp_path / "same") == losses(unbroken)
    run_training(tiny_run(config=replace(QUIET, seed=1)), tmp_path / "other")
    assert losses(tmp_path / "other") != losses(unbroken)


def test_answers_of_eight_clips_are_learned_by_heart(tmp_path):
    source = {"questions": TrainSource(Memory([batch(1, size=8, questions=True)]))}
    run = tiny_run(
        model=MODEL.replace(dropout=0.0, patch_order="raster", init="fan_in"),
        objectives={"answers": Answering.Config(dropout=0.0)},
        sources=source,
        optim=Optim.Config(num_steps=60, lr=1e-3, warmup=5),
        config=replace(QUIET, save_every=100),
    )
    run_training(run, tmp_path)
    assert metrics(tmp_path)[-1]["answers/accuracy"] == 100


def test_sources_come_by_their_sampling_weights(tmp_path):
    class Count(Poison):
        def applies(self, batch):
            return True

    config = replace(QUIET, save_every=1000)
    run_training(poisoned(Count([]), sources=sources(), optim=Optim.Config(num_steps=150), config=config), tmp_path)
    drawn = [line["sources"] for line in metrics(tmp_path)]
    assert 80 < drawn.count("captions") < 120  # two of three


def test_bfloat16_trains_weights_that_stay_float32(tmp_path):
    run = tiny_run(config=replace(QUIET, precision="bfloat16"), optim=Optim.Config(num_steps=4, warmup=0))
    run_training(run, tmp_path)
    full = tiny_run(optim=Optim.Config(num_steps=4, warmup=0))
    run_training(full, tmp_path / "full")
    assert {p.dtype for p in load_checkpoint(tmp_path).model.parameters()} == {torch.float32}
    pairs = list(zip(losses(tmp_path), losses(tmp_path / "full"), strict=True))
    assert all(a != b and a[1] == pytest.approx(b[1], rel=0.05) for a, b in pairs)


def test_accumulated_batches_equal_one_large_batch(tmp_path):
    """Classification has no negatives, so its loss over two batches is the mean of theirs."""
    large = batch(1, size=8, questions=True)
    small = [part(large, slice(4)), part(large, slice(4, 8))]
    results = {}
    for name, batches, accumulate in (("small", small, 2), ("large", [large], 1)):
        run = tiny_run(
            model=MODEL.replace(dropout=0.0, patch_order="raster"),
            objectives={"answers": Answering.Config(dropout=0.0)},
            sources={"questions": TrainSource(Memory(batches))},
            optim=Optim.Config(num_steps=3, warmup=0, eps=1e-4),
            config=QUIET,
            accumulate=accumulate,
        )
        run_training(run, tmp_path / name)
        results[name] = [loss for _, loss in losses(tmp_path / name)]
    assert results["small"] == pytest.approx(results["large"], rel=1e-5)


def test_gradients_are_clipped_to_the_norm_asked_for(tmp_path, monkeypatch):
    norms = []

    def step(self: Optim, number: int) -> None:
        norms.append(torch.nn.utils.get_total_norm(self.gradients()).item())

    monkeypatch.setattr(Optim, "step", step)
    run_training(tiny_run(config=replace(QUIET, clip_norm=0.5), optim=Optim.Config(num_steps=3, warmup=0)), tmp_path)
    logged = [line["grad_norm"] for line in metrics(tmp_path)]
    assert min(logged) > 0.5
    assert norms == pytest.approx([0.5] * 3, rel=1e-4)


def test_tensorboard_logs_are_written_where_it_is_installed(tmp_path):
    pytest.importorskip("tensorboard")
    config = replace(QUIET, tensorboard=True)
    run_training(tiny_run(config=config, optim=Optim.Config(num_steps=2, warmup=0)), tmp_path)
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_run_without_tensorboard_goes_on_without_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = replace(QUIET, tensorboard=True)
    run_training(tiny_run(config=config, optim=Optim.Config(num_steps=1, warmup=0)), tmp_path)
    assert not (tmp_path / "tensorboard").exists()


# Steps that are not finite


@pytest.mark.parametrize("gradient_only", [False, True])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(tmp_path, gradient_only, caplog):
    poison = Poison([3], gradient_only=gradient_only)
    weights = []

    def note(line) -> None:
        weights.append(poison.head.text.weight.detach().clone())

    optim = Optim.Config(num_steps=5, warmup=0, lr=1e-3)
    run_training(poisoned(poison, optim=optim), tmp_path, on_step=note)
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[2], weights[3])
    lines = metrics(tmp_path)
    assert [line["skipped"] for line in lines] == [0, 0, 1, 1, 1]
    assert (lines[2]["loss"] is None) != gradient_only
    assert lines[2]["grad_norm"] is None
    assert "step 3 skipped" in caplog.text
    assert ("poison/loss is nan" in caplog.text) != gradient_only


def test_too_many_such_steps_stop_the_run_and_say_where_the_weights_are(tmp_path):
    run = poisoned(Poison([4, 6, 8]), config=replace(QUIET, max_bad_steps=2))
    with pytest.raises(TrainingDiverged, match=r"3 of the last 100 .*step 8.*max_bad_steps is 2.*step-00000006"):
        run_training(run, tmp_path)


# Stopping and going on


def test_a_run_killed_with_9_goes_on_with_the_losses_of_an_unbroken_one(unbroken, tmp_path):
    script = Path(__file__).with_name("tiny_run.py")
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path), "8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 8:
                break
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert losses(tmp_path) == losses(unbroken)[:8]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')  # as a process that dies while it writes
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.name == "step-00000006"
    result = run_training(tiny_run(), tmp_path, resume=True)
    assert result.step == 12
    assert losses(tmp_path) == losses(unbroken)
    one, other = load_checkpoint(tmp_path).model.state_dict(), load_checkpoint(unbroken).model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)


def change_a_letter(path: Path):
    """The file is JSON of the same kind as before."""
    path.write_text(path.read_text().replace("a", "o", 1))


DAMAGES = {
    "config.json": Path.unlink,
    "model.safetensors": damage,
    "tokenizer.json": lambda path: path.write_text("{"),
    "./tokenizer.json": Path.unlink,
    ".//tokenizer.json": change_a_letter,
    "experiment.json": lambda path: path.write_text("[]"),
    "./experiment.json": change_a_letter,
    "training/optimizer.safetensors": damage,
    "training/state.json": lambda path: path.write_text(path.read_text().replace('"step": 12', '"step": 11')),
    "training": shutil.rmtree,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_run_goes_on_from_the_one_before(unbroken, tmp_path, caplog, name):
    run = shutil.copytree(unbroken, tmp_path / "run")
    newest = run / "checkpoints" / "step-00000012"
    DAMAGES[name](newest / name)
    first_step = []
    run_training(tiny_run(), run, resume=True, on_step=lambda line: first_step.append(line["step"]))
    assert first_step[0] == 10
    assert losses(run) == losses(unbroken)
    assert load_checkpoint(run).folder == newest
    assert sorted(path.name for path in newest.parent.iterdir()) == [
        "step-00000009", "step-00000012", "step-00000012.damaged",
    ]  # fmt: skip
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.rpartition("; ")[2] for line in told] == [
        "using the checkpoint before it, step-00000009",
        f"{newest} is now step-00000012.damaged",
    ]
    assert name.rpartition("/")[2] in told[0]


def test_a_run_all_of_whose_checkpoints_are_damaged_is_one_error(unbroken, tmp_path):
    run = shutil.copytree(unbroken, tmp_path / "run")
    for path in run.glob("checkpoints/*/model.safetensors"):
        damage(path)
    with pytest.raises(ValueError, match=r"step-00000009/model\.safetensors: damaged.*start a new run in another"):
        run_training(tiny_run(), run, resume=True)
    assert len(list(run.glob("checkpoints/step-*"))) == 2


@pytest.mark.parametrize(
    "state", [{}, {"step": "6"}, {"step": 6, "sources": []}, {"world_size": 1, "sources": {"captions": {}}}, []]
)
def test_a_state_without_a_checksum_that_makes_no_sense_is_one_error(unbroken, tmp_path, state):
    run = shutil.copytree(unbroken, tmp_path / "run")
    for path in run.glob("checkpoints/*/training/state.json"):
        path.write_text(json.dumps(state))
    with pytest.raises(ValueError, match="step-00000"):
        run_training(tiny_run(), run, resume=True)


def test_checkpoints_of_before_there_were_checksums_are_gone_on_with(unbroken, tmp_path):
    run = shutil.copytree(unbroken, tmp_path / "run")
    shutil.rmtree(run / "checkpoints" / "step-00000012")
    for path in run.glob("checkpoints/*/**/*.safetensors"):
        save_file(load_file(path), path, {"format": "pt"})
    for path in run.glob("checkpoints/*/training/state.json"):
        state = json.loads(path.read_text())
        del state["crc32"]
        path.write_text(json.dumps(state))
    run_training(tiny_run(), run, resume=True)
    assert losses(run) == losses(unbroken)


def test_a_second_run_in_the_same_folder_is_refused_and_harms_nothing(unbroken, tmp_path):
    def begin_another(line) -> None:
        for resume in (False, True):
            with pytest.raises(ValueError, match=rf"{tmp_path}: process {os.getpid()} .* is writing there"):
                run_training(tiny_run(), tmp_path, resume=resume)

    run_training(tiny_run(), tmp_path, on_step=begin_another)
    assert losses(tmp_path) == losses(unbroken)
    assert not tmp_path.with_name(f".{tmp_path.name}.lock").exists()


def test_half_a_swap_of_a_killed_run_is_undone_and_not_thrown_away(unbroken, tmp_path):
    run = shutil.copytree(unbroken, tmp_path / "run")
    newest = run / "checkpoints" / "step-00000012"
    newest.rename(newest.with_name(".step-00000012.old"))
    run_training(tiny_run(), run, resume=True, on_step=lambda line: pytest.fail("a step"))
    assert newest.is_dir()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_run_goes_on_from_that_very_step(unbroken, tmp_path, number, code):
    def stop(line) -> None:
        if line["step"] == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(TrainingInterrupted, match=r"after step 5; .*step-00000005.*--resume") as stopped:
        run_training(tiny_run(), tmp_path, on_step=stop)
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is before
    run_training(tiny_run(), tmp_path, resume=True)
    assert losses(tmp_path) == losses(unbroken)


def test_signals_at_the_same_moment_count_as_one(tmp_path):
    """As under torchrun, whose processes get a Ctrl-C from the terminal and another signal from torchrun."""

    def stop(line) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingInterrupted, match="SIGINT after step 2"):
        run_training(tiny_run(), tmp_path, on_step=stop)


def test_a_later_second_ctrl_c_stops_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "SAME_SIGNAL_SEC", 0.0)

    def stop(line) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_training(tiny_run(), tmp_path, on_step=stop)
    assert newest_checkpoint(tmp_path) is None


def test_resuming_where_there_is_nothing_begins(unbroken, tmp_path):
    run_training(tiny_run(), tmp_path, resume=True)
    assert losses(tmp_path) == losses(unbroken)


def test_a_folder_with_a_run_is_not_written_over(unbroken):
    with pytest.raises(ValueError, match=r"holds a run already \(step-00000012\).*--resume"):
        run_training(tiny_run(), unbroken)
    assert len(metrics(unbroken)) == 12


def test_a_finished_run_resumed_is_finished(unbroken):
    before = (unbroken / "metrics.jsonl").read_bytes()
    result = run_training(tiny_run(), unbroken, resume=True, on_step=lambda line: pytest.fail("a step"))
    assert (result.step, result.checkpoint) == (12, newest_checkpoint(unbroken))
    assert (unbroken / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optim": Optim.Config(num_steps=12, lr=2e-3, warmup=2)}, r"optim\.lr: was 0\.001, is 0\.002"),
        ({"config": replace(QUIET, seed=1)}, r"train\.seed: was 0, is 1"),
        ({"model": MODEL.replace(dropout=0.2)}, r"model\.dropout: was 0\.1, is 0\.2"),
        ({"objectives": {"vtc": VTC.Config(), "answers": Answering.Config()}}, r"objectives\.mlm\..*is not there"),
    ],
)
def test_going_on_with_another_experiment_is_refused_by_name(unbroken, change, message):
    with pytest.raises(ValueError, match=message):
        run_training(tiny_run(**change), unbroken, resume=True)


def test_what_leaves_the_losses_alone_may_change(unbroken):
    run_training(tiny_run(config=replace(QUIET, save_every=5, keep=4, log_every=3)), unbroken, resume=True)


def test_state_of_an_objective_outside_of_its_heads_is_kept(tmp_path):
    class WithMemory(Poison):
        seen: torch.Tensor

        def __init__(self):
            super().__init__([])
            self.register_buffer("seen", torch.zeros(()))
            self.scale = torch.nn.Parameter(torch.ones(3))

        def forward(self, views):
            self.seen += 1
            return Losses(super().forward(views).loss * self.scale.sum())

    def stop(line) -> None:
        if line["step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    first, again, whole = WithMemory(), WithMemory(), WithMemory()
    again.head.load_state_dict(first.head.state_dict())
    whole.head.load_state_dict(first.head.state_dict())
    with pytest.raises(TrainingInterrupted):
        run_training(poisoned(first), tmp_path / "a", on_step=stop)
    run_training(poisoned(again), tmp_path / "a", resume=True)
    run_training(poisoned(whole), tmp_path / "b")
    assert again.seen == whole.seen == 12
    assert torch.equal(again.scale, whole.scale)
    assert not torch.equal(again.scale, torch.ones(3))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


# Evaluation


def test_evaluations_are_logged_and_the_best_weights_kept(tmp_path):
    scores = {4: 10.0, 8: 30.0, 12: 20.0}
    weights = {}

    def evaluate(model, step: int) -> dict[str, float]:
        assert not model.training
        assert not torch.is_grad_enabled()
        weights[step] = model.encoder.pooler.weight.clone()
        return {"test/R@1": scores[step]}

    config = replace(QUIET, eval_every=4, best="test/R@1")
    result = run_training(tiny_run(config=config, evaluate=evaluate), tmp_path)
    assert [(n["step"], n["eval"]["test/R@1"]) for n in metrics(tmp_path) if "eval" in n] == list(scores.items())
    assert result.metrics == {"test/R@1": 20.0}
    best = load_checkpoint(tmp_path / "best")
    assert torch.equal(best.model.encoder.pooler.weight, weights[8])
    assert "| test/R@1 | 30.00 |" in (best.folder / "README.md").read_text()


def test_an_evaluation_does_not_disturb_the_training(unbroken, tmp_path):
    config = replace(QUIET, eval_every=1)
    run_training(tiny_run(config=config, evaluate=lambda model, step: {"draw": torch.rand(()).item()}), tmp_path)
    assert losses(tmp_path) == losses(unbroken)


def test_a_failed_evaluation_loses_no_training_and_is_made_up_for(unbroken, tmp_path):
    def fail(model, step: int) -> dict[str, float]:
        raise OSError("no such video")

    config = replace(QUIET, save_every=100, eval_every=5)
    with pytest.raises(OSError, match="no such video"):
        run_training(tiny_run(config=config, evaluate=fail), tmp_path)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step-00000005"
    result = run_training(tiny_run(config=config, evaluate=lambda model, step: {"step": step}), tmp_path, resume=True)
    assert [n["step"] for n in metrics(tmp_path) if "eval" in n] == [5, 10, 12]
    assert result.metrics == {"step": 12}
    assert losses(tmp_path) == losses(unbroken)


def test_an_unknown_name_of_the_best_number_lists_those_there_are(tmp_path):
    config = replace(QUIET, eval_every=1, best="R@2")
    run = tiny_run(config=config, evaluate=lambda model, step: {"R@1": 1.0, "R@5": 2.0})
    with pytest.raises(ValueError, match=r"'R@2', but the evaluation gives: R@1, R@5"):
        run_training(run, tmp_path)


# What cannot run says so


def test_a_source_that_no_objective_reads_is_an_error(tmp_path):
    run = tiny_run(objectives={"vtc": VTC.Config()}, sources={"questions": sources()["questions"]})
    with pytest.raises(ValueError, match="questions gives questions, which none of the objectives is for: vtc"):
        run_training(run, tmp_path)


@pytest.mark.parametrize("name", ["half", "a.b"])
def test_a_name_that_torch_refuses_is_a_clear_error(name):
    with pytest.raises(ValueError, match=f"an objective cannot be called '{name}'"):
        tiny_run(objectives={name: VTC.Config()})


def test_two_objectives_cannot_own_the_same_head():
    with pytest.raises(ValueError, match="vtc and poison both have a contrastive head"):
        tiny_run(objectives={"vtc": VTC.Config(), "poison": Poison([])})


@pytest.mark.parametrize("weights", [{}, {"captions": 0.0}, {"captions": 1.0, "questions": -1.0}])
def test_sampling_weights_must_make_sense(weights):
    chosen = {name: TrainSource(sources()[name].loader, weight) for name, weight in weights.items()}
    with pytest.raises(ValueError, match="sampling weights must be 0 or more"):
        tiny_run(sources=chosen)


@pytest.mark.parametrize(
    "wrong", [{"clip_norm": 0.0}, {"eval_every": 0}, {"max_bad_steps": -1}, {"seed": -1}, {"seed": 2**63}]
)
def test_a_config_that_cannot_work_names_its_key(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_a_gpu_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda' was asked for, but torch finds no GPU"):
        run_training(tiny_run(config=replace(QUIET, device="cuda")), tmp_path)


def test_a_frozen_encoder_stays_as_it_is_and_runs_in_evaluation_mode(tmp_path):
    config = TrainConfig(freeze_encoder=True, save_every=12, tensorboard=False, eval_every=6)
    run = tiny_run(config=config, evaluate=lambda model, step: {"steps": float(step)})
    encoder, head = run.training_model.model.encoder, run.training_model.model.require(ContrastiveHead).text.weight
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    head_before, modes = head.clone(), []
    hook = encoder.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    run_training(run, tmp_path)
    hook.remove()
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert modes
    assert not any(modes)
    assert not torch.equal(head, head_before)
