"""Two domains of vectors with classes, as arrays on disk."""

from pathlib import Path

import numpy as np


def write_classes(
    path: Path, classes: int = 10, each: int = 6, size: int = 12, noise: float = 0.3, seed: int = 0
) -> Path:
    """Arrays a, b, label_a and label_b: vectors near their class's centre, those of b moved. b has one item more.

    noise: in the latter half of the dimensions.
    """
    random = np.random.default_rng(seed)
    centres = random.standard_normal((classes, size))
    labels = {"label_a": np.arange(classes * each) % classes, "label_b": np.arange(classes * (each + 1)) % classes}
    spread = np.concatenate([np.full(size // 2, 0.3), np.full(size - size // 2, noise)])  # of each dimension
    a, b = (centres[label] + spread * random.standard_normal((len(label), size)) for label in labels.values())
    b = b + 1
    words = [np.array([f"class {label:02d}" for label in labels[name]]) for name in ("label_a", "label_b")]
    np.savez(path, a=a.astype(np.float32), b=b.astype(np.float32), label_a=words[0], label_b=words[1])
    return path
