"""A trained model as files that other programs run: ONNX, or torch's own exported programs (.pt2).

A file for each function and domain, a free number of items in each, export.json beside them, which says what goes in
and comes out, and samples of the prior of exclusive codes. Every file is run once and compared with the model.
Legend: n items.
"""

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unbraid.core.cache import save_array
from unbraid.core.files import write_atomically, write_json
from unbraid.core.method import Method
from unbraid.core.short import Short
from unbraid.core.types import DOMAINS, Codes, Domain, ImageSpec, Spec, UserError, other
from unbraid.core.version import __version__
from unbraid.model.restore import model_state
from unbraid.model.trained import Trained

Target = Literal["onnx", "torch"]
Function = Literal["encode", "decode", "translate"]
FUNCTIONS: tuple[Function, ...] = ("encode", "decode", "translate")
SAMPLES = 16
"""Exclusive codes drawn from the prior, for each domain that has some."""
TOLERANCE = 1e-3
"""Largest difference of a value between an exported function and the model; values of images are in [-1, 1]."""
FITTING = "scaled to cover height and width (bicubic, antialiased), middle kept; transparency on white; x / 127.5 - 1"


@dataclass(frozen=True)
class Job(Short):
    """One function to export: its file's name, what computes it, inputs of three items, and names of outputs."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


class _Encode(nn.Module):
    def __init__(self, method: Any, domain: Domain, exclusive: bool) -> None:
        super().__init__()
        self.method, self.domain, self.exclusive = method, domain, exclusive

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        codes = self.method.encode(x, self.domain)
        return (codes.shared, codes.exclusive) if self.exclusive else (codes.shared,)


class _Decode(nn.Module):
    def __init__(self, method: Any, domain: Domain) -> None:
        super().__init__()
        self.method, self.domain = method, domain

    def forward(self, shared: Tensor, exclusive: Tensor | None = None) -> tuple[Tensor, ...]:
        codes = Codes(shared, shared.new_zeros(shared.shape[0], 0) if exclusive is None else exclusive)
        return (self.method.decode(codes, self.domain),)


class _Translate(nn.Module):
    def __init__(self, method: Any, source: Domain, target: Domain) -> None:
        super().__init__()
        self.method, self.source, self.target = method, source, target

    def forward(self, x: Tensor, exclusive: Tensor | None = None) -> tuple[Tensor, ...]:
        style = x.new_zeros(x.shape[0], 0) if exclusive is None else exclusive
        return (self.method.translate(x, self.source, self.target, style),)


def export(
    model: Trained,
    to: Target,
    out: Path,
    only: Sequence[Function] = (),
    size: tuple[int, int] | None = None,
    tolerance: float = TOLERANCE,
    report: Callable[[str, float], None] = lambda name, difference: None,
) -> dict[str, Any]:
    """Writes a model's functions into a folder, compares each with the model, and says what they are in export.json.

    Args:
        model: On the processor.
        to: onnx or torch.
        out: Folder.
        only: Functions; all that the method has, if not given.
        size: Height and width of images, for networks that take any; the model's, if not given.
        tolerance: Largest difference of a value that is taken.
        report: Is told each file's name and largest difference.

    Returns:
        What export.json holds.

    Raises:
        UserError: A package is missing, the networks can't be exported so, or differ from the model by more.
    """
    if to == "onnx":
        _find_packages()
    model = _resized(model, size) if size else model
    specs = _specs(model)
    about: dict[str, Any] = {
        "comment": "made by unbraid",
        "unbraid": __version__,
        "method": model.name,
        "step": model.step,
        "functions": {},
        "items": {domain: _about(spec) for domain, spec in specs.items()},
        "exclusive_prior": {},
        "tolerance": tolerance,
    }
    priors = _priors(model, specs)
    for job in _jobs(model, specs, priors, only or FUNCTIONS):
        file = out / f"{job.name}.{'onnx' if to == 'onnx' else 'pt2'}"
        shapes, difference = _written(job, to, file, tolerance)
        about["functions"][job.name] = {"file": file.name, **shapes, "max_difference": difference}
        report(file.name, difference)
    for domain, samples in priors.items():
        values = samples.numpy()
        write_atomically(out / f"prior_{domain}.npy", lambda path, values=values: save_array(path, values))
        words = (type(model.method).prior.__doc__ or "").split(" See `")[0].split("\n")[0]  # type: ignore[attr-defined]
        about["exclusive_prior"][domain] = {"samples": f"prior_{domain}.npy", "size": samples.shape[1], "is": words}
    write_json(out / "export.json", about)
    return about


def names(to: Target) -> list[str]:
    """Returns the names of all files that an export may write."""
    ending = "onnx" if to == "onnx" else "pt2"
    functions = [f"{name}_{domain}" for name in ("encode", "decode") for domain in DOMAINS]
    functions += [f"translate_{source}_to_{target}" for source in DOMAINS for target in DOMAINS]
    return [*(f"{name}.{ending}" for name in functions), *(f"prior_{domain}.npy" for domain in DOMAINS), "export.json"]


def _resized(model: Trained, size: tuple[int, int]) -> Trained:
    """Returns the model with the same weights in networks for images of another size. Raises UserError if weights
    depend on the size."""
    if min(size) < 1:
        raise UserError(f"--size {size[0]} {size[1]}: height and width are 1 at least")
    specs: list[Spec] = []
    for spec in (model.spec.a, model.spec.b):
        if not isinstance(spec, ImageSpec):
            raise UserError(f"--size: {model.name} works on vectors here")
        specs.append(replace(spec, height=size[0], width=size[1]))
    method: Method[Any] = model.method
    try:
        result = type(method)(replace(model.spec, a=specs[0], b=specs[1]), method.config).eval()
        kept = {name: value for name, value in result.state_dict().items() if name.startswith(method.training_only)}
        result.load_state_dict({**kept, **model_state(method)})
    except (RuntimeError, ValueError, UserError) as error:
        raise UserError(
            f"--size {size[0]} {size[1]}: the networks of this model of {model.name} are made for "
            f"{model.spec.a}: leave it out"
        ) from error
    return Trained(result, model.space, model.name, model.step)


def _specs(model: Trained) -> dict[Domain, Spec]:
    """Returns the domains that a model has, and what their items look like."""
    domains: tuple[Domain, ...] = ("a",) if model.spec.classes and not model.spec.domains else DOMAINS
    return {domain: model.spec[domain] for domain in domains}


def _about(spec: Spec) -> dict[str, Any]:
    if not isinstance(spec, ImageSpec):
        return {"kind": "vectors", "size": spec.size}
    channels, height, width = spec.shape
    modes = {1: {"mode": "L"}, 3: {"mode": "RGB"}}
    size = {"channels": channels, "height": height, "width": width}
    return {"kind": "images", **size, **modes.get(channels, {}), "layout": "nchw", "range": [-1, 1], "fitting": FITTING}


def _priors(model: Trained, specs: dict[Domain, Spec]) -> dict[Domain, Tensor]:
    """Returns samples of the prior of each domain that has exclusive codes, (SAMPLES, d)."""
    found: dict[Domain, Tensor] = {}
    coder = model.disentangler()
    if coder is None:
        return found
    for domain in specs:
        with contextlib.suppress(UserError), model.computing():  # a method without a prior says so
            samples = coder.prior(SAMPLES, domain, torch.Generator().manual_seed(0)).cpu()
            if samples.shape[1]:
                found[domain] = samples
    return found


def _jobs(
    model: Trained, specs: dict[Domain, Spec], priors: dict[Domain, Tensor], only: Sequence[Function]
) -> Iterator[Job]:
    """Yields the functions that a method has."""
    method, coder, found = model.method, model.disentangler(), False
    if method.fits_codes() and ("encode" in only or "translate" in only):
        raise UserError(
            f"This {model.name} has no encoder: encode and translate optimise the codes of each image, which no "
            "exported program does. --only decode leaves them out"
        )
    random = torch.Generator().manual_seed(0)
    for domain, spec in specs.items():
        x = torch.rand(3, *spec.shape, generator=random) * 2 - 1
        target = other(domain) if len(specs) > 1 else domain
        if coder is not None and ("encode" in only or "decode" in only):
            with model.computing():
                codes = coder.encode(x, domain)
            exclusive = {"exclusive": codes.exclusive} if codes.exclusive.shape[1] else {}
            if "encode" in only:
                found = True
                yield Job(
                    f"encode_{domain}", _Encode(method, domain, bool(exclusive)), {"x": x}, ("shared", *exclusive)
                )
            if "decode" in only:
                found = True
                yield Job(f"decode_{domain}", _Decode(method, domain), {"shared": codes.shared, **exclusive}, ("y",))
        if model.translator() is not None and "translate" in only and domain in method.sources():
            found = True
            style = priors[target][:3] if target in priors else _own_style(model, specs[target], target)
            given = {"x": x} if style is None else {"x": x, "exclusive": style}
            yield Job(f"translate_{domain}_to_{target}", _Translate(method, domain, target), given, ("y",))
    if not found:
        raise UserError(f"{model.name} has no {' or '.join(only)}")


def _own_style(model: Trained, spec: Spec, domain: Domain) -> Tensor | None:
    """Returns exclusive codes of some items, for a domain whose codes have no prior; None if it has no codes."""
    if not model.disentangler() or not model.exclusive_size(domain):
        return None
    return model.encode(torch.zeros(3, *spec.shape), domain).exclusive


def _traced(job: Job) -> tuple[Any, tuple[Tensor, ...]]:
    """Returns a function as a program for any number of items, and what it gives for the job's."""
    given = tuple(job.inputs.values())
    try:
        expected = job.module(*given)
        batch = torch.export.Dim("n", min=1, max=2**16)
        return torch.export.export(job.module, given, dynamic_shapes=tuple({0: batch} for _ in given)), expected
    except Exception as error:  # torch raises many kinds for what it can't trace
        raise UserError(
            f"{job.name} can't be exported, for its networks can't be traced for any number of items "
            f"({type(error).__name__}: {(str(error).splitlines() or [''])[0]}). --only leaves functions out"
        ) from error


