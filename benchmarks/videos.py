"""Made videos with drifting blocks and some noise, which make encoders use motion and frames between frames."""

from pathlib import Path

import numpy as np

from allinone.video.encode import write_mp4


def write_video(path: Path, width: int, height: int, gop: int, seconds: int = 10, fps: int = 25) -> Path:
    """An H.264 file with a keyframe every `gop` frames."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    scene = scene.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    noise = rng.integers(0, 12, scene.shape, dtype=np.uint8)
    frames = [
        np.roll(scene, (t, 3 * t), axis=(0, 1)) // 2 + np.roll(noise, 7 * t, axis=1) for t in range(seconds * fps)
    ]
    write_mp4(path, np.stack(frames), fps=fps, gop=gop)
    return path
