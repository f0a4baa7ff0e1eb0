"""The rivals of training on all labels that are left."""

from benchmarks.missing_labels import RIVALS, TRAINING, same_passes
from concord.lm.train import Plan


def test_a_rival_sees_its_rows_as_often() -> None:
    """60 steps of 24 rows pass 960 rows one and a half times; of 80 rows that is 120, or five steps."""
    training = same_passes(960)
    assert (training.steps, training.epochs, training.batch_size) == (
        None,
        1.5,
        TRAINING.batch_size,
    )
    assert Plan([{}] * 80, training, seed=0).steps == 5
    assert len(RIVALS) == 2
