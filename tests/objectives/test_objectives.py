"""Each objective on a tiny encoder: what it counts as positive, what it leaves out, and that it teaches."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from allinone.model.config import NANO
from allinone.model.encoder import VideoTextEncoder
from allinone.objectives.alignment import Alignment, inner_words, transport_distance, transport_plan
from allinone.objectives.answering import Answering
from allinone.objectives.base import BuildContext, by_turn
from allinone.objectives.choice import Choice, with_foreign_captions
from allinone.objectives.counting import Counting
from allinone.objectives.mlm import MLM
from allinone.objectives.recognition import Recognition
from allinone.objectives.views import Views, pair_keys, same_pair, text_keys
from allinone.objectives.vtc import VTC, info_nce
from allinone.objectives.vtm import VTM
from allinone.text.answers import AnswerVocabulary
from allinone.text.masking import mask_tokens
from allinone.text.tokenizer import Tokenizer
from allinone.train.step import TrainingModel
from allinone.types import IGNORE, Batch

WORDS = ["a red dog runs", "a blue cat sleeps", "two green birds fly", "a red dog runs", "one cat"]
TOKENIZER = Tokenizer.train(WORDS, vocab_size=80)
CONFIG = NANO.replace(
    width=32, num_heads=2, depth=1, num_frames=2, image_size=32, vocab_size=TOKENIZER.vocab_size, max_text_len=24
)
CONTEXT = BuildContext(CONFIG, TOKENIZER, AnswerVocabulary(("red", "blue", "green")), ("run", "sleep", "fly"))


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return VideoTextEncoder(CONFIG)


def make_batch(videos=("a", "b", "c", "d", "e"), labels=None, task=None, num_options=1):
    """Choices have `num_options` texts a clip, the words in turn."""
    ids, mask = TOKENIZER.encode([WORDS[i % len(WORDS)] for i in range(len(videos) * num_options)])
    frames = torch.randint(0, 256, (len(videos), 2, 3, 32, 32), dtype=torch.uint8)
    task = task or ("caption" if labels is None else "question")
    return Batch(frames=frames, text_ids=ids, text_mask=mask, video_ids=tuple(videos), labels=labels, task=task)


def see(encoder, batch, *objectives, seed=0, progress=0.0):
    """The views of a step with these objectives."""
    return Views(encoder, batch, objectives, torch.Generator().manual_seed(seed), progress)


def test_clips_of_one_video_or_with_one_text_are_no_negatives_of_each_other():
    keys = pair_keys(make_batch(videos=("a", "b", "a", "d", "e")))
    same = same_pair(keys, keys)
    wanted = torch.eye(5, dtype=torch.bool)
    wanted[0, 2] = wanted[2, 0] = True  # the same video
    wanted[0, 3] = wanted[3, 0] = True  # the same words
    assert torch.equal(same, wanted)


def test_text_keys_do_not_depend_on_padding():
    ids, mask = TOKENIZER.encode(WORDS)
    batch = make_batch()
    wider = Batch(
        frames=batch.frames,
        text_ids=F.pad(ids, (0, 3), value=7),
        text_mask=F.pad(mask, (0, 3)),
        video_ids=batch.video_ids,
    )
    keys = text_keys(batch)
    assert torch.equal(keys, text_keys(wider))
    assert len(set(keys.tolist())) == 4  # rows 0 and 3 are the same text


def test_contrast_with_one_positive_a_row_is_cross_entropy():
    logits = torch.randn(4, 6)
    positive = torch.eye(4, 6, dtype=torch.bool)
    assert torch.allclose(info_nce(logits, positive), F.cross_entropy(logits, torch.arange(4)))


def test_the_similarity_is_the_cosine_of_texts_and_clips_without_gradient(encoder):
    vtc = VTC.Config().build(CONTEXT)
    views = see(encoder, make_batch(), vtc)
    text, video = views.embedded
    assert views.similarity.shape == (5, 5)
    assert not views.similarity.requires_grad
    assert torch.allclose(views.similarity[1, 3], torch.cosine_similarity(text[1], video[3], dim=0), atol=1e-6)


def test_a_learned_temperature_is_trained_and_a_fixed_one_is_not(encoder):
    for learn in (True, False):
        vtc = VTC.Config(learn_temperature=learn).build(CONTEXT)
        vtc(see(encoder, make_batch(), vtc)).loss.backward()
        names = [name for name, p in vtc.named_parameters() if p.grad is not None]
        assert ("head.log_scale" in names) == learn


def test_matching_pairs_a_text_with_no_clip_that_it_describes(encoder):
    batch, vtm = make_batch(videos=("a", "b", "a", "d", "e")), VTM.Config().build(CONTEXT)
    same = same_pair(pair_keys(batch), pair_keys(batch))
    for seed in range(20):
        text, video, matched = vtm.choose_pairs(see(encoder, batch, vtm, seed=seed))
        assert torch.equal(text[matched], video[matched])
        assert not same[text[~matched], video[~matched]].any()
        assert matched.sum() == (~matched).sum() == 5


def test_a_batch_without_any_negative_still_trains(encoder):
    batch = make_batch(videos=("a", "a", "a"))
    vtm = VTM.Config().build(CONTEXT)
    assert vtm(see(encoder, batch, vtm)).loss.isfinite()


def test_hard_negatives_are_the_similar_ones_after_the_warmup(encoder):
    batch, similarity = make_batch(), torch.zeros(5, 5)
    similarity[:, 1] = similarity[1, :] = 1.0
    vtm = VTM.Config(negatives="hard", hard_warmup=0.5).build(CONTEXT)

    def share_of_clip_1(progress):
        drawn = []
        for seed in range(40):
            views = see(encoder, batch, vtm, seed=seed, progress=progress)
            views.similarity = similarity
            drawn.append(vtm.choose_pairs(views))
        kept_text = [video[~matched][0].item() for _, video, matched in drawn]  # the negative clip of text 0
        return kept_text.count(1) / len(kept_text)

    assert share_of_clip_1(0.0) < 0.6
    assert share_of_clip_1(1.0) == 1.0


def test_hard_negatives_without_contrast_say_what_is_missing(encoder):
    vtm = VTM.Config(negatives="hard").build(CONTEXT)
    with pytest.raises(ValueError, match="train with a vtc objective too"):
        vtm(see(encoder, make_batch(), vtm))


def test_the_number_of_pairs_is_limited_without_limiting_the_negatives(encoder):
    vtm = VTM.Config(max_pairs=2).build(CONTEXT)
    seen = set()
    for seed in range(30):
        text, video, matched = vtm.choose_pairs(see(encoder, make_batch(), vtm, seed=seed))
        assert len(text) == 4
        seen |= set(torch.cat([text, video])[torch.cat([~matched, ~matched])].tolist())
    assert seen == {0, 1, 2, 3, 4}


def test_word_prediction_asks_only_for_masked_words(encoder):
    """The loss is that of the head on every position, with all but the masked ones ignored."""
    mlm, batch = MLM.Config(mask_prob=0.5).build(CONTEXT), make_batch()
    loss = mlm(see(encoder, batch, mlm, seed=1)).loss
    masked = mask_tokens(batch.text_ids, batch.text_mask, TOKENIZER, 0.5, torch.Generator().manual_seed(1))
    logits = mlm.head(encoder(batch.frames, masked.ids, batch.text_mask).text)
    wanted = F.cross_entropy(logits.flatten(0, 1), masked.labels.flatten(), ignore_index=IGNORE)
    assert torch.allclose(loss, wanted, atol=1e-5)


def test_a_batch_of_empty_captions_has_no_word_to_recover(encoder):
    ids, mask = TOKENIZER.encode(["", ""])
    batch = Batch(frames=make_batch().frames[:2], text_ids=ids, text_mask=mask, video_ids=("a", "b"))
    mlm = MLM.Config().build(CONTEXT)
    assert mlm(see(encoder, batch, mlm)).loss == 0


def test_answers_outside_the_vocabulary_teach_nothing(encoder):
    objective = Answering.Config(dropout=0.0).build(CONTEXT)
    batch = make_batch(labels=torch.tensor([0, IGNORE, 2, IGNORE, 1]))
    known = torch.tensor([0, 2, 4])
    some = Batch(
        frames=batch.frames[known], text_ids=batch.text_ids[known], text_mask=batch.text_mask[known],
        video_ids=("a", "c", "e"), labels=torch.tensor([0, 2, 1]), task="question",
    )  # fmt: skip
    assert torch.allclose(objective(see(encoder, batch)).loss, objective(see(encoder, some)).loss, atol=1e-5)
    none = make_batch(labels=torch.full((5,), IGNORE))
    assert objective(see(encoder, none)).loss == 0


def test_an_objective_applies_to_the_tasks_it_reads():
    tasks = ("caption", "question", "choice", "number", "label")
    configs = (VTC.Config(), Answering.Config(), Choice.Config(), Counting.Config(), Recognition.Config())
    batches = [make_batch(labels=torch.zeros(5, dtype=torch.long), task=task) for task in tasks]
    applies = [[config.build(CONTEXT).applies(batch) for batch in batches] for config in configs]
    assert (torch.tensor(applies).int() - torch.eye(5)).nonzero().tolist() == [[2, 0]]  # choice reads captions too


def test_captions_are_given_options_of_other_videos_and_their_own_is_right():
    batch = make_batch(videos=("a", "b", "a", "d", "e"))  # words 0 and 3 are the same text
    made = with_foreign_captions(batch, 3, torch.Generator().manual_seed(0))
    texts = TOKENIZER.decode(made.text_ids)
    assert made.task == "choice"
    assert made.labels is not None
    for row, video in enumerate(batch.video_ids):
        own, *others = texts[3 * row : 3 * row + 3]
        assert own == WORDS[row]
        assert own not in others
        foreign = {w for w, v in zip(WORDS, batch.video_ids, strict=True) if v != video}
        assert set(others) <= foreign
    with pytest.raises(ValueError, match="no other caption in the batch for a"):
        with_foreign_captions(make_batch(videos=("a", "a")), 3, torch.Generator())


def test_options_are_scored_alone_so_their_place_does_not_matter(encoder):
    encoder.eval()
    objective = Choice.Config().build(CONTEXT)
    batch = make_batch(labels=torch.tensor([0, 1]), videos=("a", "b"), task="choice", num_options=2)
    turned = replace(
        batch, text_ids=batch.text_ids[[1, 0, 3, 2]], text_mask=batch.text_mask[[1, 0, 3, 2]],
        labels=torch.tensor([1, 0]),
    )  # fmt: skip
    losses = [objective(see(encoder, b)).loss for b in (batch, turned)]
    assert torch.allclose(*losses, atol=1e-6)


def test_answers_without_questions_in_the_training_data_are_refused():
    with pytest.raises(ValueError, match="needs training data with questions"):
        Answering.Config().build(BuildContext(CONFIG, TOKENIZER))


def test_alignment_reads_the_pairs_of_matching_and_they_run_once(encoder, monkeypatch):
    vtm, alignment = VTM.Config().build(CONTEXT), Alignment.Config().build(CONTEXT)
    with pytest.raises(ValueError, match="train with a vtm objective too"):
        alignment(see(encoder, make_batch(), alignment))
    calls = count_calls(encoder, monkeypatch)
    views = see(encoder, make_batch(), alignment, vtm)
    losses = alignment(views)
    vtm(views)
    assert losses.loss.isfinite()
    assert losses.loss.requires_grad
    assert calls == ["joint, all tokens"]


def count_calls(encoder, monkeypatch) -> list[str]:
    """Write down each pass through the encoder, and how many tokens leave it."""
    calls, run = [], encoder.run

    def counted(tokens, key_mask, exchange, num_out_tokens=None):
        mode = "text" if tokens.shape[1] == 1 else "video" if key_mask is None else "joint"
        calls.append(f"{mode}, {num_out_tokens or 'all'} token{'' if num_out_tokens == 1 else 's'}")
        return run(tokens, key_mask, exchange, num_out_tokens)

    monkeypatch.setattr(encoder, "run", counted)
    return calls


def test_each_view_is_computed_once_and_without_alignment_one_token_leaves_the_last_block(encoder, monkeypatch):
    configs = [VTC.Config(), VTM.Config(negatives="hard"), Recognition.Config()]
    objectives = [config.build(CONTEXT) for config in configs]
    calls = count_calls(encoder, monkeypatch)
    views = see(encoder, make_batch(), *objectives)
    for objective in objectives[:2]:
        objective(views)
    assert views.video is views.video
    assert sorted(calls) == ["joint, 1 token", "text, 1 token", "video, 1 token"]


def test_the_order_in_which_objectives_are_listed_changes_nothing(encoder):
    """Not even where both draw from the generator of the step, and dropout from torch's."""
    torch.manual_seed(0)
    encoder = VideoTextEncoder(CONFIG.replace(dropout=0.2, patch_order="random")).train()
    configs = {
        "vtc": VTC.Config(), "vtm": VTM.Config(negatives="hard"), "mlm": MLM.Config(mask_prob=0.5),
        "alignment": Alignment.Config(),
    }  # fmt: skip
    objectives = {name: config.build(CONTEXT) for name, config in configs.items()}
    losses = []
    for names in permutations(objectives):
        model = TrainingModel(encoder, {name: objectives[name] for name in names}, dict.fromkeys(names, 0.7))
        torch.manual_seed(1)
        total, metrics = model(make_batch(), torch.Generator().manual_seed(2), progress=0.2)
        losses.append((total.item(), {name: value.item() for name, value in metrics.items()}))
    assert all(other == losses[0] for other in losses)
    assert [*by_turn(objectives)] == ["vtc", "vtm", "mlm", "alignment"]


