"""Runs the whole graph, from annotations to a steered model, with one flow per phase.

    python -m flows.align          # in the project root, with or without a Prefect server

DVC owns the graph, the cache and dvc.lock. Each task reproduces one stage of dvc.yaml in separate
processes, as `dvc repro` does. Prefect schedules the tasks: order, parallelism, GPU slots, retries,
UI.
"""

import signal
import sys
import time
from pathlib import Path

from prefect import flow

from concord.stage.errors import ConcordError
from flows import labels, presence, publish, request, terminal
from flows.graph import Stage, of_phase, read_graph
from flows.nodes import bring_up_to_date, machine_for
from flows.request import Weights
from flows.stage import Outcome


@flow(persist_result=False, flow_run_name=labels.run_name)
def align(
    recipe: str = request.DEFAULT,
    weights: Weights = request.NO_WEIGHTS,
    stages: list[str] = request.ALL_STAGES,
    force: bool = False,
) -> list[Outcome]:
    """Brings stages up to date, phase by phase, and publishes the results.

    Args:
        recipe: A params file. Another one than params.yaml runs in a clone under `runs/`.
        weights: Objective -> what it is worth to you, as in `select.weights`. The other objectives
            keep the weights of the recipe. The run is in a clone.
        stages: Stages to bring up to date, with all that they depend on: `sft`, `policy@grpo`, or
            `policy` for all policies. Empty: all stages.
        force: Whether these stages run although nothing has changed.

    Raises:
        ConcordError: a parameter is invalid, or a stage failed.
    """
    terminal.shorten_errors()
    label = labels.label(recipe, weights, Path.cwd())
    with presence.held(), request.folder_of(recipe, weights), labels.set_label(label):
        labels.tag_run(["concord", label.split()[0], publish.policy()])
        todo, named = request.chosen(read_graph(), stages)
        with machine_for(todo, forced=named if force else set()) as machine:
            ingestion(of_phase(todo, "ingestion"))
            rewards(of_phase(todo, "rewards"))
            process_rewards(of_phase(todo, "process_rewards"))
            policies(of_phase(todo, "policies"))
            evaluation(of_phase(todo, "evaluation"))
        publish.results(machine.outcomes, label)
    return machine.outcomes


@flow(persist_result=False, flow_run_name=labels.phase_name)
def ingestion(stages: list[Stage]) -> None:
    """Validates the parameters; ingests, cleans and splits the data."""
    bring_up_to_date(stages)


@flow(persist_result=False, flow_run_name=labels.phase_name)
def rewards(stages: list[Stage]) -> None:
    """Trains the SFT model and the reward models."""
    bring_up_to_date(stages)


@flow(persist_result=False, flow_run_name=labels.phase_name)
def process_rewards(stages: list[Stage]) -> None:
    """Samples from the SFT model (anchors, rollouts, step labels); trains the process rewards."""
    bring_up_to_date(stages)


@flow(persist_result=False, flow_run_name=labels.phase_name)
def policies(stages: list[Stage]) -> None:
    """Trains the policies."""
    bring_up_to_date(stages)


@flow(persist_result=False, flow_run_name=labels.phase_name)
def evaluation(stages: list[Stage]) -> None:
    """Evaluates policies and rewards, chooses weights, exports the model and writes the report."""
    bring_up_to_date(stages)


def main() -> int:
    """Runs the flow; returns the exit status."""
    began = time.monotonic()
    terminal.quieten()
    # Both signals raise KeyboardInterrupt, so that the temporary server is stopped too. SIGINT
    # needs it as well, because shells ignore it in background processes.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with terminal.server(), terminal.explain_loss():
            outcomes = align()
    except ConcordError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\ninterrupted; finished stages are kept, and the next run resumes from here",
            file=sys.stderr,
        )
        return 130
    print(terminal.summary(outcomes, time.monotonic() - began))
    return 0


if __name__ == "__main__":
    sys.exit(main())
