"""Scores a file of annotations with a trained reward model, and compares with the labels in it.

    python -m concord.evaluation.rewards.score_file MODEL FILE OBJECTIVE FORMAT OPTIONS OUT

MODEL is a folder, such as models/rewards/<group> or models/process_reward. OBJECTIVE, FORMAT and
OUT may be empty. OPTIONS is a JSON object. `concord score` is shorter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import Interval
from concord.evaluation.rewards.answer_scores import AnswerScores
from concord.evaluation.rewards.scored_file import LabelledFile, heads_and_labels, read_file
from concord.evaluation.rewards.scoring import CHANCE, MODEL, Figure, figures_of
from concord.evaluation.rewards.trained_models import open_model
from concord.stage import outputs, runtime
from concord.stage.command import command
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import Runtime, read, section

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SIDES = {
    "pairs": ("chosen", "rejected"),
    "grades": ("response",),
    "answers": ("response",),
}
"""Table of a file -> its columns with answers."""


def score(
    model: Path, path: Path, objective: str, format_name: str, options: dict[str, Any], out: str
) -> str:
    """Scores a file; returns the text about it, and writes the scores to `out` if it is given.

    Raises ModelError, DataError or ParamsError.
    """
    if out and Path(out).suffix != ".parquet":
        raise ParamsError(f"--out {out}: the scores are written as Parquet; name it *.parquet")
    settings = settings_here()
    trained = open_model(model, runtime.start(settings, 0), settings.dtype)
    if objective:
        trained.head(objective)
    content = read_file(path, format_name, options)
    labelled = heads_and_labels(objective, content.objectives(), trained.objectives, path)
    scores = AnswerScores(trained)
    table = pd.DataFrame(scored_rows(content, scores))
    if table.empty:
        raise DataError(f"{path} holds prompts but no answers, so there is nothing to score")
    scores.compute()
    heads = [objective] if objective else list(labelled) or trained.objectives
    for head in heads:
        column = trained.head(head)
        table[f"score.{head}"] = [scores.of(key, column) for key in table["key"]]
    if out:
        outputs.write_table(Path(out), table.drop(columns="key"))
    lines = [heading(model, path, content, table, scores)]
    for head in heads:
        if head in labelled:
            of_head = content.of(labelled[head])
            figures = figures_of(of_head, scores, trained.head(head))
            lines += ["", *section_of(head, labelled[head], figures)]
        lines += ["", distribution(head, table[f"score.{head}"])]
        if head not in labelled:
            lines.append(f"  {path} has no labels of it, so nothing says how good they are")
    return "\n".join(lines) + "\n"


def settings_here() -> Runtime:
    """The section `runtime` of params.yaml, or one thread and the available device."""
    file = Path("params.yaml")
    given = read(file).get("runtime") if file.is_file() else None
    return section(Runtime, given or {"threads": 1}, "runtime")


def scored_rows(content: LabelledFile, scores: AnswerScores) -> Iterator[dict[str, Any]]:
    """A row for each answer of the file, which is noted to be scored."""
    for name, sides in SIDES.items():
        for row in getattr(content, name).to_dict("records"):
            for side in sides:
                key = scores.add(row["messages"], row[side])
                yield described(row, name, side, row[side], key)
    for row in content.steps.to_dict("records"):
        key = scores.add_steps(row["messages"], row["steps"])
        yield described(row, "steps", "response", "".join(row["steps"]), key)


def described(
    row: dict[Any, Any], table: str, side: str, response: str, key: str
) -> dict[str, Any]:
    """Where an answer comes from, and its text."""
    return {
        "source_file": row["source_file"],
        "source_line": row["source_line"],
        "group_id": row["group_id"],
        "table": table,
        "side": side,
        "objective": row.get("objective"),
        "messages": row["messages"],
        "response": response,
        "key": key,
    }


def heading(
    model: Path, path: Path, content: LabelledFile, table: pd.DataFrame, scores: AnswerScores
) -> str:
    """The model, the file, and what of it was not scored."""
    lost = []
    if content.kept < content.read:
        lost.append(
            f"{content.read - content.kept:,} of {content.read:,} annotations are not kept; "
            f"`concord inspect {path}` says why"
        )
    if scores.too_long:
        lost.append(f"{scores.too_long:,} answers do not fit into the model and have no score")
    more = "".join(f"\n  {line}" for line in lost)
    return (
        f"{model} on {path} (format `{content.reading.format}`): "
        f"{table['key'].nunique():,} different answers{more}"
    )


def section_of(head: str, objective: str, figures: list[Figure]) -> Iterator[str]:
    """The figures of a head as lines."""
    yield head if head == objective else f"{head}, against the labels of {objective}"
    for figure in figures:
        yield f"  {figure.measure} ({figure.labels})"
        for name, value in figure.values.items():
            yield f"    {name:<24} {shown(value)}"
    best = next((figure for figure in figures if MODEL in figure.values), None)
    value = best.values[MODEL] if best else None
    chance = best.values.get(CHANCE) if best else None
    if isinstance(value, Interval) and isinstance(chance, float) and value.high < chance:
        yield "  below chance: the head prefers the opposite of these labels"


def shown(value: Interval | float | None) -> str:
    """A value of a figure; a dash if there are too few labels for it.

    Examples:
        >>> shown(Interval(0.5, 0.4, 0.6)), shown(0.5)
        ('0.500 [0.400, 0.600]', '0.500')
    """
    if value is None:
        return "-     too few labels"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def distribution(head: str, scores: pd.Series) -> str:
    """Mean, spread and quantiles of the scores of a head."""
    known = scores.dropna().to_numpy(dtype=float)
    if not known.size:
        return f"scores of {head}: none"
    quantiles = "  ".join(
        f"{100 * share:g} %: {value:.3g}"
        for share, value in zip(QUANTILES, np.quantile(known, QUANTILES), strict=True)
    )
    return f"scores of {head}: mean {known.mean():.3g}, sd {known.std():.3g};  {quantiles}"


def main(model: str, path: str, objective: str, format_name: str, options: str, out: str) -> None:
    """Prints the figures of a file."""
    print(score(Path(model), Path(path), objective, format_name, json.loads(options), out), end="")
    if out:
        print(f"scores of every answer: {out}")


if __name__ == "__main__":
    command(main)
