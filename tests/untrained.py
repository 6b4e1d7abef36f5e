"""A model with two heads and random weights, and a tokenizer of its vocabulary size."""

from allinone.model.config import ModelConfig
from allinone.model.heads import AnswerHead, MLMHead
from allinone.text.tokenizer import Tokenizer

CONFIG = ModelConfig(
    width=32, num_heads=2, depth=1, image_size=32, patch_size=16, num_frames=2, vocab_size=40, shared_dim=8
)  # fmt: skip
HEADS = {"mlm": MLMHead.Config(), "answer": AnswerHead.Config(answers=("red", "blue"), hidden=6)}
TOKENIZER = Tokenizer.train(["abc bad cab", "dab a cab"], vocab_size=40)
