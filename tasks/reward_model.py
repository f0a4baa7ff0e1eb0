"""Fits one reward model on labels of all kinds, with a head per objective of its group.

The loss is sum_i loss_weight_i * L_i over the objectives i.

    data/prepared/rewards/<group>/{labels,train,validation}.parquet, models/sft
    -> models/rewards/<group>, reports/timing/<group>.json, reports/curves/reward_<group>.csv

    python -m tasks.reward_model values

The model folder also has `calibration.json` (a temperature per head, fitted on validation pairs)
and `graders.json` (fitted parameters of the annotators who gave grades). Features of a frozen model
are cached in work/features, so an edit that does not affect them refits only the heads.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.batches import encode_all
from concord.lm.load import load_causal, load_tokenizer
from concord.lm.lora import Lora, attach, merge
from concord.lm.train import Training, fit
from concord.rewards.outcome.calibration import calibrate
from concord.rewards.outcome.reward_model import FinetunedRewardModel, new_model
from concord.stage import outputs, resume, runtime
from concord.stage.errors import DataError, command
from concord.stage.params import FORBID, Runtime, load
from concord.stage.paths import CURVES, PREPARED, REPORTS, REWARDS, SFT

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from concord.lm.types import Tokenizer
    from concord.rewards.outcome.examples import Scales
    from concord.rewards.outcome.head_fit import Thresholds

Row = dict[str, Any]
VALIDATION_PAIRS = 256  # evaluated during training
THRESHOLD_RATE = 1e-2
"""Peak learning rate of the grade thresholds, which are logits."""


@dataclass(frozen=True, config=FORBID)
class Head:
    """Settings of one objective of the group."""

    loss_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the objective in the training loss. It does not affect its weight in a reward."""
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Margin in the loss of a pair, in logits per unit of the margin stated by the annotator."""


@dataclass(frozen=True, config=FORBID)
class RewardModelParams:
    """One entry of `reward_models`."""

    objectives: Annotated[dict[str, Head], Field(min_length=1)]
    """Objective -> settings of its head. Heads are selected by name, never by position."""
    architecture: Literal["finetune", "probe"] = "finetune"
    """`finetune`: train the SFT model and the heads. `probe`: fit linear heads on frozen hidden
    states; loss weights then have no effect."""
    lora: Lora | None = None
    """For `finetune`: low-rank adapters to train instead of all weights. They are merged after
    training. The heads are always trained in full."""
    layers: tuple[int, ...] = ()
    """For `probe`: the layers to read, from 0 (embeddings) to the number of layers."""
    pooling: Annotated[tuple[Literal["last", "mean"], ...], Field(min_length=1)] = ("last",)
    """For `probe`: how to pool the hidden states of the answer in each layer: `last` token, `mean`
    over tokens, or both."""
    l2: Annotated[float, Field(gt=0)] = 100.0
    """L2 penalty on the weights of a head (for standardised features), relative to the summed loss.
    Used for probes, and for the linear fit that initialises the heads of `finetune`."""
    training: Training | None = None
    """Training settings of `finetune`. A row of a batch is one prompt with its answers and
    labels."""
    labels: Literal["given", "implied_pairs"] = "given"
    """`given`: fit to the labels as they are (grades with thresholds, whole rankings).
    `implied_pairs`: fit to the pairs that they imply for one annotator and prompt."""

    def __post_init__(self) -> None:
        if self.architecture == "finetune" and self.training is None:
            raise ValueError("`architecture: finetune` needs `training`; add it")
        if self.architecture == "probe" and not self.layers:
            raise ValueError("`architecture: probe` needs `layers`; add the layers to read")
        for key in ("layers", "pooling"):
            given = getattr(self, key)
            if len(set(given)) < len(given):
                raise ValueError(
                    f"`{key}` is {list(given)}, which has a duplicate; give each item once"
                )
        if self.architecture == "probe" and self.lora is not None:
            raise ValueError(
                "`architecture: probe` does not train the backbone, so `lora` has no effect; "
                "remove one of them"
            )


@dataclass(frozen=True, config=FORBID)
class RewardModelJob:
    """Everything that a fit depends on, apart from its input files."""

    group: str
    params: RewardModelParams
    settings: Runtime
    seed: int
    max_length: int

    @property
    def names(self) -> list[str]:
        """Objectives in the order of the heads."""
        return list(self.params.objectives)

    @property
    def tables(self) -> list[Path]:
        """Paths of the training labels, the implied training pairs, and the validation pairs."""
        names = ("labels", "train", "validation")
        return [PREPARED / "rewards" / self.group / f"{name}.parquet" for name in names]

    @property
    def folder(self) -> Path:
        """Folder of the model."""
        return REWARDS / self.group

    @property
    def features(self) -> Path:
        """Cache folder for probe features, kept between runs.

        It is not an output of the stage: DVC does not restore stages with persistent outputs.
        """
        return Path("work/features") / self.group

    @property
    def work(self) -> Path:
        """Folder for checkpoints until the stage has finished."""
        return resume.folder("reward_model", self, [*self.tables, SFT], __file__)

    @property
    def curve(self) -> Path:
        """Path of the training curve."""
        return CURVES / f"reward_{self.group}.csv"


class Fitted(NamedTuple):
    """A fitted model, ready to be saved."""

    save: Callable[[Path], Any]
    """Writes the model into a folder."""
    score: Callable[[list[list[int]]], np.ndarray]
    """Token ids of sequences -> scores `(sequences, heads)`."""
    thresholds: Thresholds
    """Fitted grade thresholds of the annotators."""
    parameters: int
    """Number of parameters."""
    gradient_cosine: dict[str, dict[str, float]]
    """Cosine of the gradients of two objectives on the backbone, on validation pairs. Empty for
    probes and for single objectives."""


def run(job: RewardModelJob) -> None:
    """Fits the model; writes the model, its timing and its training curve."""
    from concord.rewards.outcome.examples import Scales

    device = runtime.start(job.settings, job.seed)
    tokenizer = _tokenizer(job)
    labels = _labels(job)
    scales = Scales.from_labels(labels)
    rows = _rows(job, labels, scales, tokenizer)
    validation = _pairs(outputs.read_table(job.tables[-1]), job.names, tokenizer)
    started, resumed = time.perf_counter(), job.work.exists()
    fitting = _finetune if job.params.architecture == "finetune" else _probe
    fitted = fitting(job, tokenizer, rows, scales, validation, device)
    seconds = time.perf_counter() - started
    calibration = calibrate(_margins(fitted.score, validation, job.names))
    with outputs.directory(job.folder) as folder:
        fitted.save(folder)
        outputs.write_json(folder / "calibration.json", calibration)
        outputs.write_json(folder / "graders.json", fitted.thresholds.summary(scales))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    timing = {
        "seconds": seconds,
        "resumed": resumed,
        "peak_mb": peak_mb,
        "parameters": fitted.parameters,
    }
    cosines = {"gradient_cosine": fitted.gradient_cosine}
    outputs.write_json(REPORTS / f"timing/{job.group}.json", {**timing, **cosines})


def _tokenizer(job: RewardModelJob) -> Tokenizer:

    tokenizer: Tokenizer = load_tokenizer(SFT)
    # Saved with the model: scoring truncates like training.
    tokenizer.model_max_length = job.max_length
    return tokenizer


def _labels(job: RewardModelJob) -> pd.DataFrame:
    """The training labels: as given, or the pairs that they imply."""
    from concord.prepared import labels

    given, pairs = (outputs.read_table(table) for table in job.tables[:2])
    frame = given if job.params.labels == "given" else labels.from_pairs(pairs)
    return frame[frame["objective"].isin(job.names)]


def _rows(
    job: RewardModelJob, labels: pd.DataFrame, scales: Scales, tokenizer: Tokenizer
) -> list[Row]:
    """Training rows. Raises DataError if an objective has no labels."""
    from concord.rewards.outcome.examples import examples

    margins = {name: head.margin for name, head in job.params.objectives.items()}
    made = examples(labels, job.names, scales, tokenizer, margins)
    labelled_heads = {
        label.head
        for example in made
        for labels in (example.orders, example.grades)
        for label in labels
    }
    missing = [name for head, name in enumerate(job.names) if head not in labelled_heads]
    if missing:
        given = job.params.labels == "given"
        table, what = (job.tables[0], "labels") if given else (job.tables[1], "pairs")
        instead = "" if given else ", or set labels: given, which needs no pairs"
        raise DataError(
            f"{table} has no {what} for {', '.join(missing)}, so the head cannot be fitted; "
            f"add annotations{instead}"
        )
    return [{"example": example} for example in made]


def _pairs(frame: pd.DataFrame, names: list[str], tokenizer: Tokenizer) -> list[Row]:
    """Pairs as token ids. Pairs whose two answers have the same tokens are dropped."""

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
    tokenizer: Tokenizer,
    rows: list[Row],
    scales: Scales,
    validation: list[Row],
    device: Any,
) -> Fitted:
    from concord.rewards.outcome import head_fit as label_fit
    from concord.rewards.outcome import head_start as label_start
    from concord.rewards.outcome.gradients import cosines

    reward = FinetunedRewardModel(
        new_model(SFT, job.names, tokenizer, device, job.settings.dtype, job.seed), tokenizer
    )
    model = label_fit.LabelledModel(reward.model, label_fit.Thresholds(scales).to(device))
    examples = [row["example"] for row in rows]
    label_start.initialise(model, tokenizer, examples, scales, job.names, job.params.l2)
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
        length=label_fit.longest_answer,
        rates={"thresholds": THRESHOLD_RATE},
        label=f"reward model {job.group}",
    )

    def save(folder: Path) -> None:
        reward.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    if job.params.lora is not None:
        merge(reward.model.base_model)
    gradient_cosine = (
        cosines(reward.model, _sides(watched, job.names), tokenizer.pad_token_id)
        if len(job.names) > 1
        else {}
    )
    return Fitted(
        save,
        reward.score_ids,
        model.thresholds,
        int(reward.model.num_parameters()),
        gradient_cosine,
    )


def _probe(
    job: RewardModelJob,
    tokenizer: Tokenizer,
    rows: list[Row],
    scales: Scales,
    validation: list[Row],
    device: Any,
) -> Fitted:
    from concord.rewards.outcome.probe import Probe
    from concord.rewards.outcome.probe_fit import Features, fit_heads

    backbone, params = load_causal(SFT, device, job.settings.dtype), job.params
    probe = Probe(backbone, tokenizer, params.layers, job.names, {}, params.pooling)
    made = [row["example"] for row in rows]
    answers = [sequence for example in made for sequence in example.sequences]
    judged = [row[side] for row in validation for side in ("chosen", "rejected")]
    features = Features(probe, SFT, [*answers, *judged], job.features)
    probe.heads, thresholds = fit_heads(
        features.lookup(answers), made, scales, len(job.names), params.l2
    )

    def score(sequences: list[list[int]]) -> np.ndarray:
        return probe.score_features(features.lookup(sequences))

    accuracy = _accuracy(score, validation, job.names)
    # A curve of a single step, because every reward model has a curve.
    lines: list[list[Any]] = [["step", *accuracy], [1, *accuracy.values()]]
    outputs.write_text(job.curve, "".join(",".join(map(str, line)) + "\n" for line in lines))
    count = probe.heads["weight"].size + probe.heads["bias"].size
    return Fitted(lambda folder: probe.save(folder, SFT, job.folder), score, thresholds, count, {})


def _sides(
    pairs: list[Row], names: list[str]
) -> dict[str, tuple[list[list[int]], list[list[int]]]]:
    """Objective -> token ids of the chosen answers, and of the rejected answers."""
    pairs_by_objective = {
        name: [row for row in pairs if row["head"] == head] for head, name in enumerate(names)
    }
    return {
        name: ([row["chosen"] for row in rows], [row["rejected"] for row in rows])
        for name, rows in pairs_by_objective.items()
    }


def _margins(
    score: Callable[[list[list[int]]], np.ndarray], pairs: list[Row], names: list[str]
) -> dict[str, np.ndarray]:
    """Objective -> score of chosen minus score of rejected `(pairs,)`."""
    import numpy as np

    margins = {}
    for head, (name, (chosen, rejected)) in enumerate(_sides(pairs, names).items()):
        if chosen:
            margins[name] = score(chosen)[:, head] - score(rejected)[:, head]
        else:
            margins[name] = np.zeros(0)
    return margins


def _accuracy(
    score: Callable[[list[list[int]]], np.ndarray], pairs: list[Row], names: list[str]
) -> dict[str, float]:
    """`validation_<objective>` -> share of its pairs whose chosen answer has the higher score."""
    margins = _margins(score, pairs, names)
    return {
        f"validation_{name}": float((margin > 0).mean())
        for name, margin in margins.items()
        if len(margin)
    }


def main(group: str) -> None:
    """Runs the stage for one reward model."""
    job = RewardModelJob(
        group,
        load(RewardModelParams, "reward_models", group),
        load(Runtime, "runtime"),
        load(int, "seeds", "data"),
        load(int, "model", "max_length"),
    )
    run(job)


if __name__ == "__main__":
    command(main)
