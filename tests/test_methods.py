"""The contract that every method keeps. A new method adds its small configurations to CASES and gets all of it."""

import contextlib
import copy
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

import unbraid
from helpers import (
    IMAGES,
    SMALL_CDDN,
    SMALL_LORD,
    VECTORS,
    Repeated,
    random_batch,
    random_data,
    random_items,
    smooth_batch,
)
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.memory import saved_bytes
from unbraid.core.method import Clock, Disentangler, Method, Translator
from unbraid.core.types import DOMAINS, DataSpec, Domain, ImageSpec, other
from unbraid.methods import METHODS
from unbraid.methods.cut import CUTConfig
from unbraid.methods.cyclegan import CycleGANConfig
from unbraid.methods.dtn import DTNConfig
from unbraid.methods.iiae import IIAEConfig
from unbraid.methods.munit import MUNITConfig
from unbraid.methods.pix2pix import Pix2PixConfig
from unbraid.methods.uncooperative import UncooperativeConfig
from unbraid.methods.xgan import XGANConfig
from unbraid.model.codes import evaluating
from unbraid.model.log import Log
from unbraid.model.run import Run
from unbraid.training.loop import fit, train_step


@dataclass(frozen=True)
class Case:
    method: str
    spec: DataSpec
    config: Any
    falls: tuple[str, ...] | None = ()
    """Terms that fall when all players learn a single batch: every one, if empty. Discriminators' needn't. None: no
    term must, for each network learns from what the others can't do yet."""

    @property
    def needs(self) -> type:
        return METHODS[self.method].needs

    def batch(self, count: int = 4) -> Any:
        return random_batch(self.spec, count, needs=self.needs)

    def build(self, seed: int = 0) -> Method[Any]:
        torch.manual_seed(seed)
        return METHODS[self.method](self.spec, self.config)

    def first(self) -> tuple[Method[Any], dict[str, Optimizer], Clock]:
        """A method, the optimisers of its first stage, and a moment of that stage."""
        method = self.build()
        stage = method.stages()[0].name
        return method, method.optimisers(stage), Clock(5, 0.1, stage)


SMALL = IIAEConfig(
    widths=(8, 8), decoder_widths=(8, 8), map_size=4, shared=4, dense_width=16, vector_widths=(16, 16, 8), anneal=10.0
)
ODD = DataSpec(ImageSpec(17, 22, 1), ImageSpec(17, 22, 5))
UNLIKE = DataSpec(ImageSpec(16, 24), ImageSpec(20, 16, 1))
LORD = replace(SMALL_LORD, code_rate=1e-2)
CLASSES = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32), items=8, classes=(4,))
CDDN = replace(SMALL_CDDN, dropout=(0.0, 0.5))
BARE = replace(
    CDDN,
    latent_discriminator=False,
    relu_on_code=True,
    noise=0.0,
    autoencoder="none",
    reversal=False,
    shared_alignment=0.0,
)
SIZES = DataSpec(ImageSpec(32, 32), ImageSpec(16, 16, 1))
UNCOOPERATIVE = UncooperativeConfig(width=4, blocks=2, discriminator_width=4, hidden=16, residual=3, history=6, bank=4)
CYCLEGAN = CycleGANConfig(width=4, blocks=1, discriminator_width=4, hidden=16, history=6)
XGAN = XGANConfig(
    widths=(8, 8, 8),
    decoder_widths=(8, 8, 8),
    dense=16,
    embedding=16,
    discriminator_widths=(4, 4),
    classifier=6,
    reconstruction=10.0,
)
REBUILT = ("reconstruction_a", "reconstruction_b")

