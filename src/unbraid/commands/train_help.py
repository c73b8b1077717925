"""What `unbraid train --help` and `unbraid train NAME --help` say: the settings that people set, in 80 columns."""

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from unbraid.core.config import RunConfig, flatten, to_json
from unbraid.core.recipe import Recipe
from unbraid.core.types import Batch

WIDTH, COLUMN = 80, 27
TRAIN = """usage: unbraid train RECIPE|METHOD --run DIR [flags]
       unbraid train --config FILE --run DIR [flags]

Trains a model, or goes on with the run in DIR.

  unbraid train demo --run runs/demo
  unbraid train iiae --data.a photos --data.b drawings --data.size 64 \\
      --train.steps 5000 --run runs/own

A recipe is a complete set of settings for a known data set: `unbraid recipes`
lists them. A method is for data of your own: {methods}.
`unbraid train NAME --help` says which settings there are.
"""


def of_command(methods: list[str]) -> str:
    """Returns the help of `unbraid train`."""
    *before, rest = TRAIN.split("A recipe", 1)
    text = " ".join(rest.format(methods=", ".join(methods)).split())
    return "".join(before) + "\n".join(wrap(f"A recipe {text}", WIDTH))


def of_target(target: str, start: RunConfig[Any], needs: type[Batch]) -> str:
    """Returns the help of `unbraid train TARGET`: some settings with their defaults, and how to see the rest.

    Args:
        target: A recipe or a method.
        start: Its configuration.
        needs: The type of batches that the method trains on.
    """
    about = f"{start.about[0].upper()}{start.about[1:]}." if isinstance(start, Recipe) else ""
    lines = [f"usage: unbraid train {target} --run DIR [flags]", *(["", *wrap(about, WIDTH)] if about else []), ""]
    for flag, text in _settings(start, needs):
        lines += _entry(flag, text, COLUMN)
    count = len(flatten(to_json(RunConfig(start.method, start.data, start.train))))
    return "\n".join([*lines, "", f"All {count} settings, by groups: unbraid train {target} --help-all"])


def _settings(start: RunConfig[Any], needs: type[Batch]) -> Iterator[tuple[str, str]]:
    """Yields flags, and what they are for."""
    data, train = start.data, start.train
    yield "--run DIR", "folder of the run: new, empty, or one to go on with"
    if needs.labelled:
        yield "--data.classes DIR", "folder with a folder of images for each class; or --data.csv FILE"
    else:
        yield "--data.a DIR --data.b DIR", f"two folders of images{'' if needs.hides_pairs else ', paired by name'}"
    known = f" [{data.set}]" if data.set else ""
    yield "--data.set NAME", f"a known data set in their place; most are read from --data.root DIR{known}"
    size = " ".join(map(str, data.size)) if data.size else "that of the images"
    yield "--data.size HEIGHT [WIDTH]", f"size of images in px, square if one is given [{size}]"
    length = {name: getattr(train, name) for name in ("steps", "epochs", "minutes")}
    given = ", ".join(f"{value:,} {name}" for name, value in length.items() if value is not None) or "none"
    yield "--train.steps N", f"length; or --train.epochs, --train.minutes. A longer one goes on with a run [{given}]"
    yield "--train.batch N", f"batch size [{train.batch}]"
    yield "--train.evaluate-every N", f"steps between measurements on held-out items [{train.evaluate_every:,}]"
    yield "--train.seed N", f"seed of weights, order and noise [{train.seed}]"
    yield "--device NAME", f"auto, cpu, cuda, cuda:N or mps [{train.device}]"
    yield "--init RUN", "start from the weights of another run of this method"
    yield "--config FILE", "settings from JSON or YAML, or a run's config.json; flags override"
    yield "--dry-run", "print the complete configuration, check that all is there, and leave"


def _entry(name: str, text: str, column: int) -> list[str]:
    """Returns a name and its text beside it; below it, where the name is long."""
    indent = " " * (column + 2)
    if len(name) < column:
        return wrap(text, WIDTH, break_on_hyphens=False, initial_indent=f"  {name:{column}}", subsequent_indent=indent)
    return [f"  {name}", *wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)]
