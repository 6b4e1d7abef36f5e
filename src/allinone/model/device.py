"""Where a model computes."""

import torch


def choose_device(device: str | None = None) -> torch.device:
    """This device; by default a GPU where there is one. ValueError where there is no such device here."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"no device is called {device!r}; wanted cpu, cuda, or cuda:1 of several") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for, but torch finds no GPU; use 'cpu', or leave it out")
    if place.type == "cuda" and place.index is not None and place.index >= torch.cuda.device_count():
        raise ValueError(f"device {device!r} was asked for, but there are {torch.cuda.device_count()} GPUs")
    return place
