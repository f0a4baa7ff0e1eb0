"""Fits one reward model on labels of all kinds, with a head per objective of its group.

The loss is sum_i loss_weight_i * L_i over the objectives i.

    data/prepared/rewards/<group>/{labels,train,validation}.parquet, models/sft
    -> models/rewards/<group>, reports/timing/<group>.json, reports/curves/reward_<group>.csv

    python -m tasks.reward_model values

The model folder also has `calibration.json` (a temperature per head, fitted on validation pairs)
and `graders.json` (fitted parameters of the annotators who gave grades). A probe that chose its
regularisation also has `regularisation.json` (the strength of each head, and the curve). Features
of a frozen model are cached in work/features, so an edit that does not affect them refits only the
heads.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.load import load_tokenizer
from concord.lm.lora import Lora
from concord.lm.train import Training
from concord.rewards.outcome.calibration import calibrate
from concord.rewards.outcome.validation_pairs import encode_pairs, pair_margins
from concord.stage import outputs, resume, runtime
from concord.stage.command import command
from concord.stage.errors import DataError
from concord.stage.params import FORBID, Runtime, load
from concord.stage.paths import CURVES, PREPARED, REGULARISATION, REPORTS, REWARDS, SFT

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from concord.lm.types import Tokenizer
    from concord.rewards.outcome.examples import Example, Scales
    from concord.rewards.outcome.outcome_fit import Fitted, OutcomeData


START_L2 = 100.0
"""L2 penalty of the linear fit that initialises the heads of `finetune`."""


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
    """For `probe`: the layers to read, from 0 (embeddings) to the number of layers. Empty: those at
    one half, at three quarters, and the last."""
    pooling: Annotated[tuple[Literal["last", "mean"], ...], Field(min_length=1)] = ("last",)
    """For `probe`: how to pool the hidden states of the answer in each layer: `last` token, `mean`
    over tokens, or both."""
    l2: Annotated[float, Field(gt=0)] | None = None
    """L2 penalty on the weights of a head (for standardised features), relative to the summed loss.
    With null, a probe chooses it for each head on a fifth of the training groups, and the linear
    fit that initialises the heads of `finetune` uses 100."""
    frozen_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """For `probe`: data type of the frozen model. `auto` is bfloat16 where a short measurement
    finds it clearly faster, else float32. It is saved with the heads, so scoring uses it too."""
    training: Training | None = None
    """Training settings of `finetune`. A row of a batch is one prompt with its answers and
    labels."""
    annotators: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The people whose labels the model is fitted to; null for all. Then the head of a model that
    was fitted to others can judge policies, see `evaluate.judge`."""
    labels: Literal["given", "implied_pairs"] = "given"
    """`given`: fit to the labels as they are (grades with thresholds, whole rankings).
    `implied_pairs`: fit to the pairs that they imply for one annotator and prompt."""

    def __post_init__(self) -> None:
        if self.architecture == "finetune" and self.training is None:
            raise ValueError("`architecture: finetune` needs `training`; add it")
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
        stage = f"reward_model@{self.group}"
        return resume.folder(stage, self, [*self.tables, SFT], __file__)

    @property
    def curve(self) -> Path:
        """Path of the training curve."""
        return CURVES / f"reward_{self.group}.csv"


