"""`unbraid push`: publishes a model."""

from pathlib import Path
from typing import Annotated

import tyro

from unbraid.commands.folder import RunFolder
from unbraid.model.remote import publish


def push(
    run: RunFolder, to: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TO")], private: bool = False
) -> None:
    """Publishes a run's model with its card, figures and settings; commands take the address that is printed.

    Args:
        run: Folder of the run.
        to: hf://user/name on the hub, a .zip file to be served by its URL, or a folder.
        private: Make a new repository on the hub private.
    """
    print(f"Published: {publish(Path(run), to, private)}")
