"""`--code`, the option of every command that loads a model or an experiment."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OwnCode:
    """A user's own code.

    Args:
        code (FILE.py): your own code that the model or experiment uses
    """

    code: Sequence[str] = ()

    def load(self) -> None:
        """Load the files, before anything that uses them."""
        from allinone.own_code import load_code

        for file in self.code:
            load_code(file)
