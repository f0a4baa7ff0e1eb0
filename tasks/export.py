"""Publishes the candidate, merged at the selected weights, as a standard checkpoint.

    reports/select.json, reports/gate.json, reports/candidate, models/policies/<policy>,
    and for the model card reports/data.json, reports/samples/<reference>.parquet, data/prepared and
    the models it was trained with
    -> models/aligned, models/candidate

    python -m tasks.export

Accepted by the gate, the checkpoint becomes models/aligned. Refused, it becomes models/candidate
with a card that says why, and models/aligned stays as it is. Heads are linear, so the merged
checkpoint gives exactly the weighted logits. Any engine that serves the base model can serve it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.evaluation.policies.published import Published
from concord.lm.load import load_tokenizer
from concord.policies.publish import CARD
from concord.report import card as cards
from concord.report import hub_results
from concord.stage import outputs
from concord.stage.command import command
from concord.stage.errors import DataError
from concord.stage.params import FORBID, Dtype, Model, load, read
from concord.stage.paths import (
    ALIGNED,
    ANCHORS,
    POLICIES,
    PREPARED,
    PROCESS_REWARD,
    REFUSED,
    REPORTS,
    REWARDS,
    SFT,
)
from concord.steering.checkpoint import digest, write


@dataclass(frozen=True, config=FORBID)
class ExportParams:
    """The section `export`."""

    dtype: Dtype = "float32"
    """Data type of the exported weights, and of the evaluation of the candidate. `bfloat16` is
    refused if rounding would undo more than a tenth of what training changed."""
    benchmark: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] = hub_results.LOCAL
    """ID of the held-out data on the Hugging Face Hub, which the files in `.eval_results` name. The
    default says that the data are not there."""


def run(params: ExportParams, base: Model, all_params: Mapping[str, Any]) -> bool:
    """Writes the checkpoint where the verdict sends it; returns whether it was published."""
    record = Published(all_params, with_rival=False)
    choice, gate, policy = record.choice, record.gate, POLICIES / record.policy
    target = ALIGNED if gate["accepted"] else REFUSED
    data = outputs.read_json(REPORTS / "data.json")
    with outputs.directory(target) as folder:
        write(policy, choice["weights"], params.dtype, folder, choice["strength"])
        check_evaluated(folder, record.results)
        tokenizer = load_tokenizer(folder)
        hashes = lineage(policy)
        card = cards.card(record, data, base, tokenizer, target, hashes, params.benchmark)
        outputs.write_text(folder / CARD, card)
        outputs.write_text(
            folder / hub_results.FILE, hub_results.eval_results(record, params.benchmark)
        )
    if gate["accepted"]:
        _only_a_card(REFUSED, cards.published(gate))
    else:
        _leave_published(gate)
    return bool(gate["accepted"])


def _leave_published(gate: Mapping[str, Any]) -> None:
    """Leaves models/aligned as it is, or says there that nothing was published, and why.

    Raises DataError if the published model is incomplete: it would be recorded like that.
    """
    present = {file.name for file in ALIGNED.glob("*")}
    if present <= {CARD}:  # the card of an earlier refusal, which a power cut may have damaged
        _only_a_card(ALIGNED, cards.nothing_published(gate))
    else:
        absent = sorted({CARD, "config.json", "tokenizer.json"} - present)
        if not list(ALIGNED.glob("*.safetensors")):
            absent.append("its weights (*.safetensors)")
        if absent:
            raise DataError(
                f"{ALIGNED}, the published model, lacks {', '.join(absent)}. The candidate was "
                f"refused, so it cannot take its place. Restore it with `dvc pull {ALIGNED}`, or "
                f"from a release (`dvc get . {ALIGNED} --rev aligned@v1.2.0`), or delete the folder"
            )


def check_evaluated(folder: Path, results: Any) -> None:
    """Raises DataError if the checkpoint is not the one that was evaluated."""
    if (written := digest(folder)) != results["checkpoint"]:
        raise DataError(
            f"The merged checkpoint has the digest {written}, but the evaluated one has "
            f"{results['checkpoint']}; rerun the stage candidate"
        )


def lineage(policy: Path) -> dict[str, str]:
    """Path -> SHA-256 of every input of the model. Paths that do not exist are left out."""
    steps = [PREPARED, SFT, REWARDS, PROCESS_REWARD, ANCHORS, policy]
    return {step.as_posix(): digest(step) for step in steps if step.exists()}


def _only_a_card(path: Path, text: str) -> None:
    with outputs.directory(path) as folder:
        outputs.write_text(folder / CARD, text)


def main() -> None:
    """Runs the stage."""
    if run(load(ExportParams, "export"), load(Model, "model"), read()):
        print(f"published {ALIGNED}; load it with AutoModelForCausalLM.from_pretrained")
    else:
        print(f"refused: {ALIGNED} stays as it is; the refused model is {REFUSED}")


if __name__ == "__main__":
    command(main)
