"""Takes what is worth publishing out of finished, evaluated runs.

    python benchmarks/collect.py runs/iiae-maps [more runs]

For each run it writes benchmarks/results/RUN.json: the command, the protocol, the figures, the curve on the validation
part, the time; and docs/pictures/RUN-curve.png, with some of the pictures that `evaluate` drew beside it. Then
it writes the tables of docs/benchmarks.md and the figures of `unbraid recipes` anew from all results.
"""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

import figures
from unbraid.config import PLACES, flat, to_json
from unbraid.files import read_json, write_json
from unbraid.log import read_log
from unbraid.metrics.probes import SURE
from unbraid.recipes import RECIPES
from unbraid.types import DOMAINS

HERE = Path(__file__).parent
PICTURES = HERE.parent / "docs" / "pictures"
PICTURED = (
    "translate-a-to-b.png",
    "translate-b-to-a.png",
    "analogy-a.png",
    "analogy-b.png",
    "interpolate-shared-a.png",
    "interpolate-exclusive-a.png",
    "transfer.png",
    "transfer-training-classes.png",
    "interpolate-content-a.png",
    "swap-skinColor.png",
    "cheat-a-to-b.png",
)
SHOWN = (
    "cddn-mnist-cdcb",
    "cddn-cars",
    "cddn-emoji",
    "cddn-facades",
    "cddn-maps",
    "iiae-car-sides",
    "iiae-emoji",
    "lord-avataaars-attributes",
    "demo",
    "iiae-mnist-cdcb",
    "iiae-maps",
    "iiae-facades",
    "iiae-cars",
    "lord-cars3d",
    "lord-emoji-styles",
    "lord-emoji-two-classes",
    "uncooperative-relit",
    "cooperative-relit",
    "cyclegan-relit",
    "cyclegan-maps",
    "uncooperative-cuhk",
    "uncooperative-maps",
    "xgan-emoji",
    "cyclegan-emoji",
    "xgan-mnist-cdcb",
    "xgan-cuhk-avataaars",
)
"""Runs whose pictures the documentation shows."""
PAGE = HERE.parent / "docs" / "benchmarks.md"


