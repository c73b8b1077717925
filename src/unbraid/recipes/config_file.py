"""A run's configuration in a file, JSON or YAML: what `unbraid train --dry-run` prints, the config.json of a run, or
some settings of one's own, such as

    method_name: iiae
    data: {a: photos, b: drawings, size: [64, 64]}
    train: {steps: 5000}
"""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from unbraid.core.config import RunConfig, flatten, to_json
from unbraid.core.files import parse_json
from unbraid.core.method import present_names
from unbraid.core.suggest import did_you_mean
from unbraid.core.types import UserError
from unbraid.data.loading import load as load_data
from unbraid.methods import method_class, method_name
from unbraid.model.run import check_config, config_of, from_json
from unbraid.recipes import RECIPES

PARTS = ("method", "data", "train")
NAMES = ("method_name", "recipe")


class Loader(yaml.SafeLoader):
    """YAML's plain values, in which 1e-4 is a number, as in JSON."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


@dataclass(frozen=True)
class ConfigFile:
    """Content of a file: names of method and recipe, if it has them; settings by "method", "data" and "train"."""

    path: Path | None
    method: str | None
    recipe: str | None
    settings: dict[str, dict[str, Any]]

    def start(self, target: str | None = None) -> RunConfig[Any]:
        """Returns the recipe or the method's defaults that the settings are meant for; `target` names others in place.

        Raises UserError if none is named, there is none of that name, or the file is of another method.
        """
        target = target or (self.recipe if self.recipe in RECIPES else self.method)
        if target is None:
            raise UserError(f"{self.path} names no method: give `method_name`, or a recipe or method before the flags")
        start = RECIPES[target] if target in RECIPES else RunConfig(method_class(target).config_type())
        if self.method not in (None, found := method_name(start.method)):
            raise UserError(f"{self.path} is of the method {self.method}, but {target} is of {found}")
        return start

    def complete(self, method: Any) -> bool:
        """Returns whether the file has every setting of a method."""
        return all(field.name in self.settings["method"] for field in fields(method))

    def over(self, config: RunConfig[Any], parts: tuple[str, ...] = PARTS) -> RunConfig[Any]:
        """Returns a configuration with these parts of the file's settings in it.

        Raises UserError if a setting is unknown, or its value is of another type.
        """
        kind, changed = method_class(method_name(config.method)), {}
        if self.path is None:
            return config
        for part in parts:
            there, given = to_json(getattr(config, part)), self.settings[part]
            given = present_names(given, kind.renamed) if part == "method" else given
            known, wrong = flatten(there), [name for name in flatten(given) if name not in flatten(there)]
            if wrong:
                hints = "; ".join(f"{part}.{name}.{did_you_mean(name, known)}" for name in wrong)
                raise UserError(f"{self.path}: there is no setting {hints}")
            why = f"has a setting of {part} that is none"
            changed[part] = from_json(type(getattr(config, part)), _merged(there, given), self.path, why)
        return replace(config, **changed)


def read_config_file(path: Path | None) -> ConfigFile:
    """Reads a file of settings, or the config.json of a run's folder; no settings from no file.

    Raises UserError if it can't be read, or has other entries than method_name, recipe, method, data and train.
    """
    if path is None:
        return ConfigFile(None, None, None, {part: {} for part in PARTS})
    path = path / "config.json" if path.is_dir() else path
    values = _read(path)
    if "format" in values:  # a run's, which an earlier version may have written
        saved = check_config(values, path)
        config, recipe = config_of(saved.config, path), values.get("recipe")
        settings = {part: to_json(getattr(config, part)) for part in PARTS}
        return ConfigFile(path, saved.config.method_name, recipe if isinstance(recipe, str) else None, settings)
    for name, value in values.items():
        if name not in (*PARTS, *NAMES):
            raise UserError(f"{path}: there is no entry {name}.{did_you_mean(name, (*PARTS, *NAMES))}")
        if not isinstance(value, str if name in NAMES else dict):
            raise UserError(f"{path}: {name} must be {'a name' if name in NAMES else 'settings by their names'}")
    settings = {part: dict(values.get(part, {})) for part in PARTS}
    if isinstance(size := settings["data"].get("size"), int):
        settings["data"]["size"] = [size, size]
    return ConfigFile(path, values.get("method_name"), values.get("recipe"), settings)


def read_config(path: str | Path) -> RunConfig[Any]:
    """Returns the configuration of a run from a file, as `unbraid train --config` takes it.

    What the file leaves out is the recipe's, if it names one, else the default. A method's defaults may depend on the
    data: they are read for it if the file has some of the method's settings, and not all.

    Args:
        path: JSON or YAML: what `unbraid train --dry-run` prints, the config.json of a run, or settings of one's own;
            or the folder of a run.

    Raises:
        UserError: The file can't be read, names no method, or has a setting that there is not.
    """
    file = read_config_file(Path(path))
    start = file.start()
    config = file.over(start, ("data", "train"))
    if start is not RECIPES.get(file.recipe or "") and not file.complete(start.method):
        method = method_class(method_name(start.method))
        config = replace(config, method=method.default_config(load_data(config.data).spec)[0])
    return file.over(config, ("method",))


def _read(path: Path) -> dict[str, Any]:
    """Returns the entries of a file."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from error
    if path.suffix.lower() not in (".yaml", ".yml"):
        return parse_json(text, str(path), dict[str, Any])
    try:
        values = yaml.load(text, Loader)  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} can't be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UserError(f"{path} has no settings by their names: `method_name: iiae`, `train: {{steps: 5000}}`")
    return values


def _merged(there: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Settings with some of them changed; those in groups of their own too."""
    nested = {
        name: _merged(there[name], value)
        for name, value in given.items()
        if isinstance(value, dict) and isinstance(there.get(name), dict)
    }
    return {**there, **given, **nested}
