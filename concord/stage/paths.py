"""Paths of the stage outputs, relative to the project root. dvc.yaml declares the same paths."""

from pathlib import Path

CODE = Path("data/code")
CHECKS = Path("data/checks.json")
"""The section `checks`, which may be missing in params.yaml: `check` writes it for the stages."""
INGESTED = Path("data/ingested")
PREPARED = Path("data/prepared")
PROCESS_LABELS = Path("data/process_labels")
ROLLOUTS = Path("data/rollouts")

SFT = Path("models/sft")
MINILM = Path("models/minilm")
"""Sentence embeddings of the judge; `python -m concord.lm.fetch minilm models/minilm`."""
REWARDS = Path("models/rewards")
PROCESS_REWARD = Path("models/process_reward")
REGULARISATION = "regularisation.json"
"""File in the folder of a model with frozen features: how the strength of each head was chosen."""
ANCHORS = Path("models/anchors.json")
POLICIES = Path("models/policies")
ALIGNED = Path("models/aligned")
REFUSED = Path("models/candidate")
"""The last candidate, if the gate refused it."""

REPORTS = Path("reports")
CURVES = REPORTS / "curves"
SAMPLES = REPORTS / "samples"
SCALED = REPORTS / "scaled"
"""Answers of each policy between SFT and what was trained, for comparison at equal KL."""
CANDIDATE = REPORTS / "candidate"
"""Results and samples of the checkpoint that the gate judges."""
WORK = Path("work")
"""Checkpoints of unfinished stages and cached judge replies. Ignored by git and DVC."""
