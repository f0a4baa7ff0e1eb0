"""Do policies far from the SFT model still write well? Sampled answers, judged at three weights.

    python -m benchmarks.judged_answers models/policies/mah_dpo --prompts 60

Run it in the folder of a run with human annotations, after the stage `sft` and the policy. The SFT
model is judged first. Prints Markdown: the agreement of the judge with held-out ratings, then per
domain and weights the predicted ratings, KL, perplexity under the SFT model, repetition and length.
It needs no reward models. Without models/minilm the judge reads TF-IDF alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from concord.evaluation.metrics import Clusters, Interval, interval
from concord.evaluation.policies import answer_judge, judged, likelihood
from concord.evaluation.policies.judge_params import JudgeParams
from concord.evaluation.policies.protocol import Judged, by_domain, operating_points
from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import objectives_of
from concord.policies.steerable import load
from concord.stage import outputs, runtime
from concord.stage.params import Runtime, read, section
from concord.stage.paths import MINILM, PREPARED, SFT
from concord.steering.steered import Sampling, Steered

BOOTSTRAP = 1000
PROMPTS = ("prompts/test", "prompts/validation")


def main() -> None:
    """Judges the SFT model and the policy, and prints the tables."""
    parser = argparse.ArgumentParser(description="Judge sampled answers at three weights.")
    parser.add_argument("policy", type=Path)
    parser.add_argument("--prompts", type=int, default=60, help="per domain")
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--temperature", type=float, default=1.0, help="KL is that at 1")
    parser.add_argument("--samples", type=Path, help="file for the answers")
    arguments = parser.parse_args()
    params = read()
    names = by_domain({n: o.domain for n, o in objectives_of(params).items() if o.in_vector})
    results = {
        path.name: judge(
            path, names, params, arguments.prompts, arguments.max_new_tokens, arguments.temperature
        )
        for path in (SFT, arguments.policy)
    }
    print("\n".join([*agreement(results[SFT.name]), "", *figures(results, names)]))
    if arguments.samples:
        tables = [one.samples.assign(policy=policy) for policy, one in results.items()]
        outputs.write_table(arguments.samples, pd.concat(tables, ignore_index=True))


def judge(
    path: Path,
    names: Mapping[str, Sequence[str]],
    params: Mapping[str, Any],
    prompts: int,
    max_new_tokens: int,
    temperature: float,
) -> Judged:
    """Answers of one policy, at equal weights and, if it can be steered, at both ends."""
    settings = section(Runtime, params["runtime"], "runtime")
    device = runtime.start(settings, params["seeds"]["sampling"])
    sampling = Sampling(max_new_tokens, temperature, 16, params["model"]["max_length"], 0)
    policy = Steered(
        load(path, device, settings.dtype),
        load_causal(SFT, device, settings.dtype),
        load_tokenizer(SFT),
        sampling,
    )
    points = []
    for domain, members in names.items():
        equal = {name: 1 / len(members) for name in members}
        of_domain = operating_points(domain, members, equal, 3)
        points += of_domain if policy.heads else of_domain[:1]
    judge_params = JudgeParams(embeddings=MINILM.is_dir())
    test, validation = (outputs.read_table(PREPARED / f"{table}.parquet") for table in PROMPTS)
    return judged.judge(
        policy,
        judged.JudgedData(test, likelihood.labels_of("test"), validation),
        objectives_of(params),
        names,
        {"held_out": points},
        judged.JudgedSettings(judge_params, prompts, 1, 1, max_new_tokens, BOOTSTRAP, 0),
        answer_judge.embeddings(judge_params.embeddings),
    )


def agreement(result: Judged) -> Iterator[str]:
    """The agreement of the judge with held-out ratings."""
    yield "| objective | agreement | longer answer | pairs |"
    yield "|---|---|---|---|"
    for name, entry in result.extra["judge"].items():
        shown = Interval(entry["value"], entry["low"], entry["high"])
        yield f"| {name} | {_shown(shown)} | {entry['longer']:.3f} | {entry['pairs']} |"


def figures(results: Mapping[str, Judged], names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A table per domain, a row per policy and weights."""
    for domain, members in names.items():
        yield f"| {domain} | {' | '.join(members)} | KL | perplexity | repetition | length | cut |"
        yield "|---" * (6 + len(members)) + "|"
        for policy, result in results.items():
            frame = result.held_out[result.held_out["domain"] == domain]
            clusters = Clusters.of(frame, [*(f"gold.{name}" for name in members), "kl"])
            means, draws = clusters.mean(), clusters.bootstrap(BOOTSTRAP, 0)
            styles = {s["point"]: s for s in result.extra["writing"] if s["domain"] == domain}
            for row, point in enumerate(clusters.keys):
                cells = [
                    _shown(interval(means[row, column], draws[:, row, column]))
                    for column in range(len(members) + 1)
                ]
                for measure in ("perplexity", "repetition", "length", "cut"):
                    entry = styles[point][measure]
                    cells.append(_shown(Interval(*entry.values())))
                yield f"| {policy}, {point} | {' | '.join(cells)} |"
        yield ""


def _shown(value: Interval) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


if __name__ == "__main__":
    main()
