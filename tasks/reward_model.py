"""Fit a reward model on one group's pairs: a head per objective, Bradley-Terry, loss sum_i loss_weight_i * L_i.

data/prepared/rewards/<group>/{train,validation}.parquet, models/sft -> models/rewards/<group>,
reports/timing/<group>.json, reports/curves/reward_<group>.csv

    python -m tasks.reward_model values
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.stage import outputs, resume, runtime
from tasks.stage.errors import DataError, command
from tasks.stage.params import FORBID, Runtime, load
from tasks.stage.training import Training, fit

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
SFT = Path("models/sft")
VALIDATION_PAIRS = 256  # looked at while training; the full tables are for evaluation


@dataclass(frozen=True, config=FORBID)
class Head:
    """One objective of the group."""

    loss_weight: Annotated[float, Field(gt=0)] = 1.0
    """w in the training loss; how much fitting this objective matters, not how much it counts in a reward."""


@dataclass(frozen=True, config=FORBID)
class Params:
    """One entry of `reward_models`."""

    objectives: Annotated[dict[str, Head], Field(min_length=1)]
    """A head each, in this order; names bind."""
    architecture: Literal["finetune", "probe"] = "finetune"
    """All weights of the SFT model, or linear heads on its frozen states (where loss weights change nothing)."""
    layers: tuple[int, ...] = ()
    """Layers that a probe reads: 0 for the embeddings, up to the number of layers."""
    l2: Annotated[float, Field(gt=0)] = 100.0
    """Probe: weight of the squared norm of a head (on standardised features) against the summed loss."""
    training: Training | None = None
    """How `finetune` trains."""

    def __post_init__(self) -> None:
        if self.architecture == "finetune" and self.training is None:
            raise ValueError("`architecture: finetune` trains, so it needs `training`")
        if self.architecture == "probe" and not self.layers:
            raise ValueError("`architecture: probe` needs the `layers` that it reads")


@dataclass(frozen=True, config=FORBID)
class Job:
    """All that a fit depends on besides its inputs."""

    group: str
    params: Params
    settings: Runtime
    seed: int
    max_length: int

    @property
    def names(self) -> list[str]:
        """The objectives, in the order of the heads."""
        return list(self.params.objectives)

    @property
    def tables(self) -> list[Path]:
        """Pairs to train on and to look at while training."""
        return [Path("data/prepared/rewards") / self.group / f"{split}.parquet" for split in ("train", "validation")]

    @property
    def folder(self) -> Path:
        """Where the model goes."""
        return Path("models/rewards") / self.group

    @property
    def work(self) -> Path:
        """Where checkpoints go until the model is there."""
        return resume.folder("reward_model", self, [*self.tables, SFT], __file__)

    @property
    def curve(self) -> Path:
        """Where the curve goes."""
        return Path(f"reports/curves/reward_{self.group}.csv")


def run(job: Job) -> None:
    """Fits the group's model and writes it, its timing and its curve."""
    device = runtime.start(job.settings, job.seed)
    tokenizer = _tokenizer(job)
    train, validation = (_pairs(outputs.read_table(table), job.names, tokenizer) for table in job.tables)
    absent = [name for head, name in enumerate(job.names) if head not in {row["head"] for row in train}]
    if absent:
        names = ", ".join(absent)
        raise DataError(f"{job.tables[0]} has no pair for {names}, so its head cannot be fitted; add annotations")
    started, resumed = time.perf_counter(), job.work.exists()
    fitting = _finetune if job.params.architecture == "finetune" else _probe
    parameters = fitting(job, tokenizer, train, validation, device)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - started
    timing = {"seconds": seconds, "resumed": resumed, "peak_mb": peak_mb, "parameters": parameters}
    outputs.write_json(f"reports/timing/{job.group}.json", timing)


def _tokenizer(job: Job) -> Any:
    from tasks.stage.models import load_tokenizer

    tokenizer = load_tokenizer(SFT)
    tokenizer.model_max_length = job.max_length  # saved with the model: scoring cuts where training did
    return tokenizer


def _pairs(frame: pd.DataFrame, names: list[str], tokenizer: Any) -> list[Row]:
    """Rows of ids for Bradley-Terry; pairs whose sides are the same tokens are left out, and counted aloud."""
    from tasks.rewards.outcome import encode_all

    frame = frame[frame["objective"].isin(names)]
    messages = frame["messages"].tolist()
    sides = [encode_all(tokenizer, messages, frame[side].tolist()) for side in ("chosen", "rejected")]
    heads = [names.index(name) for name in frame["objective"]]
    rows = [{"chosen": a, "rejected": b, "head": head} for a, b, head in zip(*sides, heads, strict=True) if a != b]
    if len(rows) < len(frame):
        print(f"{len(frame) - len(rows)} of {len(frame)} pairs are equal token by token and were left out")
    return rows


def _finetune(job: Job, tokenizer: Any, train: list[Row], validation: list[Row], device: Any) -> int:
    from tasks.rewards import bradley_terry
    from tasks.rewards.outcome import new_model

    model = new_model(SFT, job.names, tokenizer, device, job.settings.dtype, job.seed)
    collate = bradley_terry.collate(tokenizer.pad_token_id)
    watched = validation[:: len(validation) // VALIDATION_PAIRS + 1]
    assert job.params.training is not None
    fit(
        model,
        train,
        collate,
        bradley_terry.loss,
        job.params.training,
        seed=job.seed,
        work=job.work,
        curve=job.curve,
        evaluate=lambda model: bradley_terry.pair_accuracy(model, watched, collate, job.names),
        weights=bradley_terry.row_weights([head.loss_weight for head in job.params.objectives.values()]),
        length=bradley_terry.longer,
        label=f"reward model {job.group}",
    )
    with outputs.directory(job.folder) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def _probe(job: Job, tokenizer: Any, train: list[Row], validation: list[Row], device: Any) -> int:
    from tasks.rewards.probe import Differences, Probe, fit_heads, pair_accuracy
    from tasks.stage.models import load_causal

    probe = Probe(load_causal(SFT, device, job.settings.dtype), tokenizer, job.params.layers, job.names, {})
    differences = Differences(probe, [*train, *validation])
    probe.heads = fit_heads(*differences.of(train), len(job.names), differences.features(train), job.params.l2)
    with outputs.directory(job.folder) as folder:
        probe.save(folder, SFT, job.folder)
    accuracy = pair_accuracy(probe.heads, *differences.of(validation), job.names)
    lines: list[list[Any]] = [["step", *accuracy], [1, *accuracy.values()]]  # so that a probe has a curve as well
    outputs.write_text(job.curve, "".join(",".join(map(str, line)) + "\n" for line in lines))
    return probe.heads["weight"].size + probe.heads["bias"].size


def main(group: str) -> None:
    """Runs the stage for the group named on the command line."""
    params = load(Params, "reward_models", group)
    run(Job(group, params, load(Runtime, "runtime"), load(int, "seeds", "data"), load(int, "model", "max_length")))


if __name__ == "__main__":
    command(main)
