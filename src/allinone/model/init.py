"""Random weights of a new encoder or head."""

import torch.nn as nn

from allinone.model.config import ModelConfig

SHARED = ("modality", "text.token_type", "vision.special", "vision.position")
"""Parameters that all tokens, or all clips, have in common."""


def initialize(module: nn.Module, config: ModelConfig) -> None:
    """Draw the weights of an encoder or of a head.

    ====================================== ============= ===========================
    parameter                              init="vit"    init="fan_in"
    ====================================== ============= ===========================
    weights of linear layers, of patches   N(0, 0.02)    N(0, 1 / sqrt(fan in))
    word, text position                    N(0, 0.02)    N(0, 1)
    token type, modality, special tokens   N(0, 0.02)    N(0, 0.02)
    position of a patch, frame (temporal)  N(0, 0.02)    N(0, 2) cut at 2: std 1.1
    biases; norms                          0; 1          0; 1
    ====================================== ============= ===========================

    `vit` is the released start. With `fan_in` small models learn order in time from scratch, because where and when a
    patch is stands out. What all tokens share stays small: otherwise all texts, and all clips, would be nearly parallel
    at first, and contrast would learn slowly.
    """
    scaled = config.init == "fan_in"
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            fan_in = part.weight[0].numel()  # weights of one output, also of a convolution
            nn.init.trunc_normal_(part.weight, std=fan_in**-0.5 if scaled else 0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=1.0 if scaled else 0.02)
    # The order of these draws is part of what a seed means: another one gives other weights.
    parameters = dict(module.named_parameters())
    for name in SHARED:
        if name in parameters:
            nn.init.trunc_normal_(parameters[name], std=0.02)
    if "vision.time" in parameters:
        # trunc_normal_ cuts at 2, whatever the std.
        nn.init.trunc_normal_(parameters["vision.time"], std=2.0 if scaled else 0.02)
    # Patches only: the positions of special tokens are the same in every frame, so they stay small.
    if scaled and "vision.position" in parameters:
        nn.init.trunc_normal_(parameters["vision.position"][config.num_special :], std=2.0)
