"""Fit a reward model on one group's labels of all kinds: a head per objective, loss sum_i loss_weight_i * L_i.

data/prepared/rewards/<group>/{labels,train,validation}.parquet, models/sft -> models/rewards/<group>,
reports/timing/<group>.json, reports/curves/reward_<group>.csv

Beside the weights stand `calibration.json` (a temperature per head, fitted on validation pairs) and `graders.json`
(what was learnt of the people who gave grades). Features of a frozen model are kept in work/features, so that an edit
that leaves them as they are refits the heads alone.

    python -m tasks.reward_model values
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.lora import Lora
from concord.lm.train import Training, fit
from concord.stage import outputs, resume, runtime
from concord.stage.errors import DataError, command
from concord.stage.params import FORBID, Runtime, load
from concord.stage.paths import CURVES, PREPARED, REPORTS, REWARDS, SFT

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from concord.rewards.outcome.examples import Scales
    from concord.rewards.outcome.head_fit import Thresholds

Row = dict[str, Any]
VALIDATION_PAIRS = 256  # looked at while training
THRESHOLD_RATE = 1e-2
"""Peak learning rate of the thresholds, which are logits."""


@dataclass(frozen=True, config=FORBID)
class Head:
    """One objective of the group."""

    loss_weight: Annotated[float, Field(gt=0)] = 1.0
    """w in the training loss; how much fitting this objective matters, not how much it counts in a reward."""
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """By how much, in logits, the winner of a comparison must lead for each unit of the margin that was stated."""


@dataclass(frozen=True, config=FORBID)
class RewardModelParams:
    """One entry of `reward_models`."""

    objectives: Annotated[dict[str, Head], Field(min_length=1)]
    """A head each, in this order; names bind."""
    architecture: Literal["finetune", "probe"] = "finetune"
    """The weights of the SFT model, or linear heads on its frozen states (where loss weights change nothing)."""
    lora: Lora | None = None
    """`finetune`: low-rank adapters instead of all weights, merged when trained; the heads train in full."""
    layers: tuple[int, ...] = ()
    """Layers that a probe reads: 0 for the embeddings, up to the number of layers."""
    pooling: Annotated[tuple[Literal["last", "mean"], ...], Field(min_length=1)] = ("last",)
    """What a probe reads of each layer: the state of the answer's last token, the mean over its tokens, or both."""
    l2: Annotated[float, Field(gt=0)] = 100.0
    """Weight of the squared norm of a head (on standardised features) against the summed loss: of a probe, and of the
    linear fit from which the heads of a finetuned model start."""
    training: Training | None = None
    """How `finetune` trains; a row is one prompt's answers with all their labels."""
    labels: Literal["given", "implied_pairs"] = "given"
    """Fitted to labels as they were given (grades with thresholds, whole rankings), or to the pairs that they imply
    within one annotator and prompt."""

    def __post_init__(self) -> None:
        if self.architecture == "finetune" and self.training is None:
            raise ValueError("`architecture: finetune` trains, so it needs `training`")
        if self.architecture == "probe" and not self.layers:
            raise ValueError("`architecture: probe` needs the `layers` that it reads")
        for key in ("layers", "pooling"):
            given = getattr(self, key)
            if len(set(given)) < len(given):
                raise ValueError(
                    f"`{key}` gives {list(given)}, one of them twice; a probe reads each once"
                )
        if self.architecture == "probe" and self.lora is not None:
            raise ValueError(
                "`architecture: probe` leaves the backbone as it is and `lora` trains it; give one of them"
            )


@dataclass(frozen=True, config=FORBID)
class RewardModelJob:
    """All that a fit depends on besides its inputs."""

    group: str
    params: RewardModelParams
    settings: Runtime
    seed: int
    max_length: int

    @property
    def names(self) -> list[str]:
        """The objectives, in the order of the heads."""
        return list(self.params.objectives)

    @property
    def tables(self) -> list[Path]:
        """Labels and implied pairs to train on, and pairs to look at while training and to calibrate on."""
        names = ("labels", "train", "validation")
        return [PREPARED / "rewards" / self.group / f"{name}.parquet" for name in names]

    @property
    def folder(self) -> Path:
        """Where the model goes."""
        return REWARDS / self.group

    @property
    def features(self) -> Path:
        """Where a probe's features are kept from run to run; no out, since DVC restores no run that keeps one."""
        return Path("work/features") / self.group

    @property
    def work(self) -> Path:
        """Where checkpoints go until the model is there."""
        return resume.folder("reward_model", self, [*self.tables, SFT], __file__)

    @property
    def curve(self) -> Path:
        """Where the curve goes."""
        return CURVES / f"reward_{self.group}.csv"


