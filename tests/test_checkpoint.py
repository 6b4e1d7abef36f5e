import json
import os
import pickle
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from allinone import checkpoint as module
from allinone.checkpoint import load_checkpoint, save_checkpoint
from allinone.model.heads import Head, MatchingHead
from allinone.model.model import AllInOne
from allinone.model.time import TIMES, Rolling, Time
from allinone.train.optim import Optim, parameter_groups
from untrained import CONFIG, HEADS, TOKENIZER


@pytest.fixture
def model() -> AllInOne:
    torch.manual_seed(0)
    return AllInOne.build(CONFIG, HEADS)


@pytest.fixture
def folder(tmp_path, model) -> Path:
    return save_checkpoint(tmp_path / "mine", model, TOKENIZER, {"optim": {"lr": 1e-4}})


def tensor(model: AllInOne, name: str) -> torch.Tensor:
    return model.state_dict()[name].clone()


def same(one: AllInOne, other: AllInOne) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_what_was_saved_is_loaded(folder, model):
    loaded = load_checkpoint(folder)
    assert same(loaded.model, model)
    assert loaded.model.config == CONFIG
    assert {kind: head.config for kind, head in loaded.model.heads.items()} == HEADS
    assert not loaded.model.training
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.tokens == TOKENIZER.tokens
    assert loaded.experiment == {"optim": {"lr": 1e-4}}
    names = ["README.md", "config.json", "experiment.json", "model.safetensors", "tokenizer.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_the_card_tells_size_heads_and_use(folder):
    card = (folder / "README.md").read_text()
    assert "2 frames of 32 x 32 pixels" in card
    assert "- `answer`: " in card
    assert "allinone.load(" in card


def test_a_model_without_vocabulary_or_heads_can_be_kept(tmp_path):
    bare = AllInOne.build(CONFIG)
    loaded = load_checkpoint(save_checkpoint(tmp_path / "bare", bare, None))
    assert same(loaded.model, bare)
    assert (loaded.tokenizer, loaded.experiment) == (None, None)


def test_another_number_of_frames_extends_the_temporal_embedding(folder, model):
    longer = load_checkpoint(folder, num_frames=3).model
    assert longer.config.num_frames == 3
    assert torch.equal(tensor(longer, "encoder.vision.time")[:2], tensor(model, "encoder.vision.time"))
    assert not longer.training


def test_a_run_is_its_newest_checkpoint(tmp_path, model):
    for step in (9, 100, 20):
        save_checkpoint(module.step_folder(tmp_path, step), model, None)
    assert load_checkpoint(tmp_path).folder.name == "step-00000100"
    assert load_checkpoint(str(tmp_path)).folder.name == "step-00000100"


# Whole or not at all


def test_a_newer_checkpoint_takes_the_place_of_an_older_one(folder, model):
    other = AllInOne.build(CONFIG)
    save_checkpoint(folder, other, None)
    assert same(load_checkpoint(folder).model, other)
    assert not (folder / "tokenizer.json").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_a_process_killed_while_it_saves_leaves_a_whole_checkpoint(folder, model):
    """Twenty processes write over the folder again and again, and die at odd moments."""
    for round_ in range(20):
        child = os.fork()
        if child == 0:
            while True:
                save_checkpoint(folder, model, TOKENIZER)
        time.sleep(0.002 + 0.0013 * round_)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert same(load_checkpoint(folder).model, model)
    save_checkpoint(folder, model, TOKENIZER)
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize("num_renames", [0, 1, 2])
def test_a_good_checkpoint_is_found_wherever_a_replacement_was_cut_short(folder, model, monkeypatch, num_renames):
    """The process dies before the first of the two renames, between them, or after."""
    other = AllInOne.build(CONFIG)
    left, rename = [num_renames], os.rename

    def dying_rename(source: Path, target: Path) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", dying_rename)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(folder, other, TOKENIZER)
    assert same(load_checkpoint(folder).model, other if num_renames == 2 else model)
    save_checkpoint(folder, other, TOKENIZER)
    assert same(load_checkpoint(folder).model, other)
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_a_disk_that_is_full_leaves_the_older_checkpoint(folder, model, monkeypatch):
    def fail(*_) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("allinone.files.tensors.save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(folder, AllInOne.build(CONFIG), None)
    assert same(load_checkpoint(folder).model, model)
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_a_folder_of_something_else_is_not_written_over(tmp_path, folder, model):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt, which is no checkpoint of ours"):
        save_checkpoint(folder, model, None)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "README.md").write_text("mine")
    with pytest.raises(ValueError, match=r"holds README\.md"):
        save_checkpoint(tmp_path / "docs", model, None)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is no folder"):
        save_checkpoint(tmp_path / "file", model, None)
    (tmp_path / "empty").mkdir()
    assert same(load_checkpoint(save_checkpoint(tmp_path / "empty", model, None)).model, model)


# What cannot be loaded says why


def edit(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, "format 3, but this version of allinone reads 1 to 2"),
        ({"format": None}, "format None"),
        ({"model": None}, "model: expected ModelConfig, got None"),
        ({"model": {"width": 32}}, "model: .*missing"),
        ({"model": {"time": {"kind": ["rolling"]}}}, r"time: unknown kind \['rolling'\]; there are: rolling, none"),
        ({"model": {"time": {"kind": "rolling", "video": 1}}}, "model.time.video: expected bool, got 1"),
        (
            {"model": {"width": 32, "num_heads": 2, "depth": 1, "time": "rolling"}},
            "time must be the Config of",
        ),
        ({"heads": {"tail": {}}}, "unknown heads tail; there are: mlm, "),
        ({"heads": {}}, "heads.answer.layers.1.bias is left over"),
        ({"heads": {"answer": {"answers": []}}}, "head answer: .*at least one answer"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(folder)


def test_a_misspelt_key_of_the_config_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    edit(folder, model=config["model"] | {"widht": 3})
    with pytest.raises(ValueError, match=r"model: .*widht"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", r"config\.json: cannot be read as JSON"),
        ("experiment.json", r"experiment\.json: cannot be read as JSON"),
        ("tokenizer.json", r"tokenizer\.json: not a tokenizer file"),
        ("model.safetensors", r"model\.safetensors: missing or damaged"),
    ],
)
def test_a_damaged_file_is_named(folder, name, message):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=message):
        load_checkpoint(folder)


