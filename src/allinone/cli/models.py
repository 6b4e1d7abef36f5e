"""`allinone convert` and `allinone export`: weights of other formats in and out."""

from pathlib import Path

from allinone.cli.own_code import OwnCode


def convert(
    weights: str,
    to: Path,
    *,
    vocab: str | None = None,
    answers: Path | None = None,
    num_heads: int | None = None,
    num_frames: int | None = None,
    size: str | None = None,
    image_size: int | None = None,
) -> None:
    """Convert a released All-in-One checkpoint, or ImageNet weights of a ViT or DeiT, to a checkpoint folder. Reports
    for every tensor whether it was taken, renamed, resized or left out.

    Args:
        weights: .ckpt, .pth, .safetensors, or a hub id
        to (OUT): the new checkpoint folder
        vocab (FILE): BERT's vocab.txt (or a hub id), saved with the model
        answers (FILE): JSON with the answers of an answer head, in order
        num_heads: attention heads (default: width / 64)
        num_frames: frames of a clip (default: as released, or 3)

    ViT:
        size: tiny, small, small_distilled or base (default: by its width)
        image_size (PIXELS): height and width of a frame (default: 224)
    """
    from allinone.apps.convert import convert, read_answers

    folder, report = convert(
        weights,
        to,
        vocab=vocab,
        answers=read_answers(answers) if answers else None,
        num_heads=num_heads,
        size=size,
        image_size=image_size,
        num_frames=num_frames,
    )
    print(report)
    print(f"checkpoint: {folder}")
    print("\n".join(report.abilities))


def export(model: str, to: Path, *, own: OwnCode) -> None:
    """Export a model to ONNX files that work without torch. The outputs of each file are compared with torch's.

    Args:
        model: checkpoint folder, run folder or hub id
        to (OUT): folder for the ONNX files, preprocess.json and example.py
    """
    from allinone.apps.export import export

    own.load()
    for exported in export(model, to):
        print(f"{exported.path}: differs from torch by {exported.difference:.1e} at most")
