"""What `convert` says of a checkpoint at its end, and what errors about missing heads say."""

import json
from pathlib import Path

import pytest
import torch

from allinone.apps.convert import convert, read_answers
from allinone.apps.export import export
from allinone.apps.search import VideoIndex
from allinone.checkpoint import load_checkpoint
from allinone.cli import main
from allinone.evaluators.controls import check_heads
from allinone.experiments import find
from allinone.inference import Predictor, load
from allinone.model.config import ModelConfig
from allinone.model.heads import HEADS, ContrastiveHead, LabelHead, MatchingHead, MLMHead
from allinone.model.model import AllInOne, MissingHead
from allinone.model.released import RELEASED_DIMS, RELEASED_OPTIONAL
from allinone.model.weight_files import read_tensors
from allinone.objectives.base import BuildContext
from allinone.text.answers import AnswerVocabulary
from allinone.text.tokenizer import SPECIAL, Tokenizer

RELEASED = Path(__file__).parents[1] / "data" / "parity_small" / "checkpoint.ckpt"
MODEL = ModelConfig(
    width=32, num_heads=2, depth=1, image_size=32, patch_size=16, num_frames=2, vocab_size=40, shared_dim=8
)  # fmt: skip
LABEL = LabelHead.Config(classes=("a",))


@pytest.fixture
def pretrained(tmp_path) -> Path:
    """The heads that the released pre-trained weights have: matching and masked words."""
    tensors = {
        name: x
        for name, x in read_tensors(RELEASED).items()
        if not name.startswith(("txt_proj", "vid_proj", "vqa_classifier", "mc_vqa_classifier", "rank_output"))
    }
    torch.save({"state_dict": tensors}, tmp_path / "base.ckpt")
    return tmp_path / "base.ckpt"


def test_convert_ends_with_what_the_checkpoint_can_and_how_to_add_the_rest(pretrained, tmp_path, capsys):
    vocab = tmp_path / "vocab.txt"
    size = len(read_tensors(pretrained)["text_embeddings.word_embeddings.weight"])
    vocab.write_text("".join(f"{token}\n" for token in [*SPECIAL, *(f"w{i}" for i in range(size - len(SPECIAL)))]))
    main(["convert", str(pretrained), str(tmp_path / "base"), "--vocab", str(vocab)])
    told = capsys.readouterr()
    settings = f"--set init={tmp_path / 'base'} data.root=FOLDER"
    assert told.out.splitlines()[-4:] == [
        f"checkpoint: {tmp_path / 'base'}",
        "it can: fill, match, choose, classify",
        f"it cannot: embed, so it cannot be indexed: `allinone train captioned {settings}` adds that",
        f"it cannot: answer: `allinone train msrvtt_questions {settings}` adds that",
    ]
    assert "vocabulary" not in told.err


def test_convert_without_a_vocabulary_warns_that_nothing_can_read_text(pretrained, tmp_path, caplog):
    convert(pretrained, tmp_path / "base")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{tmp_path / 'base'} has no vocabulary, so nothing can read text with it: convert again with --vocab "
        "vocab.txt, the one of these weights (of the released ones: google-bert/bert-base-uncased)"
    ]


def test_errors_about_a_missing_head_name_the_command_that_adds_it(pretrained, tmp_path):
    folder, _ = convert(pretrained, tmp_path / "my base")
    model = load(folder)
    command = rf"`allinone train captioned --set init='{folder}' data\.root=FOLDER` adds"
    for needs_contrast in (lambda: model.embed_video([]), lambda: VideoIndex.open(tmp_path / "x.index", model)):
        with pytest.raises(MissingHead, match=rf"no contrastive head .*so it cannot embed; it can: fill, .*{command}"):
            needs_contrast()
    bare = Predictor(AllInOne.build(MODEL, {"mlm": MLMHead.Config()}), Tokenizer.train(["ab"], 40))
    frames = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    command = "`allinone train captioned --set init=CHECKPOINT"
    for call in (lambda: bare.classify(frames, ["a"]), lambda: bare.choose(frames, "", ["a"])):
        with pytest.raises(MissingHead, match=command):
            call()
    with pytest.raises(ValueError, match=f"nothing to export.*{command}"):
        export(bare.model, tmp_path / "exported")


