"""A GPU that isn't there: tensors of the processor that say they lie on it, and refuse to meet those that don't.

`PretendGPU` is a pair of modes. Above torch's functions, `.to`, `.device` and the functions that make tensors are told
from what Python asks for; below them, each operation, those of gradients and optimisers too, looks where its tensors
lie, as CUDA does: single numbers and indices may come from the processor, all else must lie together. As on Apple's
GPUs, nothing there is float64. What torch's own code makes inside a function lies wherever it is needed.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode

GPU, CPU = torch.device("cuda:0"), torch.device("cpu")
ANYWHERE = torch.device("meta")
"""Where a tensor lies that torch's own code made."""
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
"""What takes indices from the processor too."""


class WrongDevice(AssertionError):
    """Tensors of two devices meet, one of the GPU is read as if it were on the processor, or one there is float64."""


def tensors_in(value: Any) -> list[Tensor]:
    """Returns the tensors in arguments or results."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [x for one in value for x in tensors_in(one)]
    return [x for one in value.values() for x in tensors_in(one)] if isinstance(value, dict) else []


class Places:
    """Where tensors lie, by the storage that they share with their views; unknown ones on the processor."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[StorageWeakRef, torch.device]] = {}

    def of(self, x: Tensor) -> torch.device:
        """Returns where a tensor lies."""
        return self._known.get(self._key(x)._cdata, (None, CPU))[1]

    def knows(self, x: Tensor) -> bool:
        """Returns whether it was said where a tensor lies."""
        return self._key(x)._cdata in self._known

    def put(self, found: Any, place: torch.device) -> None:
        """Says where the tensors in a result lie."""
        for x in tensors_in(found):
            storage = self._key(x)
            self._known[storage._cdata] = StorageWeakRef(storage), place  # a weak one keeps its number from others

    @staticmethod
    def _key(x: Tensor) -> torch.UntypedStorage:
        with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
            return (x._values() if x.layout == torch.sparse_coo else x).untyped_storage()


class _Operations(TorchDispatchMode):
    def __init__(self, places: Places) -> None:
        super().__init__()
        self.places = places

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, places = func._overloadpacket.__name__, self.places
        tensors = tensors_in((args, kwargs))
        if name == "copy_":
            return func(*args, **(kwargs or {}))
        if name in INDEXING:
            indices = [x for x in tensors_in(args[1]) if places.of(x) == CPU]
            tensors = [x for x in tensors if not any(x is index for index in indices)]
        at = {places.of(x) for x in tensors if x.ndim} - {ANYWHERE}
        single = {places.of(x) for x in tensors if not x.ndim} - {ANYWHERE}
        if len(at) > 1 or (at == {CPU} and GPU in single):
            shapes = ", ".join(f"{tuple(x.shape)} on {places.of(x).type}" for x in tensors)
            raise WrongDevice(f"{name} of tensors on two devices: {shapes}")
        before = {x.untyped_storage()._cdata for x in tensors if x.layout == torch.strided}
        found = func(*args, **(kwargs or {}))
        place = next(iter(at), GPU if GPU in single else CPU if single else ANYWHERE)
        made = tensors_in(found)
        places.put([x for x in made if x.layout != torch.strided or x.untyped_storage()._cdata not in before], place)
        if any(x.dtype == torch.float64 and places.of(x) == GPU for x in made):
            raise WrongDevice(f"{name} makes float64, which Apple's GPUs don't have")
        return found


class PretendGPU(TorchFunctionMode):
    """Inside, tensors that are sent to "cuda" lie on a GPU; everything else on the processor."""

    def __init__(self) -> None:
        super().__init__()
        self.places = Places()
        self._operations = _Operations(self.places)

    def __enter__(self) -> "PretendGPU":
        self._operations.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._operations.__exit__(*error)

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        own = self.places.of(args[0]) if args and isinstance(args[0], Tensor) else CPU
        name = getattr(func, "__name__", "")
        if func is torch.device or name == "_parse_to":
            return func(*args, **kwargs)
        if name == "__get__":
            return self._attribute(func, args[0], own)
        if own == GPU and name in ("numpy", "__array__", "data_ptr"):
            raise WrongDevice(f"{name} of a tensor on the GPU")
        asked = self._asked(func, name, args, kwargs)
        place = asked or own
        if place.type == "cuda" and isinstance(kwargs.get("generator"), torch.Generator):
            raise WrongDevice(f"{name} on the GPU with a generator of the processor")
        args, kwargs = tuple(map(_without, args)), {key: _without(value) for key, value in kwargs.items()}
        if name in ("cuda", "cpu", "to") and asked is not None:
            found = args[0].to(*(() if name != "to" else args[1:]), **kwargs)
            found = found.clone() if found is args[0] and asked.type != own.type else found
        else:
            found = func(*args, **kwargs)
        if asked is not None or name == "__deepcopy__":
            self.places.put(found, GPU if place.type == "cuda" else CPU)
        return found

    def _asked(self, func: Any, name: str, args: Any, kwargs: Any) -> torch.device | None:
        """Where the result is wanted, if the call says so."""
        if name in ("cuda", "cpu"):
            return GPU if name == "cuda" else CPU
        named = [kwargs.get("device"), *(args[1:] if name == "to" else ())]
        for value in named:
            if isinstance(value, Tensor):
                return self.places.of(value)
            if isinstance(value, (str, torch.device)):
                return torch.device(value)
        makes = func in _device_constructors() or func is torch.from_numpy
        return CPU if makes and not kwargs.get("device") else None

    @staticmethod
    def _attribute(func: Any, x: Tensor, own: torch.device) -> Any:
        which = func.__self__.__name__
        if which in ("is_cuda", "is_cpu"):
            return (own.type == "cuda") == (which == "is_cuda")
        if which == "device":
            return CPU if own == ANYWHERE else own
        return func(x)


def _without(value: Any) -> Any:
    """An argument without the device that isn't there."""
    if isinstance(value, torch.device):
        return CPU if value.type == "cuda" else value
    return CPU if isinstance(value, str) and value.split(":")[0] == "cuda" else value


@contextlib.contextmanager
def pretend_gpu() -> Iterator[Places]:
    """Yields where tensors lie."""
    with PretendGPU() as gpu:
        yield gpu.places
