import pytest

from allinone.text.notes import notes_on
from allinone.text.tokenizer import Tokenizer
from tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tiny_tokenizer()


@pytest.mark.parametrize("text", ["🎉🎉", "赤い四角", "КРАСНЫЙ шар!", "\N{ZERO WIDTH JOINER}", "🎉 [MASK]"])
def test_a_text_without_a_known_word_is_said_to_have_none(tokenizer: Tokenizer, text: str):
    [note] = notes_on(tokenizer, text, 40)
    assert "no word" in note


def test_unknown_words_are_counted_and_named(tokenizer: Tokenizer):
    assert notes_on(tokenizer, "a dog, xqz! 四 xqz", 40) == [
        "'a dog, xqz! 四 xqz': 3 of 5 words are not in the model's vocabulary: xqz, 四"
    ]
    many = " ".join(f"q{i}" for i in range(10))
    assert notes_on(tokenizer, f"dog {many}", 40)[0].endswith(": q0, q1, q2, q3, q4, q5, q6, q7 and 2 more")


@pytest.mark.parametrize("text", ["a dog", "Two dogs, [MASK]?", "a dog's ball"])
def test_nothing_is_said_of_a_text_that_is_read_whole(tokenizer: Tokenizer, text: str):
    assert notes_on(tokenizer, text, 40) == []


def test_a_text_that_is_cut_off_is_told_with_its_tokens_and_where(tokenizer: Tokenizer):
    text = "a dog " * 20 + "xqz"
    [note] = notes_on(tokenizer, text, 40)
    assert note.endswith("43 tokens, of which the model reads 40; cut off from 'a dog xqz' on")
    assert [len(row) for row in tokenizer.tokenize([text], 40)] == [40]
    assert notes_on(tokenizer, "a dog " * 19, 40) == []  # 38 words, [CLS] and [SEP]