def run(job: RewardModelJob) -> None:
    """Fits the model; writes the model, its timing and its training curve."""
    from concord.rewards.outcome.examples import Scales
    from concord.rewards.outcome.outcome_fit import OutcomeData

    device = runtime.start(job.settings, job.seed)
    tokenizer: Tokenizer = load_tokenizer(SFT)
    # Saved with the model: scoring truncates like training.
    tokenizer.model_max_length = job.max_length
    labels = _labels(job)
    scales = Scales.from_labels(labels)
    examples = _examples(job, labels, scales, tokenizer)
    pairs, frozen = outputs.read_table(job.tables[-1]), job.params.architecture == "probe"
    validation = encode_pairs(pairs, job.names, tokenizer, steady_cut=frozen)
    started, resumed = time.perf_counter(), job.work.exists()
    fitted = _fit(job, OutcomeData(job.names, tokenizer, examples, scales, validation), device)
    seconds = time.perf_counter() - started
    calibration = calibrate(pair_margins(fitted.score, validation, job.names))
    with outputs.directory(job.folder) as folder:
        fitted.save(folder)
        outputs.write_json(folder / "calibration.json", calibration)
        outputs.write_json(folder / "graders.json", fitted.thresholds.summary(scales))
        if fitted.regularisation is not None:
            outputs.write_json(folder / REGULARISATION, fitted.regularisation)
    timing = {
        "seconds": seconds,
        "resumed": resumed,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": fitted.parameters,
        "gradient_cosine": fitted.gradient_cosine,
    }
    outputs.write_json(REPORTS / f"timing/{job.group}.json", timing)


def _labels(job: RewardModelJob) -> pd.DataFrame:
    """The training labels: as given, or the pairs that they imply."""
    from concord.prepared import labels

    given, pairs = (outputs.read_table(table) for table in job.tables[:2])
    frame = given if job.params.labels == "given" else labels.from_pairs(pairs)
    people = job.params.annotators
    kept = frame["objective"].isin(job.names)
    return frame[kept if people is None else kept & frame["annotator"].isin(people)]


def _examples(
    job: RewardModelJob, labels: pd.DataFrame, scales: Scales, tokenizer: Tokenizer
) -> list[Example]:
    """Training examples. Raises DataError if an objective has no labels."""
    from concord.rewards.outcome.examples import examples, labelled_heads

    margins = {name: head.margin for name, head in job.params.objectives.items()}
    frozen = job.params.architecture == "probe"
    made = examples(labels, job.names, scales, tokenizer, margins, steady_cut=frozen)
    labelled = set().union(*(labelled_heads(example) for example in made))
    missing = [name for head, name in enumerate(job.names) if head not in labelled]
    if missing:
        given = job.params.labels == "given"
        table, what = (job.tables[0], "labels") if given else (job.tables[1], "pairs")
        instead = "" if given else ", or set labels: given, which needs no pairs"
        if job.params.annotators is not None:
            what = f"{what} by {', '.join(job.params.annotators)}"
        raise DataError(
            f"{table} has no {what} for {', '.join(missing)}, so the head cannot be fitted; "
            f"add annotations{instead}"
        )
    return made


def _fit(job: RewardModelJob, data: OutcomeData, device: torch.device) -> Fitted:
    """Fits a model of the requested architecture."""
    from concord.rewards.outcome import outcome_fit

    params = job.params
    backbone = outcome_fit.Backbone(SFT, device, job.settings.dtype)
    if params.architecture == "probe":
        probe = outcome_fit.ProbeSettings(
            layers=params.layers or default_layers(),
            pooling=params.pooling,
            dtype=params.frozen_dtype,
            l2=params.l2,
            cache=job.features,
            folder=job.folder,
            curve=job.curve,
            label=f"reward model {job.group}",
            report_to=job.settings.report_to,
        )
        return outcome_fit.fit_probe(data, backbone, probe)
    assert params.training is not None
    finetune = outcome_fit.FinetuneSettings(
        training=params.training,
        loss_weights=[head.loss_weight for head in params.objectives.values()],
        lora=params.lora,
        l2=START_L2 if params.l2 is None else params.l2,
        seed=job.seed,
        work=job.work,
        curve=job.curve,
        label=f"reward model {job.group}",
        report_to=job.settings.report_to,
    )
    return outcome_fit.finetune(data, backbone, finetune)


def default_layers() -> tuple[int, ...]:
    """The layers of the SFT model that a probe reads if none are given, in ascending order."""
    from transformers import AutoConfig

    count = (
        AutoConfig.from_pretrained(SFT, trust_remote_code=False).get_text_config().num_hidden_layers
    )
    return tuple(sorted({count // 2, 3 * count // 4, count}))


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
