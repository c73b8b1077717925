"""Ranks: processes that train one model together, each on its share of every batch, or measure it together. In one
process nothing here acts.

torchrun starts them and sets RANK, WORLD_SIZE and LOCAL_RANK. A step gives every rank the same weights, those that one
process would get from the whole batch, to rounding: gradients are averaged, batch-norm has the statistics of the whole
batch, and random numbers are drawn for the whole batch on each rank, which keeps its share. A method needs `gather`
only where a loss mixes items of the batch.

Shape legend: w ranks, n items of a rank's share, k tensors of shares in one: rows are (k n), of all ranks (k w n).
"""

import contextlib
import datetime
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unbraid.core.types import UserError

BUCKET = 2**25
"""Bytes of gradients that are averaged at a time."""
PATIENCE = datetime.timedelta(days=7)
"""Longest time for which ranks wait for the first one, which measures and saves."""
Value = TypeVar("Value")


class LostRank(UserError):
    """Another rank ended, or can't be reached."""


@dataclass(frozen=True)
class Ranks:
    """The ranks that work together, as one of them sees them.

    Args:
        rank: Number of this process.
        count: Number of processes.
        group: Their process group for tensors; None: the default one.
        control: Their process group for decisions, on the CPU.
    """

    rank: int = 0
    count: int = 1
    group: dist.ProcessGroup | None = None
    control: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Returns whether this rank is the one that writes and speaks."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Returns the rows of a batch that are this rank's. Raises UserError if the batch can't be divided equally."""
        if batch % self.count:
            raise UserError(
                f"--train.batch {batch} is the batch of all {self.count} ranks together, which can't share it equally: "
                f"give a multiple of {self.count}, such as {batch - batch % self.count or self.count}"
            )
        size = batch // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    @contextlib.contextmanager
    def step(self, batch: int) -> Iterator[None]:
        """Lets random numbers, dropout, batch-norm and `gather` act on the whole batch inside the block.

        Args:
            batch: Size of the whole batch.
        """
        if self.count == 1:
            yield
            return
        global _step
        with _Step(self, batch // self.count) as _step:
            try:
                yield
            finally:
                _step = None

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by their mean over ranks, in buckets."""
        for bucket in _buckets(tensors) if self.count > 1 else ():
            flat = torch.cat([each.reshape(-1) for each in bucket])
            _call(dist.all_reduce, flat, group=self.group)
            parts = (flat / self.count).split([each.numel() for each in bucket])
            for each, part in zip(bucket, parts, strict=True):
                each.copy_(part.view(each.shape))

    @torch.no_grad()
    def average_gradients(self, parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Averages gradients over ranks, and the loss, which is returned. Gradients of tables stay sparse."""
        mean, dense = loss.detach().reshape(1).clone(), []
        for parameter in parameters if self.count > 1 else ():
            if parameter.grad is not None and parameter.grad.is_sparse:
                parameter.grad = self._every_row(parameter.grad)
            elif parameter.grad is not None:
                dense.append(parameter.grad)
        self.average([*dense, mean])
        return mean[0]

    def _every_row(self, gradient: Tensor) -> Tensor:
        """Returns the mean of the ranks' sparse gradients, which hold as many rows each."""
        rows, values = gradient._indices()[0], gradient._values()
        rows, values = self._all_gather(rows).flatten(0, 1), self._all_gather(values).flatten(0, 1)
        return torch.sparse_coo_tensor(rows[None], values / self.count, gradient.shape, check_invariants=False)

    def _all_gather(self, x: Tensor) -> Tensor:
        """Returns the tensors of all ranks, (w, *x.shape)."""
        x = x.contiguous()
        every = x.new_empty(self.count, *x.shape)
        _call(dist.all_gather, list(every.unbind()), x, group=self.group)
        return every

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by those of the first rank."""
        for each in tensors if self.count > 1 else ():
            whole = each.contiguous()
            _call(dist.broadcast, whole, group=self.group, group_src=0)
            each.copy_(whole)

    def agree(self, stop: bool, *values: float) -> tuple[bool, tuple[float, ...]]:
        """Returns whether any rank wants to stop, and the first rank's values. Waits for all ranks."""
        if self.count == 1:
            return stop, values
        own = torch.tensor([stop, *(value * self.first for value in values)], dtype=torch.float64, device="cpu")
        _call(dist.all_reduce, own, group=self.control)
        return bool(own[0] > 0), tuple(own[1:].tolist())

    def wait(self) -> None:
        """Waits for all ranks."""
        self.agree(False)

    def texts(self, own: str) -> list[str]:
        """Returns the texts of all ranks, each of which gives its own, which is not empty. Waits for all ranks."""
        if self.count == 1:
            return [own]
        found = torch.frombuffer(bytearray(own.encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64, device="cpu") for _ in range(self.count)]
        _call(dist.all_gather, sizes, torch.tensor([len(found)], device="cpu"), group=self.control)
        longest = int(max(sizes))
        every = [torch.zeros(longest, dtype=torch.uint8, device="cpu") for _ in range(self.count)]
        _call(dist.all_gather, every, nn.functional.pad(found, (0, longest - len(found))), group=self.control)
        return [text[: int(size)].numpy().tobytes().decode() for text, size in zip(every, sizes, strict=True)]

    def check_same(self, text: str, what: str) -> None:
        """Raises UserError, on every rank, unless all ranks give the same text."""
        if self.count == 1:
            return
        every = self.texts(text)
        unlike = [str(rank) for rank, other in enumerate(every) if other != every[0]]
        if unlike:
            raise UserError(f"{what} not the same on all ranks: other than on rank 0 on {', '.join(unlike)}")


SINGLE = Ranks()
"""One process."""


def count() -> int:
    """Returns the number of ranks that torchrun has started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def number() -> int:
    """Returns the number of this rank."""
    return int(os.environ["RANK"]) if count() > 1 else 0


@contextlib.contextmanager
def joined(device: torch.device, flag: str = "--train.device") -> Iterator[Ranks]:
    """Joins the ranks that torchrun has started. Without it, or for one process, yields `SINGLE`.

    Args:
        device: Device to compute on; of GPUs each rank takes its own.
        flag: The flag that names it, for messages.

    Raises:
        UserError: There are fewer GPUs on this machine than ranks, or the device is no rank's own.
    """
    if count() == 1:
        yield SINGLE
        return
    if device.type == "mps" or device.index is not None:
        raise UserError(f"{flag} {device}: torchrun gives each rank its own GPU. Leave it out, or give cpu")
    if device.type == "cuda":
        local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= there:
            raise UserError(
                f"Rank {number()} is number {local + 1} on its machine, which has {there} GPUs: give torchrun "
                f"--nproc-per-node {there}, or {flag} cpu"
            )
        torch.cuda.set_device(local)
    # gloo notices at once when another rank ends; NCCL has its own, shorter patience
    gpu = device.type == "cuda"
    _call(dist.init_process_group, "nccl" if gpu else "gloo", timeout=None if gpu else PATIENCE)
    control = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(control, dist.ProcessGroup)
    yield Ranks(number(), count(), None, control)
    dist.destroy_process_group()  # not after an error: it would wait for those who are gone


def _call(operation: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """Runs a collective operation. Raises LostRank if it fails."""
    try:
        operation(*arguments, **named)
    except RuntimeError as error:
        found = re.sub(r"^\[\S*\] *", "", str(error)).split(". ")[0]
        raise LostRank(
            "Another rank ended or can't be reached; its own message says why, if it has one. What was saved is kept: "
            f"give the same command again ({found})"
        ) from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yields the tensors in groups of one type and of at most BUCKET bytes, or of one tensor."""
    bucket: list[Tensor] = []
    for each in tensors:
        size = sum(one.nbytes for one in bucket) + each.nbytes
        if bucket and (size > BUCKET or each.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(each)
    if bucket:
        yield bucket


def gather(x: Tensor) -> Tensor:
    """Returns the items of all ranks in the order of the whole batch, (k n, ...) -> (k w n, ...), differentiably.

    In one process, and outside of a training step, x itself.
    """
    return x if _step is None else _Gathered.apply(x, _step)  # pyright: ignore[reportReturnType]


def on_whole_batch(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Returns this rank's share of a function of the items of all ranks, which draws the same numbers on each."""
    if (step := _step) is None:
        return function(x)
    with step.paused():
        return step.own(function(gather(x)))


def stepping() -> bool:
    """Returns whether a step of several ranks is under way."""
    return _step is not None


class _Step(TorchFunctionMode):
    """Replaces functions that draw for each item, and batch-norm, by those of the whole batch."""

    def __init__(self, ranks: Ranks, items: int) -> None:
        super().__init__()
        self.ranks, self.items, self._paused = ranks, items, False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        replacement = None if self._paused else REPLACED.get(func)
        return replacement(self, func, *args, **(kwargs or {})) if replacement else func(*args, **(kwargs or {}))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves functions as they are inside the block."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def own(self, whole: Tensor) -> Tensor:
        """Returns this rank's share, (k w n, ...) -> (k n, ...)."""
        shares = whole.unflatten(0, (-1, self.ranks.count, self.items))
        return shares[:, self.ranks.rank].flatten(0, 1)

    def every(self, x: Tensor) -> Tensor:
        """Returns the items of all ranks, (k n, ...) -> (k w n, ...)."""
        return self.ranks._all_gather(x.unflatten(0, (-1, self.items))).transpose(0, 1).flatten(0, 2)

    def holds(self, rows: int) -> bool:
        """Returns whether so many rows are items, of one share or several."""
        return rows > 0 and rows % self.items == 0

    def blank(self, x: Tensor) -> Tensor:
        """Returns an empty tensor like x for the whole batch, laid out as one process would have it."""
        like, item = torch.empty_like(x), x[0].numel()
        strides = (item, *like.stride()[1:])
        shape = (len(x) * self.ranks.count, *x.shape[1:])
        if max(strides) > item:  # items don't lie one behind the other
            return x.new_empty(shape)
        return torch.empty_strided(shape, strides, dtype=x.dtype, device=x.device)

    def like(self, func: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Draws as many numbers as x has: randn_like and its kind."""
        if not (x.ndim and self.holds(len(x))):
            return func(x, *args, **kwargs)
        return self.own(func(self.blank(x.detach()), *args, **kwargs))

    def sized(self, func: Callable[..., Tensor], *size: Any, **kwargs: Any) -> Tensor:
        """Draws numbers of a size: rand and randn."""
        shape = tuple(size[0]) if size and isinstance(size[0], Sequence) else size
        if not shape or kwargs.get("generator") is not None or not self.holds(shape[0]):
            return func(*size, **kwargs)
        return self.own(func((shape[0] * self.ranks.count, *shape[1:]), **kwargs))

    def dropout(
        self, func: Callable[..., Tensor], x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        """Drops what one process would drop."""
        if not (training and p and self.holds(len(x))):
            return func(x, p, training, inplace)
        return x * self.own(func(self.blank(x.detach()).fill_(1.0), p, True, False))

    def batch_norm(
        self,
        func: Callable[..., Tensor],
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Normalises by mean and variance of the whole batch."""
        if not training:
            return func(x, running_mean, running_var, weight, bias, training, momentum, eps)
        result, mean, variance = _BatchNorm.apply(x, weight, bias, eps, self)  # pyright: ignore[reportGeneralTypeIssues]
        values = self.ranks.count * x.numel() // x.shape[1]
        with torch.no_grad():
            if running_mean is not None and running_var is not None:
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((variance * values / max(values - 1, 1)).to(running_var.dtype), momentum)
        return result


_step: _Step | None = None

REPLACED: dict[Callable[..., Any], Callable[..., Any]] = {
    **dict.fromkeys((torch.randn_like, torch.rand_like), _Step.like),
    **dict.fromkeys((torch.randn, torch.rand), _Step.sized),
    **dict.fromkeys((nn.functional.dropout, nn.functional.dropout1d, nn.functional.dropout2d), _Step.dropout),
    nn.functional.batch_norm: _Step.batch_norm,
}
"""Functions that depend on the batch, and what a step of several ranks does instead."""


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: _Step) -> Tensor:
        ctx.step = step
        return step.every(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        whole = gradient.clone(memory_format=torch.contiguous_format)
        _call(dist.all_reduce, whole, group=ctx.step.ranks.group)
        return ctx.step.own(whole), None


class _BatchNorm(torch.autograd.Function):
    """Batch-norm over the shares of all ranks; one collective operation in each direction."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, step: _Step
    ) -> tuple[Tensor, Tensor, Tensor]:
        variance, mean = torch.var_mean(_wide(x), _others(x), correction=0)
        means, variances = step.ranks._all_gather(torch.stack([mean, variance])).unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        root = (variance + eps).rsqrt()
        factor = root if weight is None else root * weight
        offset = -mean * factor if bias is None else bias - mean * factor
        ctx.save_for_backward(x, mean, root, factor)
        ctx.step, ctx.affine = step, (weight is not None, bias is not None)
        ctx.mark_non_differentiable(mean, variance)
        result = torch.addcmul(_by_channel(offset, x), _wide(x), _by_channel(factor, x)).to(x.dtype)
        return result, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, mean, root, factor = ctx.saved_tensors
        wide = _wide(gradient)
        total = wide.sum(_others(x))
        along = root * ((wide * x).sum(_others(x)) - mean * total)  # gradient times normalised x
        sums = torch.stack([total, along])
        _call(dist.all_reduce, sums, group=ctx.step.ranks.group)
        every, every_along = sums / (ctx.step.ranks.count * (x.numel() // x.shape[1]))
        back = -factor * root * every_along
        moved = _wide(x) * _by_channel(back, x) + _by_channel(-factor * every - back * mean, x)
        moved = torch.addcmul(moved, wide, _by_channel(factor, x)).to(x.dtype)
        return moved, along if ctx.affine[0] else None, total if ctx.affine[1] else None, None, None


def _others(x: Tensor) -> list[int]:
    """Returns all dimensions but that of channels."""
    return [0, *range(2, x.ndim)]


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.ndim - 2))


def _wide(x: Tensor) -> Tensor:
    """Converts to float32, except float64."""
    return x if x.dtype == torch.float64 else x.float()
