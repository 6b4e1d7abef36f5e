"""Texts to tokens: the `Tokenizer` (WordPiece), masking, and vocabularies of answers."""

from allinone.text.tokenizer import Tokenizer

__all__ = ["Tokenizer"]
