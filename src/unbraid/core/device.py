"""Selection of device and precision at run time: the one place that decides."""

import contextlib
import re
from dataclasses import dataclass

import torch

from unbraid.core.config import TrainConfig
from unbraid.core.types import UserError

DEVICES = "auto, cpu, cuda, cuda:N (a GPU's number) and mps (Apple's)"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """Device, the type in which matrix products and convolutions run there, and the reason."""

    device: torch.device
    dtype: torch.dtype
    reason: str

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Returns the autocast context of a training step, or of answers. Weights, updates and losses stay float32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def __str__(self) -> str:
        name = next(name for name, dtype in DTYPES.items() if dtype == self.dtype)
        return f"{name} on {self.device.type} ({self.reason})"


def choose_device(name: str = "auto", flag: str = "--device") -> torch.device:
    """Returns the device called auto (the GPU if torch sees CUDA or ROCm, else the processor), cpu, cuda, cuda:N, mps.

    Raises UserError, which names the flag, if there is no such device here, or nothing is called so.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    if not isinstance(name, str) or not re.fullmatch(r"cpu|cuda(:\d{1,3})?|mps", name):
        raise UserError(f"{flag} {name}: there are {DEVICES}")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"{flag} mps: torch sees no GPU of Apple's here. Leave it out to use what there is")
    if name.startswith("cuda"):
        if not gpus:
            raise UserError(f"{flag} {name}: torch sees no GPU here. Leave it out to use the processor")
        if ":" in name and int(name[5:]) >= gpus:
            there = "cuda:0" if gpus == 1 else f"cuda:0 to cuda:{gpus - 1}"
            raise UserError(f"{flag} {name}: torch sees {there} here")
    return torch.device(name)


def choose_precision(config: TrainConfig) -> Precision:
    """Selects the device and precision of training that the configuration names, or for "auto" the best available.

    Raises UserError for a device that isn't there.
    """
    return precision_on(choose_device(config.device, "--train.device"), config.precision)


def precision_on(device: torch.device, wanted: str) -> Precision:
    """Selects fp32, bf16, fp16, or auto: bf16 where the device computes faster in it, fp16 on other GPUs, else fp32.

    Raises UserError if nothing is called so.
    """
    if wanted in DTYPES:
        return Precision(device, DTYPES[wanted], "as asked")
    if wanted != "auto":
        raise UserError(f"There is no precision {wanted!r}; there are: {', '.join(DTYPES)}, auto")
    if device.type == "cuda":
        found = torch.cuda.is_bf16_supported(including_emulation=False)
        return Precision(device, DTYPES["bf16" if found else "fp16"], f"the GPU has {'' if found else 'no '}bf16")
    if device.type == "mps":
        return Precision(device, torch.float32, "bf16 is untested there")
    found = cpu_bf16()
    reason = f"the processor has {found or 'no bf16'}"
    return Precision(device, DTYPES["bf16" if found else "fp32"], reason)


def cpu_bf16() -> str | None:
    """Returns the name of the processor's bf16 instructions, or None: emulated bf16 is slower than fp32."""
    for name, probe in (("AMX", "_is_amx_tile_supported"), ("AVX512-bf16", "_is_avx512_bf16_supported")):
        supported = getattr(torch.cpu, probe, None)
        if supported is not None and supported():
            return name
    return None