class Fitted(NamedTuple):
    """A model that is ready to be written."""

    save: Callable[[Path], Any]
    """Writes it into a folder."""
    score: Callable[[list[list[int]]], np.ndarray]
    """Scores `[n, H]` of sequences."""
    thresholds: Thresholds
    """What was learnt beside it of the people who gave grades."""
    parameters: int
    """How many it has."""
    gradient_cosine: dict[str, dict[str, float]]
    """Between the objectives, on the backbone and on validation pairs; empty where none is trained."""


def run(job: RewardModelJob) -> None:
    """Fits the group's model and writes it, its timing and its curve."""
    from concord.rewards.outcome.calibration import calibrated
    from concord.rewards.outcome.examples import Scales

    device = runtime.start(job.settings, job.seed)
    tokenizer = _tokenizer(job)
    labels = _labels(job)
    scales = Scales.of(labels)
    rows = _rows(job, labels, scales, tokenizer)
    validation = _pairs(outputs.read_table(job.tables[-1]), job.names, tokenizer)
    started, resumed = time.perf_counter(), job.work.exists()
    fitting = _finetune if job.params.architecture == "finetune" else _probe
    fitted = fitting(job, tokenizer, rows, scales, validation, device)
    seconds = time.perf_counter() - started
    calibration = calibrated(_margins(fitted.score, validation, job.names))
    with outputs.directory(job.folder) as folder:
        fitted.save(folder)
        outputs.write_json(folder / "calibration.json", calibration)
        outputs.write_json(folder / "graders.json", fitted.thresholds.described(scales))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    timing = {
        "seconds": seconds,
        "resumed": resumed,
        "peak_mb": peak_mb,
        "parameters": fitted.parameters,
    }
    cosines = {"gradient_cosine": fitted.gradient_cosine}
    outputs.write_json(REPORTS / f"timing/{job.group}.json", {**timing, **cosines})


def _tokenizer(job: RewardModelJob) -> Any:
    from concord.lm.load import load_tokenizer

    tokenizer = load_tokenizer(SFT)
    tokenizer.model_max_length = (
        job.max_length
    )  # saved with the model: scoring cuts where training did
    return tokenizer


def _labels(job: RewardModelJob) -> pd.DataFrame:
    """The labels to train on, as they were given or as the pairs that they imply."""
    from concord.prepared import labels

    given, pairs = (outputs.read_table(table) for table in job.tables[:2])
    frame = given if job.params.labels == "given" else labels.of_pairs(pairs)
    return frame[frame["objective"].isin(job.names)]


def _rows(job: RewardModelJob, labels: pd.DataFrame, scales: Scales, tokenizer: Any) -> list[Row]:
    """Examples to train on. Raises DataError for an objective without labels."""
    from concord.rewards.outcome.examples import examples

    margins = {name: head.margin for name, head in job.params.objectives.items()}
    made = examples(labels, job.names, scales, tokenizer, margins)
    there = {
        label.head
        for example in made
        for labels in (example.orders, example.grades)
        for label in labels
    }
    absent = [name for head, name in enumerate(job.names) if head not in there]
    if absent:
        given = job.params.labels == "given"
        table, what = (job.tables[0], "label") if given else (job.tables[1], "pair")
        instead = "" if given else ", or take labels: given, which needs no pairs"
        names = ", ".join(absent)
        raise DataError(
            f"{table} has no {what} for {names}, so its head cannot be fitted; add annotations{instead}"
        )
    return [{"example": example} for example in made]


def _pairs(frame: pd.DataFrame, names: list[str], tokenizer: Any) -> list[Row]:
    """Pairs as ids; those whose sides are the same tokens say nothing of a model."""
    from concord.lm.batches import encode_all

    frame = frame[frame["objective"].isin(names)]
    messages = frame["messages"].tolist()
    sides = [
        encode_all(tokenizer, messages, frame[side].tolist()) for side in ("chosen", "rejected")
    ]
    heads = [names.index(name) for name in frame["objective"]]
    return [
        {"chosen": a, "rejected": b, "head": head}
        for a, b, head in zip(*sides, heads, strict=True)
        if a != b
    ]


