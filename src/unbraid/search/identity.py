"""Whose codes an index holds, and how they are compared: what a model and its index must agree in."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import msgspec
from torch import Tensor, nn

from unbraid.core.config import Distance
from unbraid.core.files import read_json
from unbraid.core.types import DOMAINS, Domain, UserError
from unbraid.model.restore import model_state
from unbraid.model.space import CodeSpace

FORMAT = 1
"""Version of the folder's layout; an index of another one is refused."""


Size = Annotated[int, msgspec.Meta(ge=0, le=2**31)]


@dataclass(frozen=True)
class _Version:
    format: int


@dataclass(frozen=True)
class Identity:
    """Whose codes an index holds, and how they are compared.

    model: hash of weights and geometry. sizes: for each domain, the sizes of a shared and an exclusive code.
    """

    model: str
    method: str
    distance: Distance
    sizes: dict[Domain, tuple[Size, Size]]

    def to_json(self) -> dict[str, Any]:
        """Returns what stands in index.json, or in the description of a collection."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, values: Any, place: str) -> "Identity":
        """Reads what `to_json` wrote. Raises UserError if these are other values, or of another format."""
        try:
            version = msgspec.convert(values, _Version).format
            if version != FORMAT:
                raise UserError(f"{place} has format {version}; this version of unbraid reads {FORMAT}")
            found = msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise UserError(f"{place} is not an index of unbraid, or it is damaged ({error})") from error
        if set(found.sizes) != set(DOMAINS):
            raise UserError(f"{place} is not an index of unbraid, or it is damaged (sizes of a and b are needed)")
        return found

    def check(self, asked: "Identity", place: str) -> None:
        """Raises UserError if `asked`, of the model at hand, is another one."""
        if self.sizes != asked.sizes:
            raise UserError(
                f"{place} holds codes of other sizes, {_sizes(self)}; this model makes {_sizes(asked)}. "
                "Use the run that it was made with, or index again under another --to"
            )
        if self.model != asked.model:
            raise UserError(
                f"{place} was made by another model ({self.method} {self.model[:12]}); this one is {asked.method} "
                f"{asked.model[:12]}, and codes of two models can't be compared. Use the run that it was made with, or "
                "index again under another --to"
            )
        if self.distance != asked.distance:
            raise UserError(
                f"{place} compares by {self.distance} distance, not {asked.distance}: leave --distance out, or index "
                "again under another --to"
            )


def _sizes(identity: Identity) -> str:
    return " and ".join(f"{shared} + {exclusive}" for shared, exclusive in identity.sizes.values())


def fingerprint(method: nn.Module, space: CodeSpace | None, others: Mapping[str, Tensor] | None = None) -> str:
    """Returns a SHA-256 of a model, the same wherever it lies.

    Args:
        method: Its weights.
        space: The geometry of its codes.
        others: Tensors beside them.
    """
    digest = sha256()
    tensors = {**model_state(method), **({} if space is None else space.tensors()), **(others or {})}
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def read_identity(folder: Path) -> Identity:
    """Reads whose codes lie in a folder. Raises UserError if there is no index, or it can't be read."""
    path = folder / "index.json"
    if not folder.exists():
        raise UserError(f"There is no index {folder}. `unbraid index` makes one")
    if not path.is_file():
        raise UserError(f"{folder} is not an index: it has no {path.name}")
    return Identity.from_json(read_json(path), str(folder))
