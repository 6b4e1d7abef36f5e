import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models

from allinone.text.tokenizer import SPECIAL, Tokenizer
from real import DATA, needs_data

WORDS = ["a", "the", "dog", "cat", "run", "##s", "##ning", "play", "##ed", "##e", "##f", "cafe", ",", "'", "你", "好"]
CAPTIONS = ["a dog runs to the cat", "the cat jumped, running quickly", "dogs are jumping", "a cat's jump"] * 5


def write_vocab(folder: Path, words: list[str] = WORDS) -> Path:
    path = folder / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, *words]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def small(tmp_path: Path) -> Tokenizer:
    return Tokenizer.from_vocab(write_vocab(tmp_path))


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.tokens[i] for i in tokenizer.tokenize([text])[0]][1:-1]


@needs_data
def test_the_released_vocabulary_gives_the_known_ids():
    tokenizer = Tokenizer.from_vocab(DATA / "vocab" / "vocab.txt")
    assert tokenizer.vocab_size == 30522
    assert tokenizer.tokenize(["hello world"]) == [[101, 7592, 2088, 102]]
    assert pieces(tokenizer, "Unaffable!") == ["una", "##ffa", "##ble", "!"]
    assert [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id] == [
        0, 100, 101, 102, 103,
    ]  # fmt: skip
    assert len(tokenizer.special_ids) == 5 + 994
    assert pieces(tokenizer, "x" * 101) == ["[UNK]"]


@needs_data
def test_the_file_saved_beside_the_released_weights_gives_the_same_ids(tmp_path: Path):
    tokenizer = Tokenizer.from_vocab(DATA / "vocab")
    tokenizer.save(tmp_path)
    texts = ["Two CATS, naïve & <br> 12:30 a.m. \u2013 東京!", "", "tokenization's"]
    assert Tokenizer.load(tmp_path).tokenize(texts) == tokenizer.tokenize(texts)


def test_text_is_lowered_stripped_of_accents_and_split_at_punctuation_and_chinese(small: Tokenizer):
    assert pieces(small, "The CAFÉ,  dogs\tplayed") == ["the", "cafe", ",", "dog", "##s", "play", "##ed"]
    assert pieces(small, "a你好") == ["a", "你", "好"]
    assert pieces(small, "zebra cat\x00's") == ["[UNK]", "cat", "'", "[UNK]"]


def test_a_long_text_keeps_its_separator(small: Tokenizer):
    (row,) = small.tokenize(["the dog " * 30], max_len=7)
    assert len(row) == 7
    assert row[0] == small.cls_id
    assert row[-1] == small.sep_id
    assert small.tokenize(["the dog"], max_len=4) == [
        [small.cls_id, *small.tokenize(["the dog"])[0][1:3], small.sep_id]
    ]
    assert small.tokenize(["the dog"], max_len=2) == [[small.cls_id, small.sep_id]]


def test_an_empty_caption_is_begin_and_end(small: Tokenizer):
    ids, mask = small.encode(["", "a dog"])
    assert ids[0].tolist() == [small.cls_id, small.sep_id, small.pad_id, small.pad_id]
    assert mask.tolist() == [[True, True, False, False], [True] * 4]


def test_texts_are_padded_to_the_longest_of_them_alone(small: Tokenizer):
    assert small.encode(["a", "a dog", "the the the"])[0].shape == (3, 5)
    assert small.encode([])[0].shape == (0, 0)
    alone, _ = small.encode(["a dog"])
    group_size, mask = small.encode(["a dog", "the the the the"])
    assert torch.equal(group_size[0][mask[0]], alone[0])


def test_decoding_gives_the_text_back(small: Tokenizer):
    ids, _ = small.encode(["The dogs played", "a [MASK] zebra"])
    assert small.decode(ids) == ["the dogs played", "a [MASK] [UNK]"]


