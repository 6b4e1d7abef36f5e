import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from allinone.checkpoint import save_checkpoint
from allinone.cli import main
from allinone.cli.asking import seconds
from allinone.data.clip_reader import Span
from allinone.inference import Predictor
from allinone.model.heads import AnswerHead, ContrastiveHead, MatchingHead, MLMHead
from allinone.questions import Moment, parts
from allinone.video import VideoError
from tiny import ANSWERS, HEADS, TEXTS, tiny_frames, tiny_predictor, write_videos

LABELS = ["red", "a dark green ball", "a dog"]
CLOZE = "a dark [MASK] ball"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return tiny_predictor(heads={**HEADS, "mlm": MLMHead.Config()})


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_videos(tmp_path_factory.mktemp("videos"), 2, num_frames=36, fps=4)  # nine seconds each


def test_zero_shot_classes_are_those_of_the_dual_stream_at_its_temperature(predictor: Predictor, videos: list[Path]):
    probs = predictor.classify(videos[0], LABELS)
    similarity = predictor.embed_video(videos[0]) @ predictor.embed_text(LABELS).T
    assert torch.allclose(probs, (similarity[0] / 0.05).softmax(0), atol=1e-5)
    assert probs.sum().item() == pytest.approx(1)


def test_without_a_contrastive_head_the_matching_head_classifies(videos: list[Path]):
    matching = tiny_predictor(heads={"matching": MatchingHead.Config()})
    probs = matching.classify(videos[0], LABELS)
    assert torch.equal(probs.argsort(), matching.match(videos[0], LABELS).argsort())
    assert probs.sum().item() == pytest.approx(1)


def test_the_gap_of_a_cloze_is_filled_as_the_mlm_head_says(predictor: Predictor, videos: list[Path]):
    words = dict(predictor.fill(videos[0], CLOZE, top_k=None))
    assert sum(words.values()) == pytest.approx(1, abs=1e-4)
    assert not {word for word in words if word.startswith(("##", "["))}
    assert {"red", "ball", "dog"} <= set(words)
    tokenizer, encoder = predictor.tokenizer, predictor.model.encoder
    assert tokenizer is not None
    ids, mask = tokenizer.encode([CLOZE])
    frames = next(predictor.clips([videos[0]]))[1][:, 0]
    with torch.no_grad():
        features = encoder(frames, ids, mask).text[0, ids[0].tolist().index(tokenizer.mask_id)]
        logits = predictor.model.require(MLMHead)(features)
    assert words["red"] / words["ball"] == pytest.approx(
        (logits[tokenizer.tokens.index("red")] - logits[tokenizer.tokens.index("ball")]).exp().item(), rel=1e-3
    )
    assert predictor.fill(videos[0], CLOZE, top_k=2) == sorted(words.items(), key=lambda item: -item[1])[:2]


@pytest.mark.parametrize("text", ["no gap", "[MASK] and [MASK]", "a dog " * 40 + "[MASK]"])
def test_a_cloze_has_one_gap_within_the_text_that_the_model_reads(predictor: Predictor, videos: list[Path], text: str):
    with pytest.raises(ValueError, match=r"one \[MASK\] in its first \d+ tokens"):
        predictor.fill(videos[0], text)


def test_asking_is_answering_or_filling_in(predictor: Predictor, videos: list[Path]):
    assert predictor.ask(videos[0], predictor.question("what?")) == predictor.answer(videos[0], "what?")
    assert predictor.ask(videos[0], predictor.question(CLOZE), 3) == predictor.fill(videos[0], CLOZE, 3)
    best = predictor.ask(videos[0], predictor.question(LABELS))[0]
    assert best[0] == LABELS[int(predictor.classify(videos[0], LABELS).argmax())]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_timeline_says_of_each_part_what_is_said_of_it_alone(videos: list[Path], batch_size: int):
    predictor = tiny_predictor(batch_size=batch_size)
    moments = predictor.ask_over_time(videos[1], predictor.question("what?"), 2)
    assert [(m.start_sec, m.end_sec) for m in moments] == [(0, 2), (2, 4), (4, 6), (6, 9)]
    for moment in moments:
        [(answer, probability)] = predictor.answer(Span(videos[1], moment.start_sec, moment.end_sec), "what?", 1)
        assert (moment.answer, pytest.approx(moment.probability, abs=1e-5)) == (answer, probability)
    assert {moment.answer for moment in moments} <= set(ANSWERS)


def test_a_photo_is_one_moment_without_length(predictor: Predictor, tmp_path: Path):
    from PIL import Image

    Image.fromarray(tiny_frames(0, 1)[0]).save(tmp_path / "photo.png")
    [moment] = predictor.ask_over_time(tmp_path / "photo.png", predictor.question(LABELS), 5)
    assert (moment.start_sec, moment.end_sec) == (0, 0)


