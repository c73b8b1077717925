"""The known data sets by name: a new one is its loader, its line here and its name in `DataConfig.set`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from unbraid.core.data_config import DataConfig
from unbraid.data.parts import Data
from unbraid.data.sources import digits, relit, sets, synthetic


@dataclass(frozen=True)
class KnownSet:
    """A known set, before it is loaded.

    load: loads the set as a configuration asks. choosable: whether --data.labels chooses among its labels. by_class:
    whether --data.by-class can pair its items. redrawn: in words, the news about its items in each pass; empty if they
    stay as they are.
    """

    load: Callable[[DataConfig], Data]
    choosable: bool = False
    by_class: bool = False
    redrawn: str = ""


KNOWN: Mapping[str, KnownSet] = {
    "digits": KnownSet(digits.load_digits, redrawn="the digits of digits have new colours"),
    "mnist-cdcb": KnownSet(digits.load_mnist, redrawn="the digits of mnist-cdcb have new colours"),
    "maps": KnownSet(sets.load_maps),
    "facades": KnownSet(sets.load_facades),
    "cars": KnownSet(sets.load_cars),
    "car-sides": KnownSet(sets.load_car_sides),
    "cars3d": KnownSet(sets.load_cars3d),
    "relit": KnownSet(relit.load_relit, redrawn="the cars of relit have new lights"),
    "sketchy": KnownSet(sets.load_sketchy, by_class=True),
    "cuhk": KnownSet(sets.load_cuhk),
    "cuhk-avataaars": KnownSet(sets.load_cuhk_avataaars),
    "emoji": KnownSet(sets.load_emoji),
    "avataaars": KnownSet(sets.load_avataaars, choosable=True),
    "synthetic": KnownSet(synthetic.load_synthetic, redrawn="the vectors of synthetic are new ones"),
    "synthetic-identifiable": KnownSet(
        synthetic.load_synthetic, redrawn="the vectors of synthetic-identifiable are new ones"
    ),
}


def redrawn(config: DataConfig) -> str:
    """Returns, in words, what is new about the items of a configuration's data in each pass; empty if nothing is."""
    drawn = "the items that --data.by-class pairs are drawn anew" if config.by_class else ""
    words = KNOWN[config.set].redrawn if config.set else ""
    return f"{words or drawn} in each pass" if words or drawn else ""


def sets_with(ability: Callable[[KnownSet], bool]) -> list[str]:
    """Returns the names of the sets that can do something."""
    return [name for name, known in KNOWN.items() if ability(known)]