TYPES = {
    "model.width": [32.0, "32", True, None, [32], 2**70],
    "model.dropout": ["0.1", None, 1.0, -1, float("nan")],
    "model.patch_order": ["rastr", 1, ["raster"], None],
    "model.patch_seed": [0.5, 2**64],
    "model.distilled": [0, "no", None],
    "model.init": ["VIT", {}],
    "model.image_mean": [[0.5], "0.5", 0.5, [1, 2, None], [0, 0, float("inf")]],
    "model.image_std": [[0.2, 0.2, 0.0], [0.2, 0.2, float("nan")], [1, 1, 1, 1]],
    "model.num_heads": [0, -1, 3, 2.5],
    "heads": [["x"], "mlm", None, 3],
    "heads.answer": [[], None, "x"],
    "heads.answer.answers": ["red", [1, 2], ["red", "red"], {"red": 1}, [["red"]]],
    "heads.answer.hidden": [6.0, 0, -6, "6"],
    "heads.answer.dropout": [1.5, "x", None],
}
"""Values of the wrong type or range, by key of config.json."""


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in TYPES.items() for value in values])
def test_a_wrong_value_of_the_config_is_one_error_that_names_file_and_key(folder, key, value):
    config = json.loads((folder / "config.json").read_text())
    *path, last = key.split(".")
    inside = config
    for name in path:
        inside = inside[name]
    inside[last] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=rf"^[^\n]*config\.json: [^\n]*{last}") as refused:
        load_checkpoint(folder)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("model", {"width": 20000}),
        ("model", {"vocab_size": 10**10}),
        ("model", {"depth": 10**9}),
        ("model", {"mlp_ratio": 10**9}),
        ("model", {"max_text_len": 10**9}),
        ("model", {"image_size": 16 * 10**6}),
        ("model", {"patch_size": 1}),
        ("model", {"num_frames": 10**9}),
        ("model", {"distilled": True}),
        ("answer", {"hidden": 10**9}),
        ("answer", {"answers": ["a", "b", "c"]}),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_named_before_a_model_is_built(folder, monkeypatch, part, change):
    monkeypatch.setattr(AllInOne, "build", lambda *_: pytest.fail("built a model"))
    config = json.loads((folder / "config.json").read_text())
    (config["model"] if part == "model" else config["heads"][part]).update(change)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=rf"config\.json: does not fit model\.safetensors: .*{next(iter(change))} is "):
        load_checkpoint(folder)


