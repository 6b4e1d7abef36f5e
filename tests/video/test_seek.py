"""Which packets answer which moments, on packets that are made up."""

from collections.abc import Iterator, Sequence

import av
import pytest

from allinone.video.errors import Doubt
from allinone.video.seek import resolve

# The stream in the docstring of `seek`: I P B B P B I P, as (dts, pts).
STREAM = [(0, 1), (1, 4), (2, 2), (3, 3), (4, 6), (5, 5), (6, 7), (7, 8)]


Times = Sequence[tuple[int | None, int | None]]


def packets(times: Times) -> list[av.Packet]:
    made = []
    for dts, pts in times:
        packet = av.Packet(b"a frame")
        packet.dts, packet.pts = dts, pts
        made.append(packet)
    return [*made, av.Packet()]


def answers(times: Times, ticks: list[int]) -> list[tuple[int | None, list[int]]]:
    return [(packet.pts, found) for packet, found in resolve(packets(times), ticks)]


def test_a_moment_is_answered_by_the_last_frame_at_or_before_it_and_packets_end_there():
    assert answers(STREAM, [5]) == [(1, []), (4, []), (2, []), (3, []), (6, []), (5, [5])]
    assert answers(STREAM, [3]) == [(1, []), (4, []), (2, []), (3, [3])]


def test_moments_between_frames_share_the_frame_before_them():
    gaps = [(0, 10), (10, 20), (20, 50)]
    assert answers(gaps, [10, 19, 20, 35, 49]) == [(10, [10, 19]), (20, [20, 35, 49])]


def test_a_packet_is_held_back_until_no_other_can_be_shown_before_the_moment():
    read = 0

    def counted() -> Iterator[av.Packet]:
        nonlocal read
        for packet in packets(STREAM):
            read += 1
            yield packet

    needed = {packet.pts: read for packet, _ in resolve(counted(), [3])}
    # The frame at 1 could answer the moment until the one at 2 is met (third packet); that at 3, until one is decoded
    # after 3 (fifth packet).
    assert needed == {1: 3, 4: 3, 2: 4, 3: 5}


def test_the_end_of_the_file_answers_later_moments():
    assert answers(STREAM, [99])[-1] == (8, [99])


@pytest.mark.parametrize(
    "times",
    [
        [(0, 1), (1, None)],
        [(0, 1), (1, 1)],  # two frames at one time
        [(0, 1), (3, 2)],  # shown before it is decoded
        [(2, 3), (1, 4)],  # not in decoding order
    ],
)
def test_times_that_contradict_each_other_are_a_doubt(times):
    with pytest.raises(Doubt):
        answers(times, [50])


def test_packets_without_decoding_times_count_as_decoded_with_the_one_before():
    assert answers([(None, 1), (None, 3), (2, 2), (3, 4)], [2]) == [(1, []), (3, []), (2, [2])]
