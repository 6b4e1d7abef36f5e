import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from allinone.cli import main
from allinone.datasets.synthetic import make_world

RELEASED = Path(__file__).parents[1] / "data" / "parity_small" / "checkpoint.ckpt"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the synthetic dataset, and a run of `allinone train` on it."""
    folder = tmp_path_factory.mktemp("cli")
    make_world(folder / "world", num_train=8, num_pairs=2, processes=1)
    tiny = ["optim.num_steps=2", "optim.warmup=1", "data.batch_size=4", "train.tensorboard=false", "model.depth=1"]
    sizes = [f"train_data.{name}.batch_size=4" for name in ("captions", "pairs", "questions")]
    main(["train", "world_joint", "--to", str(folder / "run"), "--set", f"data.root={folder}/world", *tiny, *sizes])
    return folder


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_train_evaluate_index_search_ask(trained, capsys):
    run, world = str(trained / "run"), trained / "world"
    main([
        "evaluate", run, "world_contrast", "--to", str(trained / "scores"), "--set", f"data.root={world}",
        "--frames", "5", "--views", "2", "--blind",
    ])  # fmt: skip
    scores = json.loads((trained / "scores" / "scores.json").read_text())
    assert (scores["num_frames"], scores["num_views"]) == (5, {"gallery": 2, "order": 2})
    assert scores["evaluators"]["gallery"]["blind"]["t2v/R@1"]["value"] <= 10  # ties, up to rounding
    shown = capsys.readouterr().out
    assert "95 % interval" in shown
    assert "blind" in shown
    gallery = sorted(str(path) for path in (world / "videos").glob("gallery-*.mp4"))[:5]
    assert gallery
    (trained / "broken.mp4").write_bytes(b"no video")
    main(["index", *gallery, str(trained / "broken.mp4"), "--model", run, "--to", str(trained / "my.index")])
    seen = capsys.readouterr()
    assert "5 videos added, 0 already there, 1 unreadable" in seen.out
    assert "broken.mp4" in seen.err
    main(["search", "a red circle", "--index", str(trained / "my.index"), "--format", "json", "--top-k", "3"])
    hits = json.loads(capsys.readouterr().out)
    assert len(hits) == 3
    assert {hit["video"] for hit in hits} <= set(gallery)
    main(["search", "a red circle", "--index", str(trained / "my.index")])
    assert "0:02." in capsys.readouterr().out
    main(["ask", gallery[0], "what colour is the circle?", "--model", run, "--top-k", "2"])
    assert capsys.readouterr().out.count("%") == 2


def test_a_finished_run_is_not_trained_again_without_resume(trained, capsys):
    message = fails(
        capsys, "train", "world_joint", "--to", str(trained / "run"), "--set", f"data.root={trained}/world",
        "optim.num_steps=2", "optim.warmup=1",
        *[f"train_data.{name}.batch_size=4" for name in ("captions", "pairs", "questions")],
    )  # fmt: skip
    assert "--resume" in message


def test_an_experiment_is_shown_and_its_json_is_taken_back(trained, tmp_path, capsys):
    main(["train", "world_joint", "--show", "--set", "optim.lr=0.5", "model.image_size=32"])
    lines = capsys.readouterr().out.splitlines()
    assert {"optim.lr=0.5", 'objectives.mlm.class="allinone.objectives.mlm:MLM.Config"'} <= set(lines)
    assert not [line for line in lines if line.startswith(("data.transform.crop", "model.vocab_size"))]
    main(["train", "world_joint", "--show-json", "--set", "optim.lr=0.5", "data.root=x"])
    (tmp_path / "run.json").write_text(capsys.readouterr().out)
    main(["train", "--config", str(tmp_path / "run.json"), "--show", "--set", "optim.num_steps=70"])
    lines = capsys.readouterr().out.splitlines()
    assert {"optim.lr=0.5", "optim.num_steps=70", 'data.root="x"'} <= set(lines)
    assert "name one experiment" in fails(capsys, "train", "world_joint", "--config", str(tmp_path / "run.json"))
    assert "name one experiment" in fails(capsys, "train")
    assert "no such file or module" in fails(capsys, "train", "captioned", "--code", str(tmp_path / "absent.py"))


def test_a_run_is_evaluated_as_it_was_configured_with_settings_on_top(trained, capsys):
    settings = ["data.batch_size=3", "evaluators.order.mode=joint"]
    main(["evaluate", str(trained / "run"), "--only", "order", "--replace", "--set", *settings])
    assert f"evaluation: {trained}/run/evaluations/as_trained" in capsys.readouterr().out
    scores = json.loads((trained / "run" / "evaluations" / "as_trained" / "scores.json").read_text())
    assert (scores["experiment"], scores["settings"]["order"]["mode"]) == ("as_trained", "joint")
    converted = RELEASED.parent  # of weights without a run
    assert "name the experiment that has the evaluators" in fails(capsys, "evaluate", str(converted))


def test_convert_reads_a_released_checkpoint_and_reports_every_tensor(tmp_path, capsys):
    main(["convert", str(RELEASED), str(tmp_path / "small"), "--num-heads", "4"])
    out = capsys.readouterr().out
    assert "tensors taken" in out
    assert "vcop_classifier" in out
    assert {path.name for path in (tmp_path / "small").iterdir()} >= {"config.json", "model.safetensors", "README.md"}
    main(["convert", str(RELEASED), str(tmp_path / "longer"), "--num-heads", "4", "--num-frames", "8"])
    assert json.loads((tmp_path / "longer" / "config.json").read_text())["model"]["num_frames"] == 8


def test_convert_names_what_it_cannot_read(tmp_path, capsys):
    save_file({"fc.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert "neither a released checkpoint nor a ViT" in fails(
        capsys, "convert", str(tmp_path / "other.safetensors"), str(tmp_path / "out")
    )
    assert "no such file" in fails(capsys, "convert", str(tmp_path / "absent.ckpt"), str(tmp_path / "out"))
    assert "is for a ViT" in fails(capsys, "convert", str(RELEASED), str(tmp_path / "out"), "--size", "base")
    assert not (tmp_path / "out").exists()


def test_errors_are_one_line_that_names_the_choices(tmp_path, capsys):
    assert "world_joint" in fails(capsys, "train", "nothing")
    assert "no such key" in fails(capsys, "train", "captioned", "--set", "optim.learning_rate=1")
    assert "expected float" in fails(capsys, "train", "captioned", "--set", "optim.lr=fast")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    assert "holds notes.txt" in fails(capsys, "evaluate", "run", "captioned", "--to", str(tmp_path / "taken"))
    assert "captions.csv" in fails(capsys, "train", "captioned", "--set", f"data.root={tmp_path}")
    assert "no index there" in fails(capsys, "search", "words", "--index", str(tmp_path / "absent"))
    assert "absent" in fails(capsys, "ask", "clip.mp4", "what?", "--model", str(tmp_path / "absent"))