def test_a_transport_plan_moves_all_words_onto_all_patches():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    plan = transport_plan(torch.rand(2, 3, 5), mask, beta=0.5, num_iterations=200)
    assert torch.allclose(plan.sum(1), torch.full((2, 5), 0.2), atol=1e-4)  # each patch gets its share
    assert torch.allclose(plan.sum(2), mask / mask.sum(1, keepdim=True), atol=1e-3)


def test_words_that_are_their_patches_cost_nothing():
    patches = torch.eye(4)[None]
    cost = transport_distance(patches, patches, torch.ones(1, 4, dtype=torch.bool), num_iterations=300)
    assert cost < 1e-3
    assert transport_distance(patches, -patches, torch.ones(1, 4, dtype=torch.bool)) > 0.9


def test_class_and_separator_tokens_are_no_words():
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    assert inner_words(mask).int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 0]]
    words = torch.randn(3, 5, 8)
    assert transport_distance(words, words, inner_words(mask))[1] == 0


@pytest.mark.parametrize(
    ("config", "task"),
    [
        (VTC.Config(), "caption"), (VTM.Config(), "caption"), (MLM.Config(), "caption"),
        (Answering.Config(), "question"), (Choice.Config(), "choice"), (Choice.Config(head="choice"), "choice"),
        (Choice.Config(num_options=3), "caption"), (Counting.Config(), "number"), (Recognition.Config(), "label"),
    ],
)  # fmt: skip
def test_each_objective_learns_a_batch_by_heart(encoder, config, task):
    objective = config.build(CONTEXT)
    labels = None if task == "caption" else torch.tensor([0, 1, 2, 0, 1])
    batch = make_batch(labels=labels, task=task, num_options=3 if task == "choice" else 1)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *objective.parameters()], lr=2e-3)
    losses = []
    for i in range(80):
        losses.append(objective(see(encoder, batch, objective, seed=i % 4)).loss)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert torch.stack(losses[-4:]).mean() < 0.5 * torch.stack(losses[:4]).mean()
