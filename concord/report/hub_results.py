"""The figures of a candidate in the two forms that the Hugging Face Hub reads.

`model-index` is metadata of the model card. Files in `.eval_results` are the newer form; the Hub
shows them if their data set is registered there as a benchmark.
"""

from __future__ import annotations

import io
from pathlib import Path

from ruamel.yaml import YAML

from concord.evaluation.policies.published import SPLITS, Published, Row

FILE = Path(".eval_results/concord.yaml")
"""Within the folder of the checkpoint."""
LOCAL = "local/held-out"
"""ID of held-out data that are not on the Hub."""
METRICS = {
    "sandbox": ("gold_reward", "mean gold reward of sampled answers, from 0 to 1"),
    "likelihood": ("pair_accuracy", "share of pairs whose preferred answer is likelier per token"),
    "judged": ("judged_rating", "mean rating of sampled answers by a judge, from 0 to 1"),
}
"""Protocol -> the type of the metric, and what it is."""
DIGITS = 6


def model_index(record: Published, name: str, benchmark: str) -> str:
    """The entry `model-index` of a card's metadata, as YAML.

    Args:
        record: the figures of the run.
        name: the name of the model.
        benchmark: the ID of the held-out data on the Hub.
    """
    from huggingface_hub import EvalResult, ModelCardData

    protocol = record.results["conditions"]["protocol"]
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=benchmark,
            dataset_name=SPLITS[protocol],
            dataset_config=record.objectives[row.objective].domain,
            dataset_split="test",
            metric_type=METRICS[protocol][0],
            metric_name=row.objective,
            metric_value=round(float(row.candidate.value), DIGITS),
        )
        for row in record.rows
    ]
    if not results:
        return ""
    # The entry is the model's name and its results; all other fields of the card are written
    # elsewhere.
    return f"{ModelCardData(model_name=name, eval_results=results).to_yaml()}\n"


def eval_results(record: Published, benchmark: str) -> str:
    """The file of `.eval_results`: an entry per objective, which is the name of its task."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    measure = METRICS[record.results["conditions"]["protocol"]][1]
    entries = [
        EvalResultEntry(
            dataset_id=benchmark,
            task_id=row.objective,
            value=round(float(row.candidate.value), DIGITS),
            notes=_notes(row, measure, benchmark),
        )
        for row in record.rows
    ]
    yaml = YAML()
    yaml.width = 10_000
    with io.StringIO() as text:
        yaml.dump(eval_result_entries_to_yaml(entries), text)
        return text.getvalue()


def _notes(row: Row, measure: str, benchmark: str) -> str:
    interval = f"95 % interval {row.candidate.low:.3f} to {row.candidate.high:.3f}"
    where = "; held-out data of this run, not on the Hub" if benchmark == LOCAL else ""
    return f"{measure}; {interval}{where}"