def command(config: dict[str, Any]) -> str:
    """The command that repeats the run: its recipe and what was changed in it."""
    recipe = config["recipe"]
    asked, usual = flat(config["config"]), flat(to_json(RECIPES[recipe].make()))
    changed = {key: value for key, value in asked.items() if key in usual and usual[key] != value}
    words = ["unbraid", "train", recipe, "--run", f"runs/{recipe}"]
    words += ["--data.root", "DATA"] * (asked["data.root"] is not None)
    for key, value in changed.items():
        section, name = key.replace("_", "-").rsplit(".", 1)
        if isinstance(value, bool):
            words.append(f"--{section}.{'' if value else 'no-'}{name}")
        elif key not in PLACES:
            words += [f"--{key.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return " ".join(words)


def collect(run: Path) -> dict[str, Any]:
    """The record of one run."""
    config, metrics = read_json(run / "config.json"), read_json(run / "metrics.json")
    rows = read_log(run / "log.jsonl")
    ended = {row["stage"]: row["seconds"] for row in rows}  # the last of each stage
    steps = {row["stage"]: row["step"] for row in rows}
    curve = [
        {
            "minutes": round((row["seconds"] + sum(s for stage, s in ended.items() if stage < row["stage"])) / 60, 2),
            "step": row["step"] + sum(s for stage, s in steps.items() if stage < row["stage"]),
            **row["validation"],
        }
        for row in rows
        if "validation" in row
    ]
    return {
        "command": command(config),
        "device": next(row["event"].split(", ", 1)[1] for row in rows if "event" in row),
        "minutes": curve[-1]["minutes"],
        "steps": curve[-1]["step"],
        "metrics": metrics,
        "curve": curve,
    }


def draw(record: dict[str, Any], path: Path) -> None:
    """Held-out recall@1, or PSNR, over the minutes of training; nothing if neither was measured."""
    figure, axes = pyplot.subplots(figsize=(6, 3.2), layout="constrained")
    retrieval = "a->b" in record["curve"][-1]
    for name in ("a->b", "b->a") if retrieval else ("psnr", "transfer_psnr"):
        points = [point for point in record["curve"] if name in point]
        if points:
            axes.plot([p["minutes"] for p in points], [p[name] for p in points], marker=".", label=name)
    if not axes.lines:
        pyplot.close(figure)
        return
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("recall@1, validation part, %" if retrieval else "validation part, dB")
    if retrieval:
        axes.set_ylim(0, 101)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw_watched(run: Path, path: Path) -> None:
    """What a method watches over the minutes of training, and how much its samples cover and vary; if it watches."""
    rows = read_log(run / "log.jsonl")
    watched = [(row["seconds"] / 60, row["watched"]) for row in rows if "watched" in row]
    held_out = [(row["seconds"] / 60, row["validation"]) for row in rows if "validation" in row]
    if not watched:
        return
    figure, panels = pyplot.subplots(2, 2, figsize=(9, 5.6), layout="constrained")
    shown = {
        "critics' distances": (watched, "distance"),
        "critics' slopes": (watched, "slope"),
        "lengths of gradients": (watched, "gradient norm"),
        "samples on the validation part, %": (held_out, ("coverage", "variety")),
    }
    for axes, (title, (points, part)) in zip(panels.flat, shown.items(), strict=True):
        parts = (part,) if isinstance(part, str) else part
        for name in [name for name in points[-1][1] if any(one in name for one in parts)]:
            known = [(minutes, values[name]) for minutes, values in points if name in values]
            axes.plot(*zip(*known, strict=True), label=name.replace("_", " "), linewidth=0.8)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("minutes of training", fontsize=8)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def row(record: dict[str, Any]) -> str:
    """One line of the table of results."""
    metrics = record["metrics"]
    protocol = metrics["protocol"]

    def both(recall: dict[str, Any] | None) -> str:
        return " / ".join(f"{recall[way]['1']:.2f}" for way in ("a->b", "b->a")) if recall else "-"

    distances = {protocol["distance"]: metrics["recall"]["shared"]}
    names = ("whitened", "cosine", "euclidean")
    distances |= {name: metrics[f"recall_{name}"]["shared"] for name in names if f"recall_{name}" in metrics}
    cells = [
        f"`{record['command']}`",
        protocol["queries"],
        protocol["distance"],
        f"**{both(metrics['recall']['shared'])}**",
        *(both(distances.get(name)) for name in names),
        both(metrics["recall"].get("exclusive")),
        both(metrics["recall"].get("pixels")),
        both(metrics.get("recall_label", {}).get("shared")),
        f"{record['minutes']:.1f}",
        record["steps"],
        protocol["seed"],
        protocol["date"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def figure(values: dict[str, Any], name: str, digits: int = 4) -> str:
    """A figure, or "-" where it isn't measured."""
    return f"{values[name]:.{digits}f}" if name in values else "-"


def probed(table: dict[str, Any], what: str) -> str:
    """linear / mlp (chance; their controls), percent; "-" for a reader whose control is too low for it to say anything.

    Runs of before controls were planted have the better of both codes as control.
    """
    if "linear" not in table.get(what, {}):
        return "-"
    codes = [kinds for name, kinds in table.items() if name.startswith(what.split(" from ")[0] + " from ")]
    figures, controls = [], []
    for kind in ("linear", "mlp"):
        found = table[what][kind]
        control = found.get("control", max(other[kind]["accuracy"] for other in codes if kind in other))
        says = max(found["accuracy"], control) - found["chance"] >= SURE * (100 - found["chance"])
        figures.append(f"{found['accuracy']:.1f}" if says else "-")
        controls.append(f"{control:.1f}")
    return f"{' / '.join(figures)} ({table[what]['linear']['chance']:.1f}; {' / '.join(controls)})"


def transfer_row(record: dict[str, Any]) -> str:
    """One line of the table of content transfer."""
    metrics = record["metrics"]
    transfer, probes = metrics["content_transfer"], metrics["probes"]
    seen, unseen = probes["training classes"], probes["test part"]
    cells = [
        f"`{record['command']}`",
        transfer["tasks"],
        f"**{figure(transfer['transfer'], 'lpips')}**",
        figure(transfer["again"], "lpips"),
        figure(transfer["class image"], "lpips"),
        figure(transfer["transfer"], "psnr", 2),
        probed(seen, "class from content"),
        probed(seen, "content from class"),
        probed(unseen, "class from content"),
        probed(unseen, "content from class"),
        f"{record['minutes']:.1f}",
        record["steps"],
        metrics["protocol"]["seed"],
        metrics["protocol"]["date"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def attributes_row(record: dict[str, Any]) -> str:
    """One line of the table of images with four attributes."""
    metrics = record["metrics"]
    unseen = metrics["probes"]["test part"]
    cells = [f"`{record['command']}`", metrics["protocol"]["items"]]
    cells += [probed(unseen, f"label {number} from {code}") for code in ("class", "content") for number in range(1, 5)]
    cells += [f"{record['minutes']:.1f}", record["steps"], metrics["protocol"]["seed"], metrics["protocol"]["date"]]
    return "| " + " | ".join(map(str, cells)) + " |"


def translation_row(record: dict[str, Any]) -> str:
    """One line of the table of translations between unpaired domains."""
    metrics = record["metrics"]
    both = [metrics["translation"][way] for way in ("a->b", "b->a")]
    cells = [
        f"`{record['command']}`",
        *(" / ".join(figure(way[what], "lpips") for way in both) for what in ("sample", "guided", "random")),
        *(" / ".join(figure(way[what], "frechet", 0) for way in both) for what in ("sample set", "real set")),
        " / ".join(f"{metrics['recall']['shared'][way]['1']:.1f}" for way in ("a->b", "b->a")),
        f"{record['minutes']:.1f}",
        record["steps"],
        metrics["protocol"]["seed"],
        metrics["protocol"]["date"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def samples_row(record: dict[str, Any]) -> str:
    """One line of the table of what is made of codes."""
    metrics = record["metrics"]
    ways, analogy, union = ("a->b", "b->a"), metrics.get("analogy", {}), metrics["union"]

    def analogies(what: str) -> str:
        return (
            " / ".join(
                f"{analogy[domain][what]['distance']:.1f} ± {analogy[domain][what]['distance deviation']:.1f}"
                for domain in DOMAINS
                if domain in analogy
            )
            or "-"
        )

    def both(table: dict[str, Any], what: str, name: str, digits: int = 3) -> str:
        return " / ".join(figure(table[way][what], name, digits) for way in ways)

    def neighbours(what: str, name: str) -> str:
        return " / ".join(figure(union[what][way], name, 1) for way in ways)

    shared, label = metrics["recall"]["shared"], metrics.get("recall_label", {}).get("shared")
    cells = [
        f"`{record['command']}`",
        " / ".join(f"{shared[way]['1']:.2f}" for way in ways),
        " / ".join(f"{label[way]['1']:.2f}" for way in ways) if label else "-",
        f"**{analogies('made')}**",
        analogies("copy"),
        neighbours("shared", "other domain"),
        neighbours("shared", "label"),
        both(metrics["nearest_view"], "sample", "lpips"),
        both(metrics["diversity"], "samples", "lpips"),
        both(metrics["diversity"], "real pairs", "lpips"),
        f"{record['minutes']:.1f}",
        record["steps"],
        metrics["protocol"]["seed"],
        metrics["protocol"]["date"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def cycles_row(record: dict[str, Any]) -> str:
    """One line of the table of translations between unpaired domains that go there and back. a is the rich domain."""
    metrics = record["metrics"]
    hidden, cheat = metrics["hidden_pair"], metrics["cheat"]
    decoding = cheat["a->b"]["decoding"]
    analogy = metrics.get("analogy", {}).get("a", {})
    cells = [
        f"`{record['command']}`",
        *(figure(hidden[way][what], "lpips", 3) for way in hidden for what in ("translation", "random")),
        *(figure(decoding.get(what, {}), "lpips", 3) for what in ("matched", "real", "mismatched", "others")),
        *(figure(analogy.get(what, {}), "lpips", 3) for what in ("made", "copy")),
        " / ".join(f"{cheat[way]['jump']:.3f}" for way in cheat),
        f"{record['minutes']:.1f}",
        record["steps"],
        metrics["protocol"]["seed"],
        metrics["protocol"]["date"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def meaning_row(record: dict[str, Any]) -> str:
    """One line of the table of translations that should mean what their inputs do: from a to b."""
    metrics = record["metrics"]
    recall, shown = metrics.get("recall", {}).get("shared", {}), metrics.get("attributes", {}).get("a->b", {})
    probe, translation = metrics.get("domain_probe", {}), metrics["translation"]["a->b"]

    def attribute(what: str) -> str:
        return " / ".join(
            f"{values[what]['accuracy']:.1f} ({values[what]['balanced']:.1f})" for values in shown.values()
        )

    cells = [
        f"`{record['command']}`",
        ", ".join(shown) or "-",
        " / ".join(f"{recall[way]['1']:.1f}" for way in recall) or "-",
        " / ".join(f"{recall[way]['10']:.1f}" for way in recall) or "-",
        f"**{attribute('translations')}**" if shown else "-",
        attribute("real") or "-",
        attribute("random") or "-",
        figure(translation["sample"], "lpips", 3) if "sample" in translation else "-",
        figure(translation["random"], "lpips", 3) if "random" in translation else "-",
        f"{figure(translation['sample set'], 'frechet', 0)} / {figure(translation['real set'], 'frechet', 0)}",
        " / ".join(f"{probe[kind]:.1f}" for kind in ("linear", "mlp", "in training") if kind in probe) or "-",
        f"{record['minutes']:.1f}",
        record["steps"],
        metrics["protocol"]["seed"],
        metrics["protocol"]["date"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


TRANSFERS = (
    "| command | tasks | transfer, LPIPS | again | class image | transfer, PSNR | class from content, seen "
    "| content from class, seen | class from content, unseen | content from class, unseen | minutes | steps | seed "
    "| date |\n|" + "---|" * 14
)
ATTRIBUTES = (
    "| command | images | skin from class | clothes from class | glasses from class | beard from class "
    "| skin from content | clothes from content | glasses from content | beard from content "
    "| minutes | steps | seed | date |\n|" + "---|" * 14
)
TRANSLATIONS = (
    "| command | sample, LPIPS | guided | random | Fréchet, sample | Fréchet, real | recall@1 | minutes | steps | seed "
    "| date |\n|" + "---|" * 11
)


SAMPLES = (
    "| command | recall@1 by pair | by label | analogy a / b | copying | neighbours of the other domain, % "
    "| of the label, % | nearest view, LPIPS | samples, LPIPS | real pairs, LPIPS | minutes | steps | seed | date |\n|"
    + "---|"
    * 14
)


CYCLES = (
    "| command | hidden pair a->b, LPIPS | random | b->a | random | matched | real | mismatched | others "
    "| mix and match | copying | jump | minutes | steps | seed | date |\n|" + "---|" * 16
)
MEANINGS = (
    "| command | attributes | recall@1 by pair | @10 | attribute shown, % (balanced) | real | random "
    "| hidden pair, LPIPS | random | Fréchet, translations / real | domain told, linear / mlp / in training, % "
    "| minutes | steps | seed | date |\n|" + "---|" * 15
)


BESIDE = {"cddn": ("iiae-mnist-cdcb", "iiae-maps", "iiae-facades"), "samples": ("iiae-car-sides", "iiae-emoji")}
"""Runs of IIAE that stand in CdDN's tables too."""


CYCLED = re.compile("((un)?cooperative|cyclegan)-(relit|cuhk|maps)(-spectral|-batch-4)?")
"""Runs in the table of what goes there and back."""


def is_ablation(name: str) -> bool:
    """Of CdDN, on digits."""
    return name.startswith("cddn-mnist-cdcb-")


def beside(table: str) -> Callable[[str], bool]:
    """Whether a run stands in one of CdDN's tables."""
    return lambda name: (name.startswith("cddn-") and not is_ablation(name)) or name in BESIDE[table]


def fill_tables() -> None:
    """Puts the results into docs/benchmarks.md, between the marks."""
    head = (
        "| command | gallery | distance | recall@1 | whitened | cosine | Euclidean | exclusive | pixels | by label | "
        "minutes | steps | seed | date |\n|" + "---|" * 14
    )
    text = PAGE.read_text()
    lord = {
        name: "lord"
        if re.fullmatch(r"lord-cars3d(-\d+)?", name)
        else "variants"
        if name.startswith("lord-cars3d-")
        else "domains"
        if "emoji" in name
        else "attributes"
        for name in (path.stem for path in (HERE / "results").glob("lord-*.json"))
    }
    tables: tuple[tuple[str, str, Callable[[str], bool], Callable[[dict[str, Any]], str]], ...] = (
        ("results", head, lambda name: name.startswith(("demo", "iiae-")), row),
        ("ablations", head, lambda name: name.startswith("abl-"), row),
        ("cddn", head, beside("cddn"), row),
        ("samples", SAMPLES, beside("samples"), samples_row),
        ("cddn-ablations", SAMPLES, is_ablation, samples_row),
        ("lord", TRANSFERS, lambda name: lord.get(name) == "lord", transfer_row),
        ("variants", TRANSFERS, lambda name: lord.get(name) == "variants", transfer_row),
        ("attributes", ATTRIBUTES, lambda name: lord.get(name) == "attributes", attributes_row),
        ("cycles", CYCLES, lambda name: bool(CYCLED.fullmatch(name)), cycles_row),
        ("meaning", MEANINGS, lambda name: name.startswith("xgan-") or name == "cyclegan-emoji", meaning_row),
        ("domains", TRANSLATIONS, lambda name: lord.get(name) == "domains", translation_row),
    )
    for mark, title, wanted, line in tables:
        records = [read_json(path) for path in sorted((HERE / "results").glob("*.json")) if wanted(path.stem)]
        lines = [title, *(line(record) for record in records if "metrics" in record)]
        before, rest = text.split(f"<!-- {mark} -->\n", 1)
        _, after = rest.split(f"<!-- end of {mark} -->", 1)
        text = f"{before}<!-- {mark} -->\n" + "\n".join(lines) + f"\n<!-- end of {mark} -->{after}"
    PAGE.write_text(text)


def main(runs: list[str]) -> None:
    """Collects each run."""
    for folder in runs:
        run = Path(folder)
        record = collect(run)
        write_json(HERE / "results" / f"{run.name}.json", record)
        PICTURES.mkdir(parents=True, exist_ok=True)
        if run.name in SHOWN:
            draw(record, PICTURES / f"{run.name}-curve.png")
            draw_watched(run, PICTURES / f"{run.name}-watched.png")
        for name in PICTURED if run.name in SHOWN else ():
            if (run / "pictures" / name).exists():
                shutil.copy(run / "pictures" / name, PICTURES / f"{run.name}-{name}")
        print(f"{run.name}: {record['command']}")
    fill_tables()
    figures.main()


if __name__ == "__main__":
    main(sys.argv[1:])
