"""The ablation of step labels: what each fit sees, and the whole of it on a tiny model."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import rollout_labels
from benchmarks.rollout_labels import SPLITS, Settings, repeated, right_so_far, variants
from concord.objectives import Objective
from concord.stage import outputs
from concord.stage.params import Runtime, Seeds, section
from concord.stage.paths import PREPARED
from tasks.process_labels import ProcessLabelsParams
from tasks.process_reward import ProcessRewardParams

OBJECTIVE = Objective(domain="math", description="", verifier="math_answer")
NAME = rollout_labels.NAME


def steps(kind: str, labels: list[list[float | None]]) -> pd.DataFrame:
    rows = [
        {
            "messages": [{"role": "user", "content": f"{kind} {number}"}],
            "steps": ["1 + 1 = 2\n\n", f"so {number}"],
            "objective": NAME,
            "labels": pair,
            "label_kind": kind,
            "group_id": f"g{number}",
            "source": "s",
        }
        for number, pair in enumerate(labels)
    ]
    return pd.DataFrame(rows)


def test_a_prompt_is_repeated_after_all_others() -> None:
    frame = pd.DataFrame({"prompt": ["a", "b", "c"]})
    assert repeated(frame, 7)["prompt"].tolist() == list("abcabca")
    assert repeated(frame, 2)["prompt"].tolist() == ["a", "b"]


def test_fits_by_rollouts_never_see_a_human_label() -> None:
    """Eight answers in training and two in validation at most, and the same first ones for all."""
    rollouts = {name: steps("hindsight", [[0.5, 1.0]] * (8 // n)) for name, n in SPLITS.items()}
    people = {name: steps("human", [[1.0, 0.0]] * 3) for name in SPLITS}
    fits = variants(rollouts, people, [4, 8])
    assert [(name, len(fit["train"]), len(fit["validation"])) for name, fit in fits.items()] == [
        ("4 answers by rollouts", 4, 1),
        ("8 answers by rollouts", 8, 2),
        ("3 solutions by people", 3, 3),
        ("3 by people, 4 by rollouts", 7, 4),
    ]
    *alone, _, both = fits.values()
    assert all(set(fit[split]["label_kind"]) == {"hindsight"} for fit in alone for split in SPLITS)
    assert both["train"]["label_kind"].tolist() == ["hindsight"] * 4 + ["human"] * 3


def test_steps_that_can_still_end_well_are_right() -> None:
    """Rollouts: one right completion of four is enough. Human labels come first."""
    rollouts = steps("hindsight", [[0.25, 0.0]])
    assert right_so_far(rollouts)[0].tolist() == [1.0, 0.0]
    people = steps("human", [[1.0, None]])
    np.testing.assert_equal(right_so_far(people)[0], [1.0, np.nan])
    assert len(right_so_far(pd.concat([rollouts, people]))) == 1


class Judge:
    """Two solutions with an error and two without, and two answers to each of two problems."""

    def steps(self, name: str, objective: Objective) -> pd.DataFrame:
        gold = [np.array(each) for each in ([1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0])]
        return steps("gold", [[0.0, 0.0]] * 4).assign(gold=gold)

    def graded(self, name: str, objective: Objective) -> pd.DataFrame:
        frame = steps("gold", [[0.0, 0.0]] * 4)
        answers = [rf"1 + 1 = 2\n\n\boxed{{{n}}}" for n in (2, 3, 2, 4)]
        return frame.assign(response=answers, correct=[1.0, 0.0, 1.0, 0.0], problem=[0, 0, 1, 1])


def test_all_fits_on_a_tiny_model(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head does not start from the marks: the tiny model has no such words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rollout_labels, "RESAMPLES", 20)
    Path("models").mkdir()
    Path("models/sft").symlink_to(tiny_model)
    prompts = steps("q", [[None, None]] * 3).assign(domain="math", reference="2")
    for split in SPLITS:
        outputs.write_table(PREPARED / f"prompts/{split}.parquet", prompts)
        outputs.write_table(
            PREPARED / f"steps/{split}.parquet", steps("human", [[1.0, 1.0], [1.0, 0.0]])
        )
    training = {"learning_rate": 1e-3, "steps": 2, "batch_size": 2}
    entry = {"objectives": {NAME: {}}, "prompts": 1, "completions": 2, "max_new_tokens": 8}
    settings = Settings(
        OBJECTIVE,
        section(ProcessLabelsParams, entry, "process_labels"),
        section(ProcessRewardParams, {"training": training}, "process_reward"),
        Runtime(threads=1, device="cpu"),
        Seeds(0, 0),
        64,
        "cpu",
    )
    judge: Any = Judge()
    lines = rollout_labels.run(settings, judge, {NAME: OBJECTIVE}, [4])
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| 4 answers by rollouts",
        "| 2 solutions by people",
        "| 2 by people, 4 by rollouts",
    ]
    assert all(line.count("|") == 6 for line in lines)
    assert all("[" in line.split("|")[4] for line in lines[3:])  # F1 needs right and wrong labels
