"""Draws the clips of the synthetic world."""

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from jaxtyping import Float, UInt8

from allinone.datasets.synthetic.scenes import COLORS, Scene

SIZE, NUM_FRAMES = 64, 17  # odd, so that a clip and its reversal share the middle frame


def render(scene: Scene, looks: Sequence[int]) -> UInt8[np.ndarray, "T H W 3"]:
    """Draw a clip. `looks` seeds everything that the scene does not fix: position, size, speed, shades, background."""
    if scene.is_backward:
        return render(scene.reversed(), looks)[::-1]  # so both have exactly the same frames
    rng = np.random.default_rng(looks)
    ground = background(rng)
    frames = np.repeat(ground.astype(np.uint8)[None], NUM_FRAMES, axis=0)
    paints = [np.clip(COLORS[color] + rng.normal(0, 6, 3), 0, 255) for color, _ in scene.objects]
    for which, frame, diameter, x, y in placements(scene, rng):
        top, left = y - diameter // 2, x - diameter // 2
        area = np.s_[top : top + diameter, left : left + diameter]
        under = ground[area]
        cover = sprite(scene.objects[which][1], diameter)
        # Blend at the edges; + 0.5 rounds, because assignment to uint8 truncates.
        frames[frame][area] = under + cover * (paints[which] - under) + 0.5
    return frames


Placement = tuple[int, int, int, int, int]
"""Index of the object, frame, diameter, and center (x, y), in pixels."""


def placements(scene: Scene, rng: np.random.Generator) -> Iterable[Placement]:
    """Yield the positions of the objects of a forward scene in each frame."""
    steps = np.linspace(0, 1, NUM_FRAMES)
    match scene.kind:
        case "direction":
            diameter = int(rng.integers(22, 31))
            edge = diameter // 2 + 1  # so that the whole object is visible from the first frame to the last
            start, end = edge + rng.integers(0, 7), SIZE - edge - rng.integers(0, 7)
            along = np.round(start + steps * (end - start)).astype(int)
            across = int(rng.integers(edge, SIZE - edge + 1))
            for frame, position in enumerate(along.tolist()):
                x, y = (position, across) if scene.change == "right" else (across, position)
                yield 0, frame, diameter, x, y
        case "size":
            # Room for the largest size decides the center, which stays where it is.
            small, large = rng.integers(8, 13), rng.integers(34, 43)
            x, y = rng.integers(large // 2 + 1, SIZE - large // 2, 2).tolist()
            for frame, diameter in enumerate(np.round(small + steps * (large - small)).astype(int).tolist()):
                yield 0, frame, diameter, x, y
        case "order":
            # 7 to 10 of 17 frames show the first object: symmetric, so that a reversed clip has the same distribution.
            cut = int(rng.integers(NUM_FRAMES // 2 - 1, NUM_FRAMES // 2 + 3))
            for which, span in enumerate((range(cut), range(cut, NUM_FRAMES))):
                diameter = int(rng.integers(24, 33))
                yield from hovering(which, span, diameter, (0, 0), SIZE, rng)
        case _:
            half = SIZE // 2  # each object in a separate quarter, so that they never overlap
            for corner in rng.permutation(4)[: scene.number].tolist():
                origin = (corner % 2 * half, corner // 2 * half)
                diameter = int(rng.integers(18, 25))
                yield from hovering(0, range(NUM_FRAMES), diameter, origin, half, rng)


def hovering(
    which: int, span: range, diameter: int, origin: tuple[int, int], room: int, rng: np.random.Generator
) -> Iterable[Placement]:
    """Yield an object that floats up and down by 2 pixels at a random position of a square, so it moves nowhere."""
    edge = diameter // 2 + 1  # the center stays this far from the edge, so that no object is cut
    low, high = edge + 1, room - edge - 1  # one pixel more on each side, for floating
    x, y = (int(o + rng.integers(low, high + 1)) for o in origin)
    phase, pace = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
    for frame in span:
        yield which, frame, diameter, x, y + round(1.5 * np.sin(phase + pace * frame))


def background(rng: np.random.Generator) -> Float[np.ndarray, "H W 3"]:
    """Return two dark shades that blend in a random direction, with a noise that is the same in all frames."""
    shades = rng.uniform(25, 70, (2, 1)) + rng.normal(0, 8, (2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-0.5, 0.5, SIZE)
    # With / sqrt(2), the largest value of cos + sin, mix stays within 0 and 1.
    mix = 0.5 + (ramp[None, :] * np.cos(angle) + ramp[:, None] * np.sin(angle)) / np.sqrt(2)
    grain = rng.normal(0, 2.5, (SIZE, SIZE))
    shaded = shades[0] + mix[..., None] * (shades[1] - shades[0]) + grain[..., None]
    return np.clip(shaded, 0, 255)


@cache
def sprite(shape: str, diameter: int) -> Float[np.ndarray, "H W 1"]:
    """Return the covered fraction of each pixel, from 4 x 4 samples."""
    fine = 4
    line = (np.arange(diameter * fine) + 0.5) / (diameter * fine) * 2 - 1  # -1 to 1
    x, y = line[None, :], line[:, None]
    match shape:
        case "circle":
            inside = np.hypot(x, y) <= 1
        case "square":
            inside = np.maximum(abs(x), abs(y)) <= 0.95
        case "triangle":
            inside = (abs(x) <= (y + 1) / 2) & (y <= 0.9)
        case _:
            inside = in_star(x, y)
    return inside.reshape(diameter, fine, diameter, fine).mean(axis=(1, 3))[..., None]


def in_star(x: np.ndarray, y: np.ndarray, inner: float = 0.45) -> np.ndarray:
    """Return the points inside a star with five tips, one at the top: ten mirrored triangles, folded onto one."""
    tip = np.pi / 5  # half the angle between two tips
    turned = np.arctan2(x, -y) % (2 * tip)
    angle, radius = np.minimum(turned, 2 * tip - turned), np.hypot(x, y)
    across, along = radius * np.sin(angle), radius * np.cos(angle)
    corner_across, corner_along = inner * np.sin(tip), inner * np.cos(tip)
    return across * (1 - corner_along) <= (1 - along) * corner_across