@given(st.floats(0, 1e5), st.floats(0.1, 1e4))
def test_parts_cover_a_length_without_gap_or_overlap_and_none_is_short(duration_sec: float, every_sec: float):
    if round(duration_sec / every_sec) > 1000:
        return
    cut = parts(duration_sec, every_sec)
    assert cut[0][0] == 0
    assert cut[-1][1] == duration_sec
    assert [end for _, end in cut[:-1]] == [start for start, _ in cut[1:]]
    if len(cut) > 1:
        assert min(end - start for start, end in cut) >= every_sec / 2 - 1e-6


@pytest.mark.parametrize(
    ("text", "wanted"), [("5s", 5), ("2.5", 2.5), ("500ms", 0.5), ("1min", 60), (" 2 M ", 120), (".5h", 1800)]
)
def test_times_are_read_as_people_write_them(text: str, wanted: float):
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "s", "-5s", "0", "5 parsecs", "nan", "1e3", "5s5s"])
def test_what_is_no_length_of_time_is_refused(text: str):
    with pytest.raises(ValueError, match="such as 5s"):
        seconds(text)


def test_a_checkpoint_without_the_head_says_what_it_has_and_can(videos: list[Path]):
    contrast = tiny_predictor(heads={"contrastive": ContrastiveHead.Config()})
    assert contrast.model.abilities == ["embed", "classify"]
    with pytest.raises(ValueError, match=r"no answer head \(it has: contrastive\), .* it can: embed, classify"):
        contrast.question("what?")
    with pytest.raises(ValueError, match=r"no mlm head \(it has: contrastive\)"):
        contrast.question(CLOZE)
    with pytest.raises(ValueError, match=r"no mlm head \(it has: contrastive\)"):
        contrast.fill(videos[0], CLOZE)
    answers = tiny_predictor(heads={"answer": AnswerHead.Config(answers=ANSWERS)})
    assert answers.model.abilities == ["answer"]
    with pytest.raises(ValueError, match=r"contrastive or matching head \(this one has: answer\)"):
        answers.classify(videos[0], LABELS)


def test_a_question_says_what_the_model_misses_of_it(predictor: Predictor):
    assert predictor.question("what?").notes == tuple(predictor.notes(["what?"]))
    [note] = predictor.question(["a dog", "a 四 dog"]).notes
    assert "not in the model's vocabulary: 四" in note


def test_what_cannot_be_asked_is_refused(predictor: Predictor, videos: list[Path], tmp_path: Path):
    with pytest.raises(ValueError, match="question is empty"):
        predictor.question(" ")
    for labels in (["a", ""], ["a", " a"]):
        with pytest.raises(ValueError, match="labels must be different texts"):
            predictor.question(labels)
    with pytest.raises(ValueError, match="at least one text"):
        predictor.classify(videos[0], [])
    with pytest.raises(ValueError, match="longer than 0 s"):
        parts(5, 0)
    with pytest.raises(ValueError, match="limit is 100000"):
        parts(1e6, 0.1)
    with pytest.raises(VideoError, match="no such file"):
        predictor.ask_over_time(tmp_path / "gone.mp4", predictor.question("what?"), 5)


def test_the_commands_print_answers_and_timelines(predictor: Predictor, videos: list[Path], tmp_path: Path, capsys):
    model = str(save_checkpoint(tmp_path / "model", predictor.model, predictor.tokenizer))
    main(["ask", str(videos[0]), "what?", "--model", model, "--top-k", "2"])
    assert capsys.readouterr().out.count("%") == 2
    main(["ask", str(videos[0]), CLOZE, "--model", model, "--json"])
    filled = json.loads(capsys.readouterr().out)
    assert len(filled) == 5
    assert filled[0].keys() == {"answer", "probability"}
    main(["ask", str(videos[0]), "what?", "--model", model, "--every", "3s", "--json"])
    moments = [Moment(**moment) for moment in json.loads(capsys.readouterr().out)]
    assert [moment.end_sec for moment in moments] == [3, 6, 9]
    main(["classify", str(videos[0]), "--labels", ", ".join(TEXTS[:2]), "--model", model, "--every", "4s"])
    shown = capsys.readouterr().out
    assert "0:04.0" in shown
    assert any(text in shown for text in TEXTS[:2])
    with pytest.raises(SystemExit):
        main(["ask", str(videos[0]), "what?", "--model", model, "--every", "soon"])
    assert "such as 5s" in capsys.readouterr().err
