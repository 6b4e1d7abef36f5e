import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from allinone.text.masking import Masked, mask_tokens
from allinone.text.tokenizer import Tokenizer
from allinone.types import IGNORE

SYLLABLES = ["ba", "di", "ko", "lu", "me", "na", "po", "ri", "su", "ta"]
TEXTS = [" ".join("".join(SYLLABLES[(i * j + k) % 10] for k in range(1 + j % 3)) for j in range(20)) for i in range(50)]
TOKENIZER = Tokenizer.train(TEXTS, vocab_size=60)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mask(texts: list[str], mask_prob: float = 0.15, seed: int = 0) -> tuple[Tensor, Tensor, Masked]:
    ids, real = TOKENIZER.encode(texts, max_len=80)
    return ids, real, mask_tokens(ids, real, TOKENIZER, mask_prob, rng(seed))


def words_of(ids: Tensor) -> list[list[int]]:
    """Positions of each word of one text."""
    words: list[list[int]] = []
    for place, token in enumerate(ids.tolist()):
        if TOKENIZER.tokens[token].startswith("##"):
            words[-1].append(place)
        elif token not in TOKENIZER.special_ids.tolist():
            words.append([place])
    return words


def test_fifteen_percent_of_words_are_hidden_and_treated_eighty_ten_ten():
    ids, _, masked = mask(TEXTS * 60)
    hidden = masked.labels != IGNORE
    num_words = sum(len(words_of(row)) for row in ids[:50]) * 60
    starts = TOKENIZER.is_word_start[ids]
    assert (hidden & starts).sum() / num_words == pytest.approx(0.15, abs=0.003)
    became = masked.ids[hidden]
    share_masked = (became == TOKENIZER.mask_id).float().mean()
    share_kept = (became == masked.labels[hidden]).float().mean()
    assert share_masked == pytest.approx(0.8, abs=0.01)
    num_ordinary = TOKENIZER.vocab_size - 5
    assert share_kept == pytest.approx(0.1 + 0.1 / num_ordinary, abs=0.01)


def test_words_are_hidden_whole():
    ids, _, masked = mask(TEXTS)
    hidden = masked.labels != IGNORE
    assert sum(len(word) > 1 for row in ids for word in words_of(row)) > 100
    for row, row_hidden in zip(ids, hidden, strict=True):
        for word in words_of(row):
            assert row_hidden[word].all() or not row_hidden[word].any()


def test_labels_are_the_true_tokens_and_what_is_not_hidden_stays():
    ids, _, masked = mask(TEXTS)
    hidden = masked.labels != IGNORE
    assert torch.equal(masked.labels[hidden], ids[hidden])
    assert torch.equal(masked.ids[~hidden], ids[~hidden])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([*SYLLABLES, "badiko", "☃", "[MASK]"]), max_size=6), min_size=1, max_size=5),
    st.floats(0.01, 1),
    st.integers(0, 1000),
)
def test_a_text_with_a_word_is_never_left_whole_and_one_without_never_touched(
    texts: list[list[str]], mask_prob: float, seed: int
):
    ids, real, masked = mask([" ".join(words) for words in texts], mask_prob, seed)
    hidden = masked.labels != IGNORE
    special = torch.isin(ids, TOKENIZER.special_ids)
    assert not (hidden & (special | ~real)).any()
    has_word = (~special).any(dim=1)
    assert torch.equal(hidden.any(dim=1), has_word)


def test_a_short_text_loses_one_word():
    _, _, masked = mask(["ba di"] * 500)
    assert ((masked.labels != IGNORE).sum(dim=1) == 1).all()


def test_every_word_can_be_hidden():
    _, _, masked = mask(["ba di ko lu"] * 300)
    assert ((masked.labels != IGNORE).any(dim=0)).tolist() == [False, *[True] * 4, False]


def test_all_words_are_hidden_at_probability_one():
    ids, real, masked = mask(TEXTS, mask_prob=1.0)
    assert torch.equal(masked.labels != IGNORE, real & ~torch.isin(ids, TOKENIZER.special_ids))


def test_random_replacements_are_never_special_tokens():
    ids, _, masked = mask(TEXTS * 40, mask_prob=1.0)
    replaced = (masked.ids != ids) & (masked.ids != TOKENIZER.mask_id)
    assert replaced.sum() > 1000
    assert not torch.isin(masked.ids[replaced], TOKENIZER.special_ids).any()
    assert len(masked.ids[replaced].unique()) == TOKENIZER.vocab_size - 5


def test_the_same_seed_hides_the_same_words():
    assert torch.equal(mask(TEXTS, seed=1)[2].ids, mask(TEXTS, seed=1)[2].ids)
    assert not torch.equal(mask(TEXTS, seed=1)[2].ids, mask(TEXTS, seed=2)[2].ids)


def test_the_draws_of_a_step_do_not_depend_on_its_texts():
    left = []
    for texts in (["ba di ko"], ["lu lu lu"]):
        ids, real = TOKENIZER.encode(texts)
        generator = rng()
        mask_tokens(ids, real, TOKENIZER, 0.15, generator)
        left.append(torch.rand(1, generator=generator))
    assert torch.equal(*left)


def test_a_piece_after_a_special_token_is_a_word():
    piece = TOKENIZER.tokens.index(next(t for t in TOKENIZER.tokens if t.startswith("##")))
    ids = torch.tensor([[TOKENIZER.cls_id, piece, TOKENIZER.sep_id]])
    masked = mask_tokens(ids, ids >= 0, TOKENIZER, 0.15, rng())
    assert masked.labels.tolist() == [[IGNORE, piece, IGNORE]]


def test_no_texts_and_empty_texts_are_no_problem():
    for texts in ([], ["", ""]):
        _, _, masked = mask(texts)
        assert (masked.labels == IGNORE).all()


def test_a_senseless_probability_is_refused():
    for mask_prob in (0.0, 1.5):
        with pytest.raises(ValueError, match="mask_prob"):
            mask(["ba"], mask_prob)