@pytest.mark.parametrize(
    ("heads", "experiment", "ways"),
    [
        ({"matching": MatchingHead.Config()}, "captioned", ["joint"]),
        ({"contrastive": ContrastiveHead.Config()}, "hmdb51_zero_shot", []),
        ({"matching": MatchingHead.Config(), "label": LABEL}, "recognition", ["joint", "head"]),
    ],
)
def test_an_evaluator_names_its_other_modes_that_the_checkpoint_has_heads_for(heads, experiment, ways):
    predictor = Predictor(AllInOne.build(MODEL, heads))
    [(name, config)] = find(experiment).evaluators.items()
    if not ways:
        check_heads(predictor, name, config)
        return
    settings = " or ".join(f"--set evaluators.{name}.mode={way}" for way in ways)
    with pytest.raises(MissingHead, match=rf"evaluator {name}: .*`allinone train captioned .*training: {settings}$"):
        check_heads(predictor, name, config)


@pytest.mark.parametrize("kind", HEADS)
def test_the_experiment_that_a_head_names_trains_that_head(kind):
    tokenizer = Tokenizer.train(["ab"], 40)
    ingredients = BuildContext(MODEL, tokenizer, AnswerVocabulary(("red", "blue")), ("run",))
    built = [config.build(ingredients) for config in find(HEADS[kind].trained_by).objectives.values()]
    assert kind in {head.kind for objective in built for head in objective.heads()}


def test_every_ability_is_a_method_of_the_predictor():
    names = {name for head in HEADS.values() for name in head.abilities}
    assert {name for name in names if not hasattr(Predictor, name)} == {"embed"}
    assert hasattr(Predictor, "embed_video")
    assert hasattr(Predictor, "embed_text")


def test_two_conversions_to_one_folder_do_not_meet(pretrained, tmp_path, monkeypatch):
    def begin_another(*_, **__):
        with pytest.raises(ValueError, match="is writing there"):
            convert(pretrained, tmp_path / "base")

    monkeypatch.setattr("allinone.apps.convert.save_checkpoint", begin_another)
    convert(pretrained, tmp_path / "base")


def test_a_config_changed_by_hand_is_one_line_on_the_command_line(pretrained, tmp_path, capsys):
    folder, _ = convert(pretrained, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    config["model"]["width"] = 96.0
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(folder), str(tmp_path / "x")])
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"allinone export: {folder / 'config.json'}: model.width: expected int, got 96.0"


@pytest.mark.parametrize("content", ["", "{", "3", "[1, 2]", '{"red": "0"}', '{"red": null}', "[" * 9999, '"red"'])
def test_a_damaged_list_of_answers_is_one_error_that_names_the_file(tmp_path, content):
    (tmp_path / "answers.json").write_text(content)
    with pytest.raises(ValueError, match=r"answers\.json: "):
        read_answers(tmp_path / "answers.json")


def test_answers_come_in_the_order_of_their_numbers(tmp_path):
    (tmp_path / "answers.json").write_text('{"red": 1, "blue": 0}')
    assert read_answers(tmp_path / "answers.json") == ["blue", "red"]


READ_SHAPES = [*RELEASED_DIMS, *RELEASED_OPTIONAL, "mc_vqa_classifier.1.weight", "transformer.norm.weight"]


@pytest.mark.parametrize("name", READ_SHAPES)
@pytest.mark.parametrize("shape", [None, (), (0,), (0, 0), (5,), (2, 3, 4), (0, 3, 0, 0)])
def test_weights_that_lack_a_tensor_or_have_it_in_another_shape_are_one_error_or_fit(tmp_path, name, shape):
    tensors = read_tensors(RELEASED)
    if shape is None:
        tensors.pop(name, None)
    else:
        tensors[name] = torch.zeros(shape)
    torch.save(tensors, tmp_path / "x.ckpt")
    try:
        convert(tmp_path / "x.ckpt", tmp_path / "to")
    except ValueError as error:
        assert str(error).startswith(f"{tmp_path / 'x.ckpt'}: ")  # noqa: PT017 (some of them fit)
    else:
        assert load_checkpoint(tmp_path / "to").folder == tmp_path / "to"
