"""Notes on texts that a model cannot read in full: words out of its vocabulary, and ends that are cut off."""

import unicodedata

from allinone.text.tokenizer import Tokenizer, check_text

MAX_WORDS, MAX_CHARS = 8, 40
"""Limits of a note: unknown words that are listed, and characters shown of a word or text."""


def notes_on(tokenizer: Tokenizer, text: str, max_len: int) -> list[str]:
    """Return sentences about what a model that reads `max_len` tokens misses of a text; none if it reads everything.

    Punctuation does not count as words, because a vocabulary without "!" loses little.
    """
    check_text(text)
    encoded, notes = tokenizer.backend.encode(text), []
    is_cut = len(encoded.ids) > max_len
    # Of a cut text, the last token that is read is [SEP].
    num_read = max_len - 1 if is_cut else len(encoded.ids)
    words: dict[int, str] = {}
    unknown: set[int] = set()
    for id, word, span in list(zip(encoded.ids, encoded.word_ids, encoded.offsets, strict=True))[:num_read]:
        spelled = text[slice(*span)]
        if word is None or id == tokenizer.mask_id or all(unicodedata.category(c).startswith("P") for c in spelled):
            continue
        # An unknown word is one [UNK], with the whole word as its span; a known one may be several pieces.
        words.setdefault(word, spelled)
        if id == tokenizer.unk_id:
            unknown.add(word)
    names = list(dict.fromkeys(short(words[word]) for word in sorted(unknown)))
    named = ", ".join(names[:MAX_WORDS]) + (f" and {len(names) - MAX_WORDS} more" if len(names) > MAX_WORDS else "")
    if len(encoded.ids) <= 2:  # [CLS] and [SEP] only
        notes.append(f"{short(text)!r}: the model reads no word in this text, so the result does not depend on it")
    elif words and len(unknown) == len(words):
        notes.append(
            f"{short(text)!r}: no word is in the model's vocabulary, so the result says nothing about it ({named})"
        )
    elif unknown:
        notes.append(
            f"{short(text)!r}: {len(unknown)} of {len(words)} words are not in the model's vocabulary: {named}"
        )
    if is_cut:
        rest = text[encoded.offsets[num_read][0] :]
        notes.append(
            f"{short(text)!r}: {len(encoded.ids)} tokens, of which the model reads {max_len}; cut off from "
            f"{short(rest)!r} on"
        )
    return notes


def short(text: str) -> str:
    """Return the beginning of a long text, followed by dots."""
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 3]}..."