def _written(job: Job, to: Target, file: Path, tolerance: float) -> tuple[dict[str, Any], float]:
    """Writes one function and runs it on one item and on three. Returns the shapes of what goes in and comes out, and
    the largest difference from the model."""
    given = tuple(job.inputs.values())
    with torch.no_grad(), _quiet():
        program, expected = _traced(job)
        if to == "torch":
            write_atomically(file, lambda path: _save_program(program, path))
            run = _loaded(file)
        else:
            write_atomically(file, lambda path: _save_onnx(program, job, path))
            run = _session(file)
        difference = 0.0
        for count in (1, 3):
            found = run(tuple(value[:count] for value in given))
            for one, wanted in zip(found, expected, strict=True):
                difference = max(difference, float((one - wanted[:count]).abs().max()))
    if not difference <= tolerance:
        file.unlink()
        raise UserError(
            f"{file.name} differs from the model by {difference:.2g}, more than --tolerance {tolerance:g}; it was "
            "deleted"
        )
    shapes = {
        "inputs": {name: ["n", *value.shape[1:]] for name, value in job.inputs.items()},
        "outputs": {name: ["n", *value.shape[1:]] for name, value in zip(job.outputs, expected, strict=True)},
    }
    return shapes, difference


def _find_packages() -> None:
    try:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            importlib.import_module(name)
    except ImportError as error:
        raise UserError("Exporting to ONNX needs packages: pip install 'unbraid[onnx]'") from error


def _save_program(program: Any, path: Path) -> None:
    with path.open("wb") as file:
        torch.export.save(program, file)


def _loaded(file: Path) -> Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]:
    with file.open("rb") as opened:
        module: Any = torch.export.load(opened).module()
    return lambda given: module(*given)


def _save_onnx(program: Any, job: Job, path: Path) -> None:
    result: Any = torch.onnx.export(
        program,
        tuple(job.inputs.values()),
        dynamo=True,
        verbose=False,
        input_names=list(job.inputs),
        output_names=list(job.outputs),
    )
    result.save(path)


def _session(file: Path) -> Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]:
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        values = {name: value.numpy() for name, value in zip(names, given, strict=True)}
        return tuple(torch.from_numpy(value) for value in session.run(None, values))

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what torch's exporters print and warn of on the way."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
