"""Every call of the library is checked against its tensor shapes while tests run."""

from jaxtyping import install_import_hook

install_import_hook("allinone", "checker.check")

import torch  # noqa: E402

torch.set_num_threads(1)
