"""Selection of device and precision at run time."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from unbraid.core.config import TrainConfig
from unbraid.core.types import UserError


@dataclass(frozen=True)
class Precision:
    """Device, whether matrix products and convolutions run in bf16 there, and the reason."""

    device: torch.device
    bf16: bool
    reason: str

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Returns the autocast context of a training step. Weights, updates and losses stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def __str__(self) -> str:
        return f"{'bf16' if self.bf16 else 'fp32'} on {self.device.type} ({self.reason})"


def choose_precision(config: TrainConfig) -> Precision:
    """Selects the device and precision that the configuration names, or for "auto" the best available.

    Raises UserError if a GPU is requested and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise UserError("--train.device cuda: torch sees no GPU here. Leave it out to use the processor")
    device = torch.device("cuda" if has_gpu and config.device != "cpu" else "cpu")
    if config.precision != "auto":
        return Precision(device, config.precision == "bf16", "as asked")
    if device.type == "cuda":
        found = torch.cuda.is_bf16_supported()
        return Precision(device, found, f"the GPU has {'' if found else 'no '}bf16")
    found = cpu_bf16()
    return Precision(device, bool(found), f"the processor has {found}" if found else "the processor has no bf16")


def cpu_bf16() -> str | None:
    """Returns the name of the processor's bf16 instructions, or None: emulated bf16 is slower than fp32."""
    for name, probe in (("AMX", "_is_amx_tile_supported"), ("AVX512-bf16", "_is_avx512_bf16_supported")):
        supported = getattr(torch.cpu, probe, None)
        if supported is not None and supported():
            return name
    return None