CYCLES = ("cycle_informative", "cycle_plain")
BOTH_CYCLES = ("cycle_a", "cycle_b")
CASES = {
    "cddn": Case("cddn", IMAGES, CDDN, REBUILT),
    "cddn-odd": Case("cddn", ODD, CDDN, REBUILT),
    "cddn-two-sizes": Case("cddn", SIZES, CDDN, REBUILT),
    "cddn-ordinary": Case("cddn", IMAGES, replace(CDDN, autoencoder="ordinary"), REBUILT),
    "cddn-vectors": Case("cddn", VECTORS, replace(CDDN, vector_widths=(16, 16, 8), critic_widths=(32, 32)), None),
    "cddn-separate": Case("cddn", IMAGES, replace(CDDN, separate_optimisers=True, critic_chunk=50), REBUILT),
    "cddn-bare": Case("cddn", IMAGES, BARE, ("latent_shared_a", "latent_shared_b")),
    "cddn-no-latent": Case("cddn", IMAGES, replace(CDDN, latent=0.0, shared_norm="value", contrastive=1.0), REBUILT),
    "iiae-spatial": Case("iiae", IMAGES, SMALL),
    "iiae-flat": Case("iiae", IMAGES, replace(SMALL, code="flat")),
    "iiae-vectors": Case("iiae", VECTORS, replace(SMALL, squared=True)),
    "iiae-odd": Case("iiae", ODD, SMALL),
    "iiae-unlike": Case("iiae", UNLIKE, replace(SMALL, code="flat")),
    "iiae-no-interaction": Case("iiae", IMAGES, replace(SMALL, interaction=False)),
    "iiae-no-disentanglement": Case("iiae", IMAGES, replace(SMALL, disentanglement=False)),
    "iiae-gan": Case("iiae", IMAGES, replace(SMALL, gan=0.1, discriminator_width=4), REBUILT),
    "lord": Case("lord", CLASSES, LORD),
    "lord-two-domains": Case("lord", replace(CLASSES, classes=(2,), domains=DOMAINS), LORD),
    "lord-attributes": Case("lord", replace(CLASSES, classes=(2, 3)), LORD),
    "lord-grey-oblong": Case("lord", replace(CLASSES, a=ImageSpec(16, 48, 1), b=ImageSpec(16, 48, 1)), LORD),
    "lord-amortised": Case("lord", CLASSES, replace(LORD, inference="amortised")),
    "lord-amortised-kl": Case("lord", CLASSES, replace(LORD, inference="amortised", regularisation="kl")),
    "lord-semi-amortised": Case("lord", CLASSES, replace(LORD, inference="semi-amortised")),
    "lord-semi-amortised-kl": Case("lord", CLASSES, replace(LORD, inference="semi-amortised", regularisation="kl")),
    "lord-no-second-stage": Case("lord", CLASSES, replace(LORD, second_stage=False, fit_steps=3)),
    "lord-no-regularisation": Case("lord", CLASSES, replace(LORD, regularisation="none")),
}
CASES |= {
    "uncooperative": Case("uncooperative", IMAGES, UNCOOPERATIVE, None),
    "uncooperative-group": Case(
        "uncooperative",
        IMAGES,
        replace(UNCOOPERATIVE, norm="group", mask=True, residual_channels=2, discriminator_norm="instance"),
        None,
    ),
    "uncooperative-odd": Case("uncooperative", ODD, replace(UNCOOPERATIVE, informative="b"), None),
    "uncooperative-vectors": Case("uncooperative", VECTORS, UNCOOPERATIVE, None),
    "uncooperative-vectors-one": Case("uncooperative", VECTORS, replace(UNCOOPERATIVE, streams="one"), None),
    "uncooperative-plain": Case(
        "uncooperative",
        IMAGES,
        replace(UNCOOPERATIVE, discriminator_norm="none", gan_loss="logistic", history=0),
        None,
    ),
    "cooperative": Case("uncooperative", IMAGES, replace(UNCOOPERATIVE, cooperative=True), CYCLES),
    "cooperative-vectors": Case("uncooperative", VECTORS, replace(UNCOOPERATIVE, cooperative=True), CYCLES),
    "cyclegan": Case("cyclegan", IMAGES, replace(CYCLEGAN, identity=0.5), BOTH_CYCLES),
    "cyclegan-group": Case(
        "cyclegan", IMAGES, replace(CYCLEGAN, norm="group", discriminator_norm="spectral+instance"), BOTH_CYCLES
    ),
    "cyclegan-mask": Case(
        "cyclegan",
        ODD,
        replace(CYCLEGAN, norm="group", mask=True, discriminator_norm="none", gan_loss="logistic", r1=1.0),
        BOTH_CYCLES,
    ),
    "cyclegan-odd": Case("cyclegan", ODD, CYCLEGAN, BOTH_CYCLES),
    "cyclegan-vectors": Case("cyclegan", VECTORS, CYCLEGAN, BOTH_CYCLES),
}
XGAN_BARE = replace(XGAN, domain=0.0, semantic=0.0, gan=0.0, sharing="middle")
COLOUR_AND_GREY = DataSpec(ImageSpec(17, 22, 3), ImageSpec(17, 22, 1))
CASES |= {
    "xgan": Case("xgan", IMAGES, XGAN, REBUILT),
    "xgan-together": Case("xgan", IMAGES, replace(XGAN, discriminator_batch="together"), REBUILT),
    "xgan-colour-and-grey": Case("xgan", COLOUR_AND_GREY, replace(XGAN, gan_towards="both"), REBUILT),
    "xgan-small": Case(
        "xgan",
        IMAGES,
        replace(XGAN, discriminator_norm="none", r1=1.0, upsampling="nearest", gan_towards="both"),
        REBUILT,
    ),
    "xgan-bare": Case("xgan", IMAGES, XGAN_BARE),
}
CUT = CUTConfig(width=4, blocks=1, mask=True, discriminator_width=4, head=8, patches=32)
MUNIT = MUNITConfig(width=4, blocks=1, style=2, hidden=8, discriminator_width=4, scales=2)
PIX2PIX = Pix2PixConfig(width=4, discriminator_width=4)
DTN = DTNConfig(teacher="random", widths=(8, 8), discriminator_widths=(4, 8), smoothness=0.1)
DTN_SMALL = replace(DTN, normalise=True, discriminator_norm="none", r1=1.0, upsampling="nearest")
CASES |= {
    "cut": Case("cut", ODD, CUT, ("contrast_b", "identity_b")),
    "munit": Case("munit", ODD, MUNIT, REBUILT),
    "pix2pix": Case("pix2pix", COLOUR_AND_GREY, PIX2PIX, ("l1_a", "l1_b")),
    "dtn": Case("dtn", COLOUR_AND_GREY, DTN, None),
    "dtn-small": Case(
        "dtn", COLOUR_AND_GREY, replace(DTN, discriminator_norm="none", r1=1.0, upsampling="nearest"), None
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def test_every_method_has_a_case() -> None:
    assert {case.method for case in CASES.values()} == set(METHODS)


@each_case
def test_every_parameter_gets_a_gradient_in_some_stage(case: Case) -> None:
    method = case.build()
    reached: set[str] = set()
    for stage in method.stages():
        optimisers = method.optimisers(stage.name)
        for update in method.updates(Repeated(case.batch()), Clock(5, 0.1, stage.name)):
            for players, terms in update.items():
                parameters = movers(optimisers, players)
                torch.stack(list(terms.values())).sum().backward(inputs=parameters, retain_graph=True)
        reached |= {name for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == {name for name, _ in method.named_parameters()}


def movers(optimisers: dict[str, Optimizer], players: str | tuple[str, ...]) -> list[Tensor]:
    names = (players,) if isinstance(players, str) else players
    return [p for name in names for group in optimisers[name].param_groups for p in group["params"]]


@each_case
def test_only_movers_move(case: Case) -> None:
    method = case.build()
    for stage in method.stages():
        optimisers = method.optimisers(stage.name)
        before = copy.deepcopy(dict(method.named_parameters()))
        clock, moving = Clock(5, 0.1, stage.name), set()
        for update in method.updates(Repeated(case.batch()), clock):
            moving |= {id(p) for players in update for p in movers(optimisers, players)}
        train_step(method, optimisers, Repeated(case.batch()), clock)
        for name, parameter in method.named_parameters():
            moved = not torch.equal(parameter, before[name])
            assert moved == (id(parameter) in moving), name


@each_case
def test_losses_are_finite_scalars_with_unique_names(case: Case) -> None:
    method, _, clock = case.first()
    names: list[str] = []
    for update in method.updates(Repeated(case.batch()), clock):
        for terms in update.values():
            names += terms
            assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
    assert len(names) == len(set(names)) > 0


@each_case
def test_overfits_a_single_batch(case: Case) -> None:
    if case.falls is None:
        pytest.skip("each player alone learns it, see below")
    method, optimisers, clock = case.first()
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = max(group["lr"], 2e-3)
    batch, clock = smooth_batch(case.spec, needs=case.needs), Clock(0, 0, clock.stage)
    losses = []
    for _ in range(100):
        terms = train_step(method, optimisers, Repeated(batch), clock)
        losses.append(sum(float(terms[name]) for name in case.falls or terms))
        if len(losses) > 20 and sum(losses[-5:]) < 0.7 * sum(losses[:5]):
            return
    pytest.fail(f"from {losses[0]:.3g} to {losses[-1]:.3g} in {len(losses)} steps")


@each_case
def test_memory_of_a_batch_is_foretold_and_nothing_changes(case: Case) -> None:
    method, _, clock = case.first()
    before, drawn = copy.deepcopy(method.state_dict()), torch.get_rng_state()
    two, four, eight = (
        saved_bytes(method, Repeated(case.batch(count)), clock, contextlib.nullcontext()) for count in (2, 4, 8)
    )
    assert two + 3 * (four - two) == pytest.approx(eight, rel=0.05)
    assert eight > four
    assert torch.equal(drawn, torch.get_rng_state())
    torch.testing.assert_close(dict(method.state_dict()), dict(before), rtol=0, atol=0)


ADVERSARIAL = {name: case for name, case in CASES.items() if case.falls != ()}


@pytest.mark.parametrize("case", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_each_player_alone_learns_a_single_batch(case: Case) -> None:
    """Where players want opposite things their losses together say little: one learns, the others rest."""
    batch = smooth_batch(case.spec, needs=case.needs)
    method, players, clock = case.first()
    wanted: dict[str, list[str]] = {player: [] for player in players}
    for update in method.updates(Repeated(batch), clock):
        for who, terms in update.items():
            for player in (who,) if isinstance(who, str) else who:
                wanted[player] += terms
    for learner in players:
        learned = False
        method, optimisers, _ = case.first()
        for player, optimiser in optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = 2e-3 if player == learner else 0.0
        losses = []
        for _ in range(40):
            terms = train_step(method, optimisers, Repeated(batch), clock)
            losses.append(sum(float(terms[name]) for name in wanted[learner]))
            if len(losses) >= 10 and (learned := sum(losses[-5:]) / 5 < losses[0] - 0.02 * abs(losses[0])):
                break
        assert learned, learner


@each_case
def test_an_answer_does_not_depend_on_its_batch(case: Case) -> None:
    method, optimisers, clock = case.first()
    train_step(method, optimisers, Repeated(case.batch()), clock)
    for domain in method.sources():
        x = random_items(case.spec[domain], 5, 3).x
        with evaluating(method):
            together, alone = answers(method, x, domain), answers(method, x[2:3], domain)
        for one, other_one in zip(together, alone, strict=True):
            torch.testing.assert_close(one[2:3], other_one, rtol=1e-4, atol=1e-5)


def answers(method: Method[Any], x: Tensor, domain: Domain) -> list[Tensor]:
    """What the method makes of items without drawing anything: their codes, or else their translation."""
    if isinstance(method, Disentangler):
        codes = method.encode(x, domain)
        return [codes.shared, codes.exclusive]
    assert isinstance(method, Translator)
    return [method.translate(x, domain, other(domain))]


@each_case
def test_translations_and_decoded_codes_look_like_the_domain(case: Case) -> None:
    method = case.build()
    assert isinstance(method, Translator)
    for source in method.sources():
        target = other(source)
        x = random_items(case.spec[source], 3, 0).x
        with evaluating(method):
            style, again = None, []
            if isinstance(method, Disentangler):
                codes = method.encode(x, source)
                style = codes.exclusive if getattr(case.config, "inference", "") == "amortised" else None
                again = [method.decode(codes, source)]
            made = method.translate(x, source, target, style)
        assert made.shape == (3, *case.spec[target].shape)
        assert all(x.shape == one.shape for one in again)
        if isinstance(case.spec.a, ImageSpec):
            assert all(one.abs().max() <= 1 for one in (made, *again))


@each_case
def test_a_batch_of_one_trains_where_no_statistics_of_vectors_are_taken(case: Case) -> None:
    method, optimisers, clock = case.first()
    if any(isinstance(module, torch.nn.BatchNorm1d) for module in method.modules()):
        pytest.skip("batch statistics of one vector say nothing; refused by `fit`")
    losses = train_step(method, optimisers, Repeated(case.batch(1)), clock)
    assert all(value.isfinite() for value in losses.values())


class Stopped(Exception):
    pass


class StoppingLog(Log):
    """A log that ends training at its n-th step."""

    left = 0

    def progress(self, *_: object, **__: object) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stopped


def trained(case: Case, folder: Path, steps: int, stop: int = 0) -> tuple[Run, Method[Any]]:
    config = RunConfig(
        case.config,
        train=TrainConfig(steps=steps, batch=4, evaluate_every=4, precision="fp32", checkpoint_seconds=-1),
    )
    run = Run.open(folder, case.method, config)
    method = case.build()
    log = StoppingLog(folder, quiet=True)
    log.left = stop
    with contextlib.suppress(Stopped):
        fit(run, method, random_data(case.spec, case.needs), log)
    return run, method


def assert_same_state(first: Any, second: Any) -> None:
    if isinstance(first, Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            if key != "seconds":  # the clock on the wall is the one thing that differs
                assert_same_state(first[key], second[key])
    elif isinstance(first, list):
        for one, two in zip(first, second, strict=True):
            assert_same_state(one, two)
    else:
        assert first == second


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run, never stopped, of each case that is asked for."""
    folder = tmp_path_factory.mktemp("whole")
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    asked = {id(each.params.get("case")) for each in parameters if each}
    return {name: trained(case, folder / name, 10)[0] for name, case in CASES.items() if id(case) in asked}


@pytest.fixture(scope="module")
def elsewhere(whole: dict[str, Run]) -> dict[str, list[Tensor]]:
    """What their models make of the same items in another process."""
    program = (
        "import sys, torch, unbraid; from pathlib import Path; from test_methods import CASES, answers, evaluating;"
        "from helpers import random_items;"
        "models = {Path(path).name: unbraid.load(path).method.eval() for path in sys.argv[2:]};"
        "sides = {name: method.sources()[0] for name, method in models.items()};"
        "torch.set_grad_enabled(False);"
        "torch.save({name: answers(method, random_items(CASES[name].spec[sides[name]], 2, 5).x, sides[name])"
        " for name, method in models.items()}, sys.argv[1])"
    )
    paths = [str(run.path) for run in whole.values()]
    made = next(iter(whole.values())).path.parent / "made.pt"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program, str(made), *paths], check=True, env=environment)
    return torch.load(made)


@each_case
def test_resume_is_bitwise(case: Case, whole: dict[str, Run], tmp_path: Path) -> None:
    """Stopped once in each half, so in each of two stages."""
    for stop in (4, 4):
        trained(case, tmp_path, 10, stop)
    resumed, _ = trained(case, tmp_path, 10)
    name = next(name for name, one in CASES.items() if one is case)
    assert_same_state(whole[name].load_state(), resumed.load_state())


@each_case
def test_a_saved_model_answers_alike_in_a_fresh_process(
    case: Case, whole: dict[str, Run], elsewhere: dict[str, list[Tensor]]
) -> None:
    name = next(name for name, one in CASES.items() if one is case)
    method = unbraid.load(whole[name].path).method
    domain = method.sources()[0]
    with evaluating(method):
        here = answers(method, random_items(case.spec[domain], 2, 5).x, domain)
    for mine, theirs in zip(here, elsewhere[name], strict=True):
        assert torch.equal(mine, theirs)


@each_case
def test_the_state_survives_precision(case: Case) -> None:
    method, optimisers, clock = case.first()
    with_bf16 = torch.autocast("cpu", torch.bfloat16)
    losses = train_step(method, optimisers, Repeated(case.batch()), clock, with_bf16)
    assert all(value.isfinite() and value.dtype == torch.float32 for value in losses.values())
