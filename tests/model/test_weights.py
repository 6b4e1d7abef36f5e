import torch

from allinone.model.weights import resize_time


def test_time_is_extended_by_zeros_or_cut():
    time = torch.randn(3, 4)
    assert torch.equal(resize_time(time, 2), time[:2])
    longer = resize_time(time, 5)
    assert torch.equal(longer[:3], time)
    assert (longer[3:] == 0).all()
