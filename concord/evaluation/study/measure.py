"""Measures one policy of a study, in the folder of its seed.

    params.yaml, study.yaml, models/sft, models/policies/<variant>,
    data/prepared/{ratings,pairs}
    -> measured/<settings>/<variant>.parquet

    python -m concord.evaluation.study.measure <variant>

Protocol `sandbox`: one row per answer with its gold rewards, KL from the SFT model in nats, and
length in tokens. All policies answer the same prompts with the same random numbers. Protocol
`likelihood`: rows as in `concord.evaluation.policies.likelihood.pairs`, of the test split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concord.evaluation.policies.protocol import Point
from concord.evaluation.study.recipe import REFERENCE, Cell, StudyParams, Variant, cells, variants
from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import objectives_of
from concord.sandbox.world import World
from concord.stage import outputs, progress, runtime
from concord.stage.command import command
from concord.stage.params import Runtime, read, section
from concord.stage.paths import POLICIES, SFT

if TYPE_CHECKING:
    import pandas as pd

    from concord.steering.steered import Steered

STUDY = Path("study.yaml")
MEASURED = Path("measured")


def measured(study: StudyParams, name: str) -> Path:
    """The table of a variant, or of the SFT model. Another way to measure gives another folder."""
    keys = [
        *("protocol", "world", "world_seed", "prompts"),
        *("scales", "weights", "temperature", "max_new_tokens"),
    ]
    settings = json.dumps({key: getattr(study, key) for key in keys}, sort_keys=True)
    return MEASURED / hashlib.sha256(settings.encode()).hexdigest()[:12] / f"{name}.parquet"


def run(variant: Variant | None, study: StudyParams, params: Mapping[str, Any]) -> None:
    """Measures a variant, or the SFT model if it is None, and writes its answers."""
    import pandas as pd

    name = REFERENCE if variant is None else variant.name
    settings = section(Runtime, params["runtime"], "runtime")
    policy = _load(SFT if variant is None else POLICIES / name, study, params, settings)
    everywhere = cells(study, objectives_of(params))
    chosen = [cell for cell in everywhere if _applies(cell, variant, bool(policy.heads))]
    scales = [1.0] if variant is None else study.scales
    tasks = [(cell, scale) for cell in chosen for scale in scales]
    unit = {"sandbox": answers, "likelihood": labelled_pairs}[study.protocol]
    tables = [
        unit(policy, cell, scale, study)
        for cell, scale in progress.track(tasks, len(tasks), f"measuring {name}")
    ]
    outputs.write_table(measured(study, name), pd.concat(tables, ignore_index=True))


def _applies(cell: Cell, variant: Variant | None, steerable: bool) -> bool:
    """Whether a policy answers at a cell: at its own weights, or once if weights do not matter."""
    if variant is not None and variant.line is not None:
        return cell.line == variant.line
    return steerable or cell.line == 0


def _load(path: Path, study: StudyParams, params: Mapping[str, Any], settings: Runtime) -> Steered:
    from concord.policies.steerable import load as load_policy
    from concord.steering.steered import Sampling, Steered

    device = runtime.start(settings, 0)
    sampling = Sampling(
        study.max_new_tokens,
        study.temperature,
        study.batch_size,
        params["model"]["max_length"],
        seed=study.world_seed,
    )
    policy = load_policy(path, device, settings.dtype)
    reference = load_causal(SFT, device, settings.dtype)
    return Steered(policy, reference, load_tokenizer(SFT), sampling)


def answers(policy: Steered, cell: Cell, scale: float, study: StudyParams) -> pd.DataFrame:
    """The answers of a policy at one cell and scale, with `gold.<objective>`."""
    from concord.evaluation.policies import locked

    world = World.build(str(study.world), study.world_seed)
    prompts = locked.prompts(world, [cell.domain], study.prompts, seed=study.world_seed)
    messages = prompts["messages"].tolist()
    answered = policy.answers(messages, cell.weights, scale)
    gold = [world.gold(*pair) for pair in zip(messages, answered.texts, strict=True)]
    return prompts[["domain", "prompt_id", "group_id"]].assign(
        line=cell.line,
        scale=scale,
        response=answered.texts,
        kl=answered.kl,
        length=answered.lengths,
        **{f"gold.{name}": [row[name] for row in gold] for name in cell.weights},
    )


def labelled_pairs(policy: Steered, cell: Cell, scale: float, study: StudyParams) -> pd.DataFrame:
    """Judged pairs of labelled answers at one cell and scale; `gold.<objective>` is 1, .5 or 0."""
    from concord.evaluation.policies import likelihood
    from concord.steering.steered import Steered

    names = list(cell.weights)
    labels = likelihood.labels_of("test")
    rated = likelihood.labelled_answers(labels, cell.domain, names, study.prompts)
    merged = policy.at(cell.weights, scale)
    at_scale = Steered(merged, policy.reference, policy.tokenizer, policy.sampling)
    point = Point("", cell.domain, cell.weights)
    scored = likelihood.score(at_scale, rated, [point], "test")
    pairs = likelihood.pairs(scored, names)
    columns = ["domain", "prompt_id", "group_id", "kl", "length", *(f"gold.{n}" for n in names)]
    return pairs[columns].assign(line=cell.line, scale=scale)


def main(name: str) -> None:
    """Measures the variant `name`, or the SFT model."""
    study = section(StudyParams, read(STUDY), str(STUDY))
    by_name: dict[str, Variant | None] = {variant.name: variant for variant in variants(study)}
    run({**by_name, REFERENCE: None}[name], study, read())


if __name__ == "__main__":
    command(main)
