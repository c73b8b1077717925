"""What a recipe is: a run's complete configuration under a name."""

from dataclasses import dataclass
from typing import Literal, TypeVar

from unbraid.core.config import RunConfig

MethodConfig = TypeVar("MethodConfig")
Shows = Literal[
    "recall",
    "label",
    "analogy",
    "nearest view",
    "transfer",
    "translation",
    "hidden pair",
    "guided",
    "zero-shot",
    "correlation",
]
"""recall: recall@1 by pair; label: by label; analogy: distance of analogies to the truth; LPIPS to the nearest view, of
content transfer, of a translation, to the hidden pair, of a guided translation; zero-shot: mAP on unseen classes;
correlation with the true factor."""


@dataclass(frozen=True, kw_only=True)
class Recipe(RunConfig[MethodConfig]):
    """A named run.

    name: as the command line takes it. about: what it is, in a few words. shows: the figure that it shows. note: what
    to say with that. `dataclasses.replace` changes its settings; a run of it remembers the name.
    """

    name: str
    about: str
    shows: Shows = "recall"
    note: str = ""

    @property
    def config(self) -> RunConfig[MethodConfig]:
        """The configuration alone."""
        return RunConfig(self.method, self.data, self.train)
