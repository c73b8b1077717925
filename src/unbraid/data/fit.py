"""What is cut off where images are brought to a shape, in words."""

import threading

from unbraid.core.types import ImageSpec


class Fit:
    """The images that had to be cut to a shape. whose: the shape's, in words."""

    def __init__(self, spec: ImageSpec, whose: str = "the model's ") -> None:
        self.spec, self.whose, self.count, self.cut, self.most = spec, whose, 0, 0, (0.0, "")
        self._lock = threading.Lock()  # images are read by several threads

    def add(self, name: str, height: int, width: int) -> None:
        """Counts an image of this height and width, which is cut to its middle. See `middle`."""
        ratio = width * self.spec.height / (height * self.spec.width)
        lost = 1 - min(ratio, 1 / ratio)
        with self._lock:
            self.count += 1
            if lost >= 0.01:
                self.cut += 1
                self.most = max(self.most, (lost, f"{name} ({width} x {height})"))

    def __str__(self) -> str:
        """Returns a note on what was cut; empty if nothing was."""
        if not self.cut:
            return ""
        lost, name = self.most
        share = f"{100 * lost:.0f} % of {name}{' at most' if self.cut > 1 else ''}"
        which = "1 image has" if self.cut == 1 else f"{self.cut} of {self.count} images have"
        return (
            f"{which} another shape than {self.whose}{self.spec.width} x {self.spec.height}: the middle was kept, and "
            f"{share} cut off"
        )