def test_words_begin_at_pieces_that_continue_nothing(small: Tokenizer):
    starts = {small.tokens[i] for i in small.is_word_start.nonzero()[:, 0].tolist()}
    assert starts == {w for w in WORDS if not w.startswith("##")}
    assert {small.tokens[i] for i in small.special_ids.tolist()} == set(SPECIAL)


def test_a_folder_with_a_vocabulary_is_enough(tmp_path: Path):
    write_vocab(tmp_path)
    assert Tokenizer.from_vocab(tmp_path).tokenize(["a dog"]) == Tokenizer.from_vocab(str(tmp_path)).tokenize(["a dog"])


def test_windows_line_ends_change_nothing(tmp_path: Path, small: Tokenizer):
    path = tmp_path / "crlf.txt"
    path.write_bytes((tmp_path / "vocab.txt").read_bytes().replace(b"\n", b"\r\n"))
    assert Tokenizer.from_vocab(path).tokens == small.tokens


def test_the_hub_is_asked_only_for_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def download(repo_id: str, file: str) -> str:
        asked.append((repo_id, file))
        return str(write_vocab(tmp_path))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert pieces(Tokenizer.from_vocab("owner/bert-uncased"), "a dog") == ["a", "dog"]
    for local in [Path("owner/bert"), "no_such_vocab.txt", "folder/vocab.txt", "/abs/vocab", "./here", "a/b/c"]:
        with pytest.raises(ValueError, match="no such vocabulary"):
            Tokenizer.from_vocab(local)
    assert asked == [("owner/bert-uncased", "vocab.txt")]


def test_a_hub_id_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch):
    def download(repo_id: str, file: str) -> str:
        raise FileNotFoundError("no connection")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(ValueError, match=r"owner/none: no such local file, and no vocab\.txt from the hub"):
        Tokenizer.from_vocab("owner/none")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*SPECIAL, "a", "b", "a"], "line 8 repeats line 6"),
        ([*SPECIAL, "a", "", "b"], "line 7 is empty"),
        ([*SPECIAL, "a", "Dog"], "'Dog' has capitals"),
        (["[PAD]", "[UNK]", "a"], r"has no \[CLS\], \[SEP\], \[MASK\]"),
    ],
)
def test_a_broken_vocabulary_is_refused(tmp_path: Path, lines: list[str], message: str):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_vocab(path)


def test_a_vocabulary_that_is_no_text_is_refused(tmp_path: Path):
    (tmp_path / "vocab.txt").write_bytes(b"\x00\xff\xfe")
    with pytest.raises(ValueError, match="UTF-8"):
        Tokenizer.from_vocab(tmp_path)


def test_training_keeps_frequent_words_whole():
    tokenizer = Tokenizer.train(CAPTIONS, vocab_size=200)
    assert pieces(tokenizer, "the cat") == ["the", "cat"]
    assert "[UNK]" not in [p for c in CAPTIONS for p in pieces(tokenizer, c)]
    assert pieces(tokenizer, "☃") == ["[UNK]"]
    assert list(tokenizer.tokens[:5]) == list(SPECIAL)
    assert tokenizer.vocab_size <= 200


def test_training_does_not_depend_on_the_order_of_texts():
    assert Tokenizer.train(CAPTIONS, 70).tokens == Tokenizer.train(CAPTIONS[::-1], 70).tokens


def test_training_gives_the_same_vocabulary_in_every_process():
    code = f"from allinone.text.tokenizer import Tokenizer; print(Tokenizer.train({CAPTIONS!r}, 60).tokens)"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE
        )
        for seed in "12"
    ]
    here = f"{Tokenizer.train(CAPTIONS, 60).tokens}\n".encode()
    assert [run.communicate()[0] for run in runs] == [here, here]


def test_training_says_when_there_is_nothing_to_learn_or_no_room():
    with pytest.raises(ValueError, match="the texts hold no word"):
        Tokenizer.train(["", "  "])
    with pytest.raises(ValueError, match="vocab_size 10 is too small"):
        Tokenizer.train(CAPTIONS, vocab_size=10)