def _finetune(
    job: RewardModelJob,
    tokenizer: Any,
    rows: list[Row],
    scales: Scales,
    validation: list[Row],
    device: Any,
) -> Fitted:
    from concord.lm.lora import attach, merge
    from concord.rewards.outcome import head_fit as label_fit
    from concord.rewards.outcome import head_start as label_start
    from concord.rewards.outcome.gradients import cosines
    from concord.rewards.outcome.reward_model import FinetunedRewardModel, new_model

    reward = FinetunedRewardModel(
        new_model(SFT, job.names, tokenizer, device, job.settings.dtype, job.seed), tokenizer
    )
    model = label_fit.LabelledModel(reward.model, label_fit.Thresholds(scales).to(device))
    examples = [row["example"] for row in rows]
    label_start.from_labels(model, tokenizer, examples, scales, job.names, job.params.l2)
    if job.params.lora is not None:
        attach(reward.model.base_model, job.params.lora, job.seed)
    watched = validation[:: len(validation) // VALIDATION_PAIRS + 1]
    assert job.params.training is not None
    fit(
        model,
        rows,
        label_fit.collate(tokenizer.pad_token_id),
        label_fit.loss,
        job.params.training,
        seed=job.seed,
        work=job.work,
        curve=job.curve,
        evaluate=lambda _: _accuracy(reward.score_ids, watched, job.names),
        weights=label_fit.row_weights(
            [head.loss_weight for head in job.params.objectives.values()]
        ),
        length=label_fit.longest,
        rates={"thresholds": THRESHOLD_RATE},
        label=f"reward model {job.group}",
    )

    def save(folder: Path) -> None:
        reward.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    if job.params.lora is not None:
        merge(reward.model.base_model)
    pulls = (
        cosines(reward.model, _sides(watched, job.names), tokenizer.pad_token_id)
        if len(job.names) > 1
        else {}
    )
    return Fitted(
        save, reward.score_ids, model.thresholds, int(reward.model.num_parameters()), pulls
    )


def _probe(
    job: RewardModelJob,
    tokenizer: Any,
    rows: list[Row],
    scales: Scales,
    validation: list[Row],
    device: Any,
) -> Fitted:
    from concord.lm.load import load_causal
    from concord.rewards.outcome.probe import Probe
    from concord.rewards.outcome.probe_fit import Features, fit_heads

    backbone, params = load_causal(SFT, device, job.settings.dtype), job.params
    probe = Probe(backbone, tokenizer, params.layers, job.names, {}, params.pooling)
    made = [row["example"] for row in rows]
    answers = [sequence for example in made for sequence in example.sequences]
    judged = [row[side] for row in validation for side in ("chosen", "rejected")]
    features = Features(probe, SFT, [*answers, *judged], job.features)
    probe.heads, thresholds = fit_heads(
        features.of(answers), made, scales, len(job.names), params.l2
    )

    def score(sequences: list[list[int]]) -> np.ndarray:
        return probe.of_features(features.of(sequences))

    accuracy = _accuracy(score, validation, job.names)
    lines: list[list[Any]] = [
        ["step", *accuracy],
        [1, *accuracy.values()],
    ]  # so that a probe has a curve as well
    outputs.write_text(job.curve, "".join(",".join(map(str, line)) + "\n" for line in lines))
    count = probe.heads["weight"].size + probe.heads["bias"].size
    return Fitted(lambda folder: probe.save(folder, SFT, job.folder), score, thresholds, count, {})


def _sides(
    pairs: list[Row], names: list[str]
) -> dict[str, tuple[list[list[int]], list[list[int]]]]:
    """By objective: ids of the chosen answers, and of the rejected ones."""
    own = {name: [row for row in pairs if row["head"] == head] for head, name in enumerate(names)}
    return {
        name: ([row["chosen"] for row in rows], [row["rejected"] for row in rows])
        for name, rows in own.items()
    }


def _margins(
    score: Callable[[list[list[int]]], np.ndarray], pairs: list[Row], names: list[str]
) -> dict[str, np.ndarray]:
    """By objective: score of chosen less rejected `[n]`."""
    import numpy as np

    found = {}
    for head, (name, (chosen, rejected)) in enumerate(_sides(pairs, names).items()):
        found[name] = score(chosen)[:, head] - score(rejected)[:, head] if chosen else np.zeros(0)
    return found


def _accuracy(
    score: Callable[[list[list[int]]], np.ndarray], pairs: list[Row], names: list[str]
) -> dict[str, float]:
    """Share of the pairs of each objective in the right order, as `validation_<objective>`."""
    margins = _margins(score, pairs, names)
    return {
        f"validation_{name}": float((own > 0).mean()) for name, own in margins.items() if len(own)
    }


def main(group: str) -> None:
    """Runs the stage for the group named on the command line."""
    params = load(RewardModelParams, "reward_models", group)
    run(
        RewardModelJob(
            group,
            params,
            load(Runtime, "runtime"),
            load(int, "seeds", "data"),
            load(int, "model", "max_length"),
        )
    )


if __name__ == "__main__":
    command(main)
