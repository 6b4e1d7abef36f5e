"""Text to BERT's tokens: `[CLS] words [SEP]`, in lower case, without accents, rare words in pieces (WordPiece).

The vocabulary is a released one (`vocab.txt`) or one trained on the user's captions. A checkpoint keeps it as
`tokenizer.json`. Source: https://arxiv.org/abs/1810.04805, section 3.
"""

import os
import re
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from allinone.checks import is_whole
from allinone.files.reading import check_readable

# The backend's threads would not survive the forks of a data loader; one thread is fast enough.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PAD, UNK, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FILE_NAME = "tokenizer.json"
MAX_SEEN = 100_000
"""Texts that are remembered while characters are collected."""

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(?<!\.txt)")
PROBE = f"a dog, {MASK} \u0416\u72d7 " + "x" * 1000
"""A text to check tokenizer files with: words that are known, unknown and too long."""


class Tokenizer:
    """A WordPiece tokenizer. Make one with `from_vocab`, `train` or `load`.

    A special token spelled out in a text (`a [MASK] barks`) becomes that token, as in BERT.

    Attributes:
        tokens: the vocabulary in the order of its ids.
        special_ids: ids that are no piece of text: the five special tokens, and BERT's unused ones.
        is_word_start: True for tokens that begin a word: pieces without `##` that are not special.
    """

    tokens: tuple[str, ...]
    special_ids: Int[Tensor, " X"]
    is_word_start: Bool[Tensor, " V"]

    def __init__(self, backend: Backend):
        missing = [token for token in SPECIAL if backend.token_to_id(token) is None]
        if missing:
            raise ValueError(f"the vocabulary has no {', '.join(missing)}; a BERT vocabulary has {', '.join(SPECIAL)}")
        if sorted(backend.get_vocab().values()) != list(range(backend.get_vocab_size())):
            raise ValueError("the ids of the vocabulary do not run from 0 to its size without a gap")
        # A `tokenizer.json` may ask for both; here `pad` and `cut` do it.
        backend.no_padding()
        backend.no_truncation()
        self.backend = backend
        vocab = backend.get_vocab()
        self.tokens = tuple(sorted(vocab, key=vocab.__getitem__))
        self.special_ids = torch.tensor([vocab[t] for t in self.tokens if t in SPECIAL or t.startswith("[unused")])
        # The token `##` itself is a word of two signs.
        self.is_word_start = torch.tensor([not t.startswith("##") or t == "##" for t in self.tokens])
        self.is_word_start[self.special_ids] = False
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (vocab[token] for token in SPECIAL)

    @classmethod
    def from_vocab(cls, vocab: str | Path) -> "Tokenizer":
        """Read an uncased BERT vocabulary: a `vocab.txt`, a folder with one, or a hub id.

        The network is used only for a string such as `google-bert/bert-base-uncased` that is no local path.
        """
        path = Path(vocab)
        if path.is_dir():
            path = path / "vocab.txt"
        elif not path.exists() and isinstance(vocab, str) and HUB_ID.fullmatch(vocab):
            path = download_vocab(vocab)
        if not path.is_file():
            raise ValueError(f"{path}: no such vocabulary; give a vocab.txt, its folder, or a hub id owner/name")
        return cls(wordpiece(read_vocab(path)))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int = 8000) -> "Tokenizer":
        """Train a vocabulary of at most `vocab_size` words and pieces of words on these texts.

        The same texts give the same vocabulary, in any order and on any machine. They are read twice; anything but an
        iterator is not kept in memory, since there may be millions of texts.
        """
        texts = list(texts) if isinstance(texts, Iterator) else texts  # read twice
        starts, inner = alphabet(texts)
        alone = (*SPECIAL, *starts, *inner)
        if not starts:
            raise ValueError("the texts hold no word to train a vocabulary on")
        if len(alone) > vocab_size:
            raise ValueError(
                f"vocab_size {vocab_size} is too small: the special tokens and single characters are {len(alone)}"
            )
        # The trainer gives characters inside words ids in an order that changes from run to run, and breaks ties by
        # id. Listing them in order as if they were special fixes both; a clean backend then takes the vocabulary.
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size, special_tokens=list(alone), min_frequency=2, show_progress=False
        )
        draft = wordpiece(dict(zip(SPECIAL, range(len(SPECIAL)), strict=True)))
        draft.train_from_iterator(texts, trainer)
        return cls(wordpiece(draft.get_vocab()))

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a `tokenizer.json`, or that of a checkpoint folder. ValueError if it is none that can be used."""
        path = Path(path)
        path = path / FILE_NAME if path.is_dir() else path
        if not path.is_file():
            raise ValueError(f"{path}: no such tokenizer file")
        check_readable(path)
        try:
            backend = Backend.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the backend raises plain Exception
            raise ValueError(f"{path}: not a tokenizer file ({error})") from error
        if not isinstance(backend.model, models.WordPiece):
            raise ValueError(f"{path}: a {type(backend.model).__name__} tokenizer; only WordPiece ones can be used")
        try:
            tokenizer = cls(backend)
            tokenizer.check()
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return tokenizer

    def check(self) -> None:
        """Raise ValueError unless texts become `[CLS] tokens of the vocabulary [SEP]`; a file can ask for anything."""
        try:
            empty, some = (e.ids for e in self.backend.encode_batch_fast(["", PROBE]))
        except Exception as error:  # the backend raises plain Exception
            raise ValueError(f"it cannot read a text ({error})") from error
        wrong = [i for i in some if not 0 <= i < len(self.tokens)]
        if wrong:
            raise ValueError(f"it gives a text the token {wrong[0]}, but has only {len(self.tokens)} tokens")
        if empty != [self.cls_id, self.sep_id] or some[0] != self.cls_id or some[-1] != self.sep_id:
            raise ValueError(f"it does not put a text between {CLS} and {SEP}: the empty text is {empty[:5]}")
        if self.mask_id not in some:
            raise ValueError(f"it does not read {MASK} in a text as that token")

    def save(self, path: str | Path) -> None:
        """Write `tokenizer.json` into a folder, or to the file named."""
        path = Path(path)
        (path / FILE_NAME if path.is_dir() else path).write_text(self.backend.to_str(), encoding="utf-8")

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides how texts become ids."""
        return blake2b(self.backend.to_str().encode(), digest_size=8).hexdigest()

    @property
    def vocab_size(self) -> int:
        return self.backend.get_vocab_size()

    def tokenize(self, texts: Sequence[str], max_len: int | None = None) -> list[list[int]]:
        """Return the token ids of each text, unpadded, at most `max_len` (see `cut`). An empty text is [CLS] [SEP]."""
        if isinstance(texts, str):
            raise TypeError(f"expected a list of texts, got the text {texts!r}")
        texts = list(texts)
        for text in texts:
            check_text(text)
        encoded = (e.ids for e in self.backend.encode_batch_fast(texts))
        return list(encoded) if max_len is None else [self.cut(ids, max_len) for ids in encoded]

    def cut(self, ids: list[int], max_len: int) -> list[int]:
        """Return at most `max_len` ids of a text; a longer one keeps its [SEP] at the end."""
        if max_len < 2:
            raise ValueError(f"max_len must leave room for [CLS] and [SEP], got {max_len}")
        return ids if len(ids) <= max_len else [*ids[: max_len - 1], self.sep_id]

    def encode(
        self, texts: Sequence[str], max_len: int | None = None
    ) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"]]:
        """Return ids and mask (True where a token is real), padded to the longest of these texts."""
        return pad(self.tokenize(texts, max_len), self.pad_id)

    def decode(self, ids: Int[Tensor, "B L"]) -> list[str]:
        """Return texts in lower case, without padding, [CLS] and [SEP]; [MASK] and [UNK] are shown."""
        frame = {self.pad_id, self.cls_id, self.sep_id}
        rows = [[i for i in row if i not in frame] for row in ids.tolist()]
        return self.backend.decode_batch(rows, skip_special_tokens=False)


