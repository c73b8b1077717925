"""When held-out figures get no better: a word about it, and, with `--train.patience`, the end of a stage."""

from unbraid.core.config import TrainConfig
from unbraid.model.saved import Position

STILL = 5
"""Measurements in a row without a better score after which the log says so."""


def is_over(config: TrainConfig, position: Position) -> bool:
    """Returns whether there were as many measurements without a better score as the settings allow."""
    return config.patience is not None and position.waited >= config.patience


def remarks(config: TrainConfig, position: Position) -> list[str]:
    """Returns what to say after a measurement, or of a run that has stopped."""
    waited = f"{position.waited} measurement{'s' * (position.waited != 1)} in a row"
    if config.patience is not None and is_over(config, position):
        return [
            f"Stopped at step {position.step}: {waited} without a better held-out score than {position.highest:.1f} "
            f"(--train.patience {config.patience}). To go on: --train.patience {position.waited + config.patience}, "
            "or None"
        ]
    if config.patience is not None and position.highest <= 0 and position.step <= config.evaluate_every:
        return ["--train.patience waits for a held-out score to stop rising; at this measurement there was none"]
    if config.patience is None and position.waited == STILL:
        return [
            f"Held-out figures have stopped moving: {waited} without a better score than {position.highest:.1f}; "
            f"--train.patience {STILL} ends such a run"
        ]
    return []