def test_a_head_without_weights_is_not_built(folder, monkeypatch):
    monkeypatch.setattr(AllInOne, "build", lambda *_: pytest.fail("built a model"))
    config = json.loads((folder / "config.json").read_text())
    edit(folder, heads=config["heads"] | {"choice": {"hidden": 10**9}})
    with pytest.raises(ValueError, match=r"model\.safetensors: heads\.choice\.\* missing"):
        load_checkpoint(folder)


def test_nested_brackets_are_one_error(folder):
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"config\.json: cannot be read as JSON"):
        load_checkpoint(folder)


def test_a_single_damaged_bit_of_the_weights_is_found(folder, model):
    """Wherever it is: in the numbers, in the names and shapes, or where it changes nothing."""
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for place in [*range(0, start, 97), *range(start, len(whole), 6151), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        if place >= start:
            with pytest.raises(ValueError, match=r"model\.safetensors: damaged"):
                load_checkpoint(folder)
        else:
            with suppress(ValueError):
                assert same(load_checkpoint(folder).model, model)


def test_weights_that_another_program_wrote_have_no_checksum_and_are_loaded(folder, model):
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", {"format": "pt"})
    assert same(load_checkpoint(folder).model, model)


def test_weights_that_are_not_finite_are_refused_by_name(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.norm.bias"][0] = torch.nan
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"mine: NaN or infinite numbers in encoder\.norm\.bias"):
        load_checkpoint(folder)


def test_files_have_the_permissions_of_other_new_files(folder, tmp_path):
    (tmp_path / "other").touch()
    usual = (tmp_path / "other").stat().st_mode
    assert {path.name: path.stat().st_mode for path in folder.iterdir() if path.stat().st_mode != usual} == {}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "experiment.json"])
