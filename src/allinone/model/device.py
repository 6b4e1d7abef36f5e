"""The device that a model computes on."""

import torch


def choose_device(name: str | None = None) -> torch.device:
    """Return this device; the default is a GPU if there is one, else the CPU.

    Raises:
        ValueError: there is no such device here.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"no device is called {name!r}; wanted cpu, cuda, or cuda:1 of several") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} was asked for, but torch finds no GPU; use 'cpu', or leave it out")
    # torch would complain only when the first tensor is moved there.
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} was asked for, but there are {torch.cuda.device_count()} GPUs")
    return device