def test_a_saved_tokenizer_is_the_same(tmp_path: Path):
    trained = Tokenizer.train(CAPTIONS, 80)
    trained.save(tmp_path)
    trained.save(tmp_path / "other.json")
    for path in (tmp_path, tmp_path / "tokenizer.json", str(tmp_path / "other.json")):
        loaded = Tokenizer.load(path)
        assert loaded.tokens == trained.tokens
        assert loaded.tokenize(CAPTIONS) == trained.tokenize(CAPTIONS)
    assert pickle.loads(pickle.dumps(trained)).tokenize(CAPTIONS) == trained.tokenize(CAPTIONS)


def test_padding_and_truncation_set_in_a_file_do_not_matter(tmp_path: Path, small: Tokenizer):
    small.backend.enable_padding(length=50)
    small.backend.enable_truncation(3)
    small.save(tmp_path)
    assert len(Tokenizer.load(tmp_path).tokenize(["the dog runs"])[0]) == 6


def test_files_that_are_no_wordpiece_tokenizer_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no such tokenizer file"):
        Tokenizer.load(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a tokenizer file"):
        Tokenizer.load(tmp_path)
    Backend(models.BPE()).save(str(path))
    with pytest.raises(ValueError, match="a BPE tokenizer"):
        Tokenizer.load(tmp_path)


def test_one_text_instead_of_a_list_is_refused(small: Tokenizer):
    with pytest.raises(TypeError, match="expected a list of texts"):
        small.tokenize("a dog")
    with pytest.raises(ValueError, match="max_len must leave room"):
        small.tokenize(["a"], max_len=1)


TRAINED = Tokenizer.train(CAPTIONS, 80)


@given(st.lists(st.text(), max_size=4), st.integers(2, 12))
def test_any_text_becomes_tokens_between_begin_and_end(texts: list[str], max_len: int):
    ids, mask = TRAINED.encode(texts, max_len)
    assert ids.shape[1] <= max_len
    for row, real in zip(ids, mask, strict=True):
        assert row[0] == TRAINED.cls_id
        assert row[real][-1] == TRAINED.sep_id
        assert (row[~real] == TRAINED.pad_id).all()


def no_processor(saved: dict) -> None:
    saved["post_processor"] = None


def other_token(saved: dict) -> None:
    saved["post_processor"]["sep"] = ["[SEP]", 99999]


def no_mask(saved: dict) -> None:
    saved["added_tokens"] = [token for token in saved["added_tokens"] if token["content"] != "[MASK]"]


def no_unknown(saved: dict) -> None:
    saved["model"]["unk_token"] = "[NONE]"


def no_special(saved: dict) -> None:
    saved["added_tokens"] = []
    del saved["model"]["vocab"]["[SEP]"]


def gap(saved: dict) -> None:
    saved["model"]["vocab"]["late"] = 5000


def template(saved: dict) -> None:
    """A post-processor of the newer kind, whose special token is not the vocabulary's."""
    special = {"id": "[CLS]", "ids": [7000], "tokens": ["[CLS]"]}
    pieces = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    saved["post_processor"] = {
        "type": "TemplateProcessing", "single": pieces, "pair": pieces, "special_tokens": {"[CLS]": special},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_processor, r"between \[CLS\] and \[SEP\]: the empty text is \[\]"),
        (other_token, r"the token 99999, but has only \d+ tokens"),
        (template, "the token 7000, but has only"),
        (no_mask, r"does not read \[MASK\]"),
        (no_unknown, "cannot read a text"),
        (no_special, r"the vocabulary has no \[SEP\]"),
        (gap, "without a gap"),
    ],
)
def test_a_tokenizer_file_that_would_fail_at_the_first_text_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "tokenizer.json"
    Tokenizer.train(["a dog runs"], vocab_size=40).save(path)
    saved = json.loads(path.read_text())
    change(saved)
    path.write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=rf"tokenizer\.json: .*{message}"):
        Tokenizer.load(path)