def test_a_file_that_may_not_be_read_is_called_so(folder, name, monkeypatch):
    open_path = Path.open

    def refuse(path: Path, *args, **kwargs):
        if path.name == name:
            raise PermissionError(13, "Permission denied")
        return open_path(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as a user who may read everything
    with pytest.raises(PermissionError, match=rf"{name.replace('.', '[.]')}: no permission to read this file"):
        load_checkpoint(folder)


def test_a_run_whose_newest_checkpoint_is_damaged_is_the_one_before_with_a_warning(tmp_path, model, caplog):
    for step in (10, 20, 30):
        save_checkpoint(module.step_folder(tmp_path, step), model, None)
    (module.step_folder(tmp_path, 30) / "config.json").unlink()
    path = module.step_folder(tmp_path, 20) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert load_checkpoint(tmp_path).folder.name == "step-00000010"
    assert [record.getMessage().rpartition("; ")[2] for record in caplog.records] == [
        "using the checkpoint before it, step-00000020",
        "using the checkpoint before it, step-00000010",
    ]
    (module.step_folder(tmp_path, 10) / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"step-00000010.*missing or damaged"):
        load_checkpoint(tmp_path)


def test_a_head_of_a_users_own_code_is_loaded_where_that_is_imported_and_left_out_elsewhere(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("allinone.model.heads.OWN_HEADS", {})

    class Speed(Head):
        kind = "speed"
        starts_untrained = True
        Config = MatchingHead.Config

        def __init__(self, config, model):
            super().__init__(config, model)
            self.linear = torch.nn.Linear(model.width, 1)

    model = AllInOne.build(CONFIG, {"matching": MatchingHead.Config(), "speed": Speed.Config()})
    folder = save_checkpoint(tmp_path / "mine", model, TOKENIZER)
    assert "`speed`: a head of your own" in (folder / "README.md").read_text()
    assert same(load_checkpoint(folder).model, model)
    groups = parameter_groups(model.named_parameters(), Optim.Config(num_steps=10))
    assert {group["lr_mult"] for group in groups if "heads.speed.linear.weight" in group["names"]} == {10}
    monkeypatch.setattr("allinone.model.heads.OWN_HEADS", {})
    assert [*load_checkpoint(folder).model.heads] == ["matching"]
    assert caplog.messages == [f"{folder}: without its head speed: code of your own is not loaded"]
    with pytest.raises(ValueError, match="kind 'matching' is that of MatchingHead"):
        type("Matching", (Head,), {"kind": "matching"})


def test_a_way_of_time_is_saved_by_kind_and_an_unknown_one_asks_for_its_file(tmp_path):
    rolling = CONFIG.replace(time=Rolling.Config(video=True))
    folder = save_checkpoint(tmp_path / "rolls", AllInOne.build(rolling), TOKENIZER)
    assert json.loads((folder / "config.json").read_text())["model"]["time"] == {"kind": "rolling", "video": True}
    assert load_checkpoint(folder).model.config == rolling

    class Scaled(Time):
        kind = "scaled"

        @dataclass(frozen=True, kw_only=True)
        class Config:
            start: float = 0.5

        def __init__(self, config, model):
            super().__init__(config, model)
            self.scale = torch.nn.Parameter(torch.tensor(config.start))

        def forward(self, tokens, num_text, block):
            return tokens * self.scale

    model = AllInOne.build(CONFIG.replace(time=Scaled.Config(start=0.25)))
    folder = save_checkpoint(tmp_path / "mine", model, TOKENIZER)
    assert same(load_checkpoint(folder).model, model)
    assert load_checkpoint(folder).model.config == model.config
    del TIMES["scaled"]
    with pytest.raises(ValueError, match=r"unknown kind 'scaled'; there are: rolling, none.* import the file that"):
        load_checkpoint(folder)


def test_a_checkpoint_of_format_1_still_loads(folder, model):
    config = json.loads((folder / "config.json").read_text())
    del config["model"]["time"]
    edit(folder, format=1, model=config["model"])
    assert load_checkpoint(folder).model.config == model.config
    edit(folder, format=1, model=config["model"] | {"roll_video": True})
    assert load_checkpoint(folder).model.config.time == Rolling.Config(video=True)


def test_a_tokenizer_that_is_gone_or_has_another_word_is_damage(folder, tmp_path, model):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"cab"', '"cob"'))
    with pytest.raises(ValueError, match=r"tokenizer\.json: damaged"):
        load_checkpoint(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"damaged: no tokenizer\.json"):
        load_checkpoint(folder)
    without = save_checkpoint(tmp_path / "without", model, None)
    TOKENIZER.save(without)  # as is done with a model that was converted without a vocabulary
    loaded = load_checkpoint(without).tokenizer
    assert loaded is not None
    assert loaded.tokens == TOKENIZER.tokens


def test_a_checkpoint_that_lost_its_config_may_be_replaced(folder, model):
    (folder / "config.json").unlink()
    save_checkpoint(folder, model, TOKENIZER)
    assert same(load_checkpoint(folder).model, model)


def test_missing_weights_are_named(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.norm.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"mine: .*encoder\.norm\.bias is missing"):
        load_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors: missing or damaged"):
        load_checkpoint(folder)


def test_a_pickle_in_the_place_of_weights_runs_nothing(folder, tmp_path):
    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was here"),)

    (folder / "model.safetensors").write_bytes(pickle.dumps(Malice()))
    with pytest.raises(ValueError, match="missing or damaged"):
        load_checkpoint(folder)
    assert not (tmp_path / "was here").exists()


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    small = AllInOne.build(CONFIG.replace(vocab_size=TOKENIZER.vocab_size - 1))
    folder = save_checkpoint(tmp_path / "small", small, TOKENIZER)
    with pytest.raises(ValueError, match="but the model's vocab_size is"):
        load_checkpoint(folder)


def test_a_folder_that_is_not_there_is_no_reason_to_use_the_network(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "download", lambda hub_id: pytest.fail("the network was used"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for source in ("mine", "checkpoints/mine", "/no/such/place", "a/b/c", Path("owner/name")):
        with pytest.raises(
            ValueError, match=r"no such checkpoint folder.*`allinone train captioned.*`allinone convert"
        ):
            load_checkpoint(source)
    with pytest.raises(ValueError, match=r"no checkpoint; one has a config\.json"):
        load_checkpoint("checkpoints")


def test_a_hub_id_is_downloaded_without_what_training_needs(folder, monkeypatch, model):
    asked = []

    def snapshot_download(hub_id: str, allow_patterns: list[str]) -> str:
        asked.append((hub_id, allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert same(load_checkpoint("owner/name").model, model)
    assert asked == [("owner/name", ["config.json", "model.safetensors", "tokenizer.json", "experiment.json"])]
