"""The model: one Transformer for video and text (`encoder`), its heads, and weights from elsewhere."""

from allinone.model.config import ModelConfig
from allinone.model.model import AllInOne

__all__ = ["AllInOne", "ModelConfig"]
