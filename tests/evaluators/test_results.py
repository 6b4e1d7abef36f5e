import json
from dataclasses import replace
from pathlib import Path

import pytest

from allinone.evaluators.base import Evaluation
from allinone.evaluators.results import default_folder, refuse_to_replace, write_results
from allinone.intervals import Score

ROWS = [{"id": "q1", "prediction": "é"}, {"id": "q2", "prediction": "b"}]
REAL = Evaluation(
    scores={"accuracy": Score(50.0, 12.5, 87.5), "chance": Score(25.0), "missing": Score(1.0)},
    predictions=ROWS,
    num_samples=2,
    files={"for_server.csv": "id,answer\r\n"},
    skipped=frozenset({"v9"}),
)
BLIND = Evaluation(scores={"accuracy": Score(25.0, 0.0, 50.0)}, predictions=ROWS, num_samples=2)
FACTS = {"checkpoint": "runs/mine", "experiment": "made", "num_views": {"test": 3}, "settings": {"test": {}}}
TABLES = {"test": {"score": REAL, "blind": BLIND}}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_everything_is_written_and_can_be_read_again(tmp_path: Path):
    folder = write_results(tmp_path / "deep" / "scores", FACTS, TABLES)
    scores = json.loads((folder / "scores.json").read_text())
    assert (
        files(folder)
        == {"scores.json", "scores.md", "test.predictions.jsonl", "test.blind.predictions.jsonl", "for_server.csv"}
        == set(scores["files"])
    )
    assert scores["checkpoint"] == "runs/mine"
    found = scores["evaluators"]["test"]
    assert (found["num_samples"], found["num_missing"]) == (2, 1)
    assert found["score"]["accuracy"] == {"value": 50.0, "low": 12.5, "high": 87.5}
    assert found["blind"]["accuracy"]["value"] == 25
    lines = (folder / "test.predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS
    assert (folder / "for_server.csv").read_bytes() == b"id,answer\r\n"
    table = (folder / "scores.md").read_text()
    assert "| accuracy | 50.00 | 12.5 to 87.5 | 25.00 |" in table
    assert "| chance | 25.00 |  |  |" in table
    assert "| missing | 1 |  |  |" in table
    assert "- num_views: test 3" in table
    assert "1 videos are missing: this is no score of the whole data set" in table


def test_the_predictions_under_a_control_are_kept(tmp_path: Path):
    blind = replace(BLIND, predictions=[{"id": "q1", "prediction": "c"}])
    folder = write_results(tmp_path / "scores", FACTS, {"test": {"score": REAL, "blind": blind}})
    assert (folder / "test.blind.predictions.jsonl").read_text() == '{"id": "q1", "prediction": "c"}\n'


def test_an_evaluation_is_replaced_only_if_asked_for_and_then_whole(tmp_path: Path):
    folder = write_results(tmp_path / "scores", FACTS, TABLES)
    with pytest.raises(ValueError, match=r"holds an evaluation of runs/mine already; --replace"):
        write_results(folder, FACTS, {"other": {"score": BLIND}})
    assert "test.predictions.jsonl" in files(folder)
    write_results(folder, FACTS, {"other": {"score": BLIND}}, overwrite=True)
    assert files(folder) == {"scores.json", "scores.md", "other.predictions.jsonl"}
    assert files(tmp_path) == {"scores"}


def test_two_files_of_one_name_stay_apart(tmp_path: Path):
    folder = write_results(tmp_path / "scores", FACTS, {"a": {"score": REAL}, "b": {"score": REAL}})
    assert {"for_server.csv", "b.for_server.csv"} <= files(folder)


@pytest.mark.parametrize("name", ["notes.txt", "scores.json", "link", "file"])
def test_nothing_else_is_replaced(tmp_path: Path, name: str):
    folder = tmp_path / "scores"
    write_results(folder, FACTS, TABLES)
    if name == "notes.txt":
        (folder / name).write_text("mine")
    elif name == "scores.json":
        (folder / name).write_text("{}")
    else:
        folder.rename(tmp_path / "moved")
        folder.symlink_to("moved") if name == "link" else folder.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for act in (refuse_to_replace, lambda folder, overwrite: write_results(folder, FACTS, TABLES, overwrite)):
        with pytest.raises(ValueError, match="no evaluation of ours; choose another"):
            act(folder, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_write_that_fails_leaves_the_older_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write_results(tmp_path / "scores", FACTS, TABLES)
    monkeypatch.setattr("allinone.files.whole.flush", lambda folder: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        write_results(folder, FACTS, {"other": {"score": BLIND}}, overwrite=True)
    assert "test.predictions.jsonl" in files(folder)
    assert files(tmp_path) == {"scores"}


def test_an_evaluation_goes_to_the_folder_of_its_checkpoint_or_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/a/checkpoints/step-00000100", "runs/a/best", "checkpoints/base"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").touch()
    assert default_folder("runs/a", "msvd_questions") == Path("runs/a/evaluations/msvd_questions")
    assert default_folder("checkpoints/base", "my_idea.py:order") == Path("checkpoints/base/evaluations/order")
    assert default_folder("owner/name", "msvd_questions") == Path("evaluations/owner-name/msvd_questions")
    run = tmp_path / "runs" / "a" / "evaluations"
    # Training removes old checkpoints, and replaces `best`.
    assert default_folder("runs/a/checkpoints/step-00000100", "x") == run / "x-step-00000100"
    assert default_folder("runs/a/best", "x") == run / "x-best"
