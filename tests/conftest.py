"""Every call of the library is checked against its tensor shapes while tests run.

Readers of annotation files have no tensors, and a check of each of their million calls would take longer than they do.
"""

from importlib.util import find_spec
from pathlib import Path

from jaxtyping import install_import_hook

package = find_spec("allinone")
assert package is not None
assert package.origin is not None
parts = {path.stem for path in Path(package.origin).parent.iterdir()} - {"datasets", "__init__", "__pycache__"}
install_import_hook([f"allinone.{part}" for part in (*sorted(parts), "datasets.synthetic")], "checker.check")

import torch  # noqa: E402

torch.set_num_threads(1)
