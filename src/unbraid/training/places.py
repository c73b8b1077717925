"""Where a run's data lie now, and whether images that a user names are the run's own or others."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unbraid.core.data_config import DataConfig
from unbraid.core.files import check_value, read_json
from unbraid.core.types import UserError
from unbraid.data.equal import same_items
from unbraid.data.loading import load as load_data
from unbraid.data.parts import listing
from unbraid.model.run import Run
from unbraid.training.experiment import Listed, changed_since, check_parts


def place_of(path: Path, places: Mapping[str, Path]) -> tuple[dict[str, Path], DataConfig | None]:
    """Returns where a run's data lie now, and what else to measure it on, if the places hold other images than its own.

    Images are the run's own if they are divided as its parts.json says, value for value where its own are still there.
    places: by what names them in `DataConfig`. Raises UserError if one domain of two is missing, or most of what was
    held out is among the images, but not all.
    """
    run = Run.existing(path)
    own = run.config.data
    named = {name: place for name, place in places.items() if name != "root"}
    whole = {"a", "b"} <= set(named) or bool(set(named) & {"side_by_side", "classes", "csv", "shards", "arrays"})
    fits = all(getattr(own, name) is not None for name in named)
    if not named or (fits and not whole):
        return dict(places), None
    if not whole:
        raise UserError(f"{path} was not trained on data that were given so; other images need --data.a and --data.b")
    if all((mine := getattr(own, name)) and mine.resolve() == place.resolve() for name, place in named.items()):
        return dict(places), None
    on = replace(DataConfig(), **named)
    if not fits:
        return {}, on
    try:
        there = load_data(replace(own, **places))
    except UserError:
        return {}, on
    now = listing(there)
    if changed_since(path, now):
        before = check_value(read_json(path / "parts.json", dict[str, Any]), str(path / "parts.json"), Listed)
        held_out = {json.dumps(name) for name in (*before.val, *before.test)}
        found = {json.dumps(name) for part in there.parts().values() for name in part.item_names()}
        gone = not all(_exists(getattr(own, name)) for name in named)
        if gone and 2 * len(held_out & found) > len(held_out):
            check_parts(path, now)
        return {}, on
    if all(_exists(getattr(own, name)) for name in named) and not same_items(load_data(own).test, there.test):
        return {}, on
    return dict(places), None


def _exists(place: Path | None) -> bool:
    return place is not None and place.exists()
