"""Baselines for training on all remaining labels."""

from benchmarks.missing_labels import BASELINES, TRAINING, same_passes
from concord.lm.train import Plan


def test_the_baseline_makes_the_same_number_of_passes() -> None:
    """60 steps of 24 rows are 1.5 passes over 960 rows; 1.5 passes over 80 rows are 5 steps."""
    training = same_passes(960)
    assert (training.steps, training.epochs, training.batch_size) == (
        None,
        1.5,
        TRAINING.batch_size,
    )
    assert Plan([{}] * 80, training, seed=0).steps == 5
    assert len(BASELINES) == 2
