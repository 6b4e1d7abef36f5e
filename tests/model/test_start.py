from dataclasses import replace

import pytest
import torch

from allinone.model.heads import AnswerHead, ContrastiveHead, MatchingHead, MLMHead, RankingHead
from allinone.model.model import AllInOne
from allinone.model.start import start_from
from allinone.text.tokenizer import Tokenizer
from untrained import CONFIG, HEADS, TOKENIZER


@pytest.fixture
def model() -> AllInOne:
    torch.manual_seed(0)
    return AllInOne.build(CONFIG, HEADS)


def tensor(model: AllInOne, name: str) -> torch.Tensor:
    return model.state_dict()[name].clone()


def same(one: AllInOne, other: AllInOne) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_model_of_the_same_kind_takes_everything(model):
    new = AllInOne.build(CONFIG, HEADS)
    report = start_from(new, model, TOKENIZER, TOKENIZER)
    assert same(new, model)
    assert len(report.taken) == len(model.state_dict())
    assert (report.resized, report.dropped, report.new) == ([], [], [])


def test_heads_of_both_are_taken_and_the_others_reported(model):
    new = AllInOne.build(CONFIG, {"mlm": MLMHead.Config(), "contrastive": ContrastiveHead.Config()})
    fresh = tensor(new, "heads.contrastive.text.weight")
    report = start_from(new, model, TOKENIZER, TOKENIZER)
    assert torch.equal(tensor(new, "heads.mlm.dense.weight"), tensor(model, "heads.mlm.dense.weight"))
    assert torch.equal(tensor(new, "heads.contrastive.text.weight"), fresh)
    assert {name.split(".")[1] for name in report.new} == {"contrastive"}
    assert {line.split(".")[1] for line in report.dropped} == {"answer"}
    assert all("this model has no such tensor" in line for line in report.dropped)


def test_words_and_answers_go_by_name(model):
    tokenizer = Tokenizer.train(["dab dad zoo", "a bad cab"], vocab_size=45)
    heads = {"mlm": MLMHead.Config(), "answer": AnswerHead.Config(answers=("green", "red", "blue"), hidden=6)}
    new = AllInOne.build(CONFIG.replace(vocab_size=45), heads)
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    report = start_from(new, model, tokenizer, TOKENIZER)
    known = [piece for piece in tokenizer.tokens if piece in TOKENIZER.tokens]
    assert {"[CLS]", "a", "##b"} <= set(known) < set(tokenizer.tokens)
    for name in ("encoder.text.word.weight", "heads.mlm.decoder.weight", "heads.mlm.decoder.bias"):
        for row, piece in enumerate(tokenizer.tokens):
            origin = model.state_dict()[name][TOKENIZER.tokens.index(piece)] if piece in known else before[name][row]
            assert torch.equal(new.state_dict()[name][row], origin)
    old, answers = model.state_dict()["heads.answer.layers.4.weight"], new.state_dict()["heads.answer.layers.4.weight"]
    assert torch.equal(answers, torch.stack([before["heads.answer.layers.4.weight"][0], old[0], old[1]]))
    assert f"encoder.text.word.weight ({len(known)} of {len(tokenizer.tokens)} entries known)" in report.resized
    assert "heads.answer.layers.4.bias (2 of 3 entries known)" in report.resized


def test_without_tokenizers_another_size_of_vocabulary_is_refused(model):
    with pytest.raises(ValueError, match="a vocabulary of 40 entries, wanted 41; give both tokenizers"):
        start_from(AllInOne.build(CONFIG.replace(vocab_size=41)), model)


def test_other_images_frames_and_text_lengths_resize_the_embeddings(model):
    new = AllInOne.build(CONFIG.replace(image_size=64, num_frames=3, max_text_len=50))
    fresh = new.encoder.text.position.weight.clone()
    report = start_from(new, model, TOKENIZER, TOKENIZER)
    position = new.encoder.text.position.weight
    assert torch.equal(position[:40], model.encoder.text.position.weight)
    assert torch.equal(position[40:], fresh[40:])
    assert torch.equal(tensor(new, "encoder.vision.time")[:2], tensor(model, "encoder.vision.time"))
    assert torch.equal(new.encoder.vision.position[:1], model.encoder.vision.position[:1])
    assert len(report.resized) == 3


def test_a_head_of_another_size_stays_new(model):
    new = AllInOne.build(CONFIG, {"answer": replace(HEADS["answer"], hidden=7)})
    report = start_from(new, model, TOKENIZER, TOKENIZER)
    assert "heads.answer.layers.1.weight" in report.new
    assert any(line.startswith("heads.answer.layers.1.weight: (6, 32)") for line in report.dropped)


def test_a_ranking_head_starts_as_the_matching_one():
    source = AllInOne.build(CONFIG, {"matching": MatchingHead.Config()})
    new = AllInOne.build(CONFIG, {"ranking": RankingHead.Config()})
    report = start_from(new, source)
    matching = tensor(source, "heads.matching.linear.weight")
    assert torch.equal(tensor(new, "heads.ranking.linear.weight"), matching[1:])
    assert report.new == []
    assert "heads.matching.linear -> heads.ranking.linear (the row of a matching pair)" in report.taken


def test_another_width_or_depth_is_refused_by_name(model):
    with pytest.raises(ValueError, match=r"cannot start from that one: num_heads 2 \(wanted 4\), depth 1 \(wanted 3\)"):
        start_from(AllInOne.build(CONFIG.replace(num_heads=4, depth=3)), model, TOKENIZER, TOKENIZER)


def test_ranking_starts_as_the_yes_of_matching():
    matching, ranking = MatchingHead(MatchingHead.Config(), CONFIG), RankingHead(RankingHead.Config(), CONFIG)
    assert ranking.start_from_others({"matching": matching})
    pooled = torch.randn(4, 32)
    assert torch.allclose(ranking(pooled), matching(pooled)[:, 1], atol=1e-6)
