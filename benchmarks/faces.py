"""Photos of faces to sketches and back, as a user's own folders: how near samples come to the truth.

    python benchmarks/faces.py --root DATA [--parts own random] [NAME ...]

Trains what is not there yet, by the commands that it prints, into runs/faces; measures on the test part and writes
benchmarks/results/iiae-faces.json. Parts: own, the set's own (88 people to train on, 100 to test); random, all 188
people as two folders, a tenth of them to test on.
"""

import argparse
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import unbraid
from unbraid.core.config import PACKAGED
from unbraid.core.files import read_json, write_json
from unbraid.core.types import DOMAINS, other
from unbraid.data.loading import load as load_data
from unbraid.data.parts import PairedPart
from unbraid.evaluation.metrics.images import Lpips
from unbraid.evaluation.metrics.retrieval import recall
from unbraid.model.codes import encode_all, read, sample_all
from unbraid.model.run import Run
from unbraid.nn.pretrained.perceptual import find_weights

HERE = Path(__file__).parent
PAPER = (
    "--method.widths 32 64 128 256 --method.decoder-widths 512 256 128 64 --method.shared 128 --method.rate 2e-4 "
    "--method.no-decay --method.anneal 25000 --method.perceptual-weight 0"
)
RUNS: dict[str, str] = {
    "default": "",
    "from-the-start": "--method.perceptual-from 0",
    "no-perceptual-loss": "--method.perceptual-weight 0",
    "gan": "--method.gan 0.03",
    "gan-alone": "--method.gan 0.03 --method.perceptual-weight 0",
    "paper": PAPER,
    "paper-torch": f"{PAPER} --method.initial torch",
}
STEPS, SIZE = 1000, 64


def trained(name: str, parts: str, root: Path, folder: Path) -> tuple[Path, str]:
    """The run's folder, and the command with which it was trained."""
    data, shown = f"--data.set cuhk --data.root {root}", "--data.set cuhk --data.root DATA"
    if parts == "random":
        sides = written(root, folder / "images")
        data, shown = (f"--data.a {folder}/photo --data.b {folder}/sketch" for folder in (sides, "IMAGES"))
    rest = f"--data.size {SIZE} {SIZE} --train.steps {STEPS} {RUNS[name]}".strip()
    run = folder / f"{parts}-{name}"
    words = ["train", "iiae", *shlex.split(f"{data} {rest}"), "--run", str(run)]
    print("unbraid", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "unbraid", *words], check=True)
    return run, f"unbraid train iiae {shown} {rest} --run RUN"


def written(root: Path, folder: Path) -> Path:
    """The set as two folders of images."""
    with np.load(root / "cuhk" / "cuhk_student_128x160.npz") as arrays:
        for side in ("photo", "sketch"):
            (folder / side).mkdir(parents=True, exist_ok=True)
            for number, x in enumerate(arrays[side]):
                Image.fromarray(x).save(folder / side / f"{number:03d}.png")
    return folder


@torch.inference_mode()
def measured(run: Path) -> dict[str, Any]:
    """LPIPS of one sample for each test image to its counterpart, beside another person's; the share of the
    counterpart's white places (over .9) that are wrong by more than 1 of a range of 2; recall of shared codes."""
    model, part = unbraid.load(run), load_data(Run.existing(run).config.data).test
    method = model.method
    assert isinstance(part, PairedPart)
    lpips = Lpips(find_weights("alexnet", PACKAGED))
    found: dict[str, Any] = {"people": len(part), "step": model.step}
    codes = {domain: encode_all(method, read(part, domain), domain).shared for domain in DOMAINS}
    hits = recall(codes["a"], codes["b"], None, "euclidean", None)
    found["recall, %"] = {way: round(values["1"], 1) for way, values in hits.items()}
    for source in DOMAINS:
        x, true = read(part, source), read(part, other(source))
        made = sample_all(method, x, source, 1, torch.Generator().manual_seed(0))[:, 0]
        person = true.roll(len(true) // 2, 0)
        found[f"{source}->{other(source)}"] = {
            "LPIPS": round(float(lpips(made, true).mean()), 4),
            "LPIPS of another person": round(float(lpips(person, true).mean()), 4),
            "white places wrong, %": round(100 * float(((made - true).abs() > 1)[true > 0.9].float().mean()), 3),
        }
    return found


def main() -> None:
    """Runs, measures, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *RUNS], help="runs; all, if none is named")
    parser.add_argument("--root", type=Path, required=True, help="folder of the known data sets")
    parser.add_argument("--parts", nargs="+", choices=("own", "random"), default=["own", "random"])
    parser.add_argument("--folder", type=Path, default=Path("runs/faces"))
    asked = parser.parse_args()
    path = HERE / "results" / "iiae-faces.json"
    results: dict[str, Any] = read_json(path) if path.exists() else {}
    for parts in asked.parts:
        for name in asked.names or RUNS:
            run, command = trained(name, parts, asked.root, asked.folder)
            facts = {"command": command, "seed": 0, "date": date.today().isoformat()}
            results[f"{parts}, {name}"] = {**facts, **measured(run)}
            write_json(path, dict(sorted(results.items())))
    print("| parts, run | LPIPS a->b (another person) | b->a | white wrong, % | recall@1 |\n|---|---|---|---|---|")
    for name, row in results.items():
        ways = [row["a->b"], row["b->a"]]
        near = [f"{way['LPIPS']:.3f} ({way['LPIPS of another person']:.3f})" for way in ways]
        white = " / ".join(f"{way['white places wrong, %']:.2f}" for way in ways)
        hits = " / ".join(f"{value:.0f}" for value in row["recall, %"].values())
        print(f"| {name} | {near[0]} | {near[1]} | {white} | {hits} |")


if __name__ == "__main__":
    main()