def check_text(text: object) -> None:
    """Raise ValueError unless this is a text that a tokenizer reads."""
    if not isinstance(text, str):
        raise ValueError(f"expected a text, got {type(text).__name__} {reprlib.repr(text)}")
    if not is_whole(text):
        raise ValueError(f"expected a text, got one with halves of characters: {reprlib.repr(text)}")


def cut_note(lengths: Sequence[int] | np.ndarray, max_len: int) -> str:
    """Say how many texts are cut because a model reads `max_len` tokens; empty if none is.

    `lengths` are those of whole texts, with [CLS] and [SEP], which count.
    """
    lengths = np.asarray(lengths)
    cut = lengths[lengths > max_len]
    if not len(cut):
        return ""
    reads = f"{max_len}, all that this model reads (its max_text_len)"
    if len(lengths) == 1:
        return f"text of {cut[0]} tokens cut to {reads}"
    return f"{len(cut):,} of {len(lengths):,} texts, of up to {cut.max()} tokens, cut to {reads}"


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"]]:
    """Return token ids of different lengths as one tensor, and the mask that is True where a token is real."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
    longest = int(lengths.max()) if len(rows) else 0
    mask = torch.arange(longest) < lengths[:, None]
    ids = torch.full((len(rows), longest), pad_id)
    ids[mask] = torch.tensor([i for row in rows for i in row], dtype=torch.long)
    return ids, mask


def wordpiece(vocab: dict[str, int]) -> Backend:
    """Build BERT's uncased text pipeline around a vocabulary."""
    # 100 as in transformers; longer words become [UNK].
    backend = Backend(models.WordPiece(vocab, unk_token=UNK, max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True, handle_chinese_chars=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens([token for token in SPECIAL if token in vocab])
    if CLS in vocab and SEP in vocab:
        backend.post_processor = processors.BertProcessing((SEP, vocab[SEP]), (CLS, vocab[CLS]))
    return backend


def read_vocab(path: Path) -> dict[str, int]:
    """Read a `vocab.txt`: one token per line; the line number, from 0, is the id."""
    try:
        # Not `splitlines`, which also breaks lines at characters that a vocabulary may hold.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error})") from error
    vocab: dict[str, int] = {}
    for number, line in enumerate(lines):
        token = line.removesuffix("\r")
        if not token or token in vocab:
            problem = f"repeats line {vocab[token] + 1}" if token else "is empty"
            raise ValueError(f"{path}: line {number + 1} {problem}; each line must be another token")
        if token != token.lower() and not token.startswith("["):
            raise ValueError(f"{path}: {token!r} has capitals; only uncased vocabularies are supported")
        vocab[token] = number
    return vocab


def download_vocab(hub_id: str) -> Path:
    """Return the `vocab.txt` of a model on the Hugging Face hub, downloaded if it is not in the local cache."""
    import huggingface_hub  # imported here: only hub ids need it, and it is slow to import

    try:
        return Path(huggingface_hub.hf_hub_download(hub_id, "vocab.txt"))
    except (OSError, ValueError) as error:  # base classes of the hub's errors
        raise ValueError(f"{hub_id}: no such local file, and no vocab.txt from the hub ({error})") from error


def alphabet(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the characters that begin a word, and those inside words (with `##`), each sorted."""
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words: set[str] = set()
    seen: set[str] = set()  # captions are often repeated
    for text in texts:
        if text not in seen:
            words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
            seen.add(text)
        if len(seen) > MAX_SEEN:
            seen.clear()
    return sorted({w[0] for w in words}), sorted({f"##{c}" for w in words for c in w[1:]})
