"""What a model cannot read of a text: words that its vocabulary lacks, and the end of a text that is too long."""

import unicodedata

from allinone.text.tokenizer import Tokenizer, check_text

MAX_WORDS, MAX_CHARS = 8, 40
"""So many unknown words are named, and of a word or text so many characters are shown."""


def notes_on(tokenizer: Tokenizer, text: str, max_len: int) -> list[str]:
    """Sentences about a text of which a model that reads `max_len` tokens misses something; none where it reads all.

    Punctuation does not count as words: a vocabulary without "!" loses little.
    """
    check_text(text)
    encoded, notes = tokenizer.backend.encode(text), []
    is_cut = len(encoded.ids) > max_len
    # The last token that is read of a cut text is [SEP].
    num_read = max_len - 1 if is_cut else len(encoded.ids)
    words: dict[int, str] = {}
    unknown: set[int] = set()
    for id, word, span in list(zip(encoded.ids, encoded.word_ids, encoded.offsets, strict=True))[:num_read]:
        spelled = text[slice(*span)]
        if word is None or id == tokenizer.mask_id or all(unicodedata.category(c).startswith("P") for c in spelled):
            continue
        words.setdefault(word, spelled)
        if id == tokenizer.unk_id:
            unknown.add(word)
    names = list(dict.fromkeys(short(words[word]) for word in sorted(unknown)))
    named = ", ".join(names[:MAX_WORDS]) + (f" and {len(names) - MAX_WORDS} more" if len(names) > MAX_WORDS else "")
    if len(encoded.ids) <= 2:
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
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 3]}..."
