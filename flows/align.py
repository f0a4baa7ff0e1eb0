"""Runs the whole graph, from annotations to a steered model, with one flow per phase.

    python -m flows.align          # in the project root, with or without a Prefect server

DVC owns the graph, the cache and dvc.lock. Each task reproduces one stage of dvc.yaml in separate
processes, as `dvc repro` does. Prefect schedules the tasks: order, parallelism, GPU slots, retries,
UI.
"""

import signal
import sys
import time

from prefect import flow

from concord.stage.errors import ConcordError
from flows import publish, terminal
from flows.graph import Stage, of_phase, read_graph
from flows.nodes import bring_up_to_date, machine_for
from flows.stage import Outcome


@flow(persist_result=False)
def align() -> list[Outcome]:
    """Brings every stage up to date, phase by phase, and publishes the results."""
    stages = read_graph()
    with machine_for(stages) as machine:
        ingestion(of_phase(stages, "ingestion"))
        rewards(of_phase(stages, "rewards"))
        process_rewards(of_phase(stages, "process_rewards"))
        policies(of_phase(stages, "policies"))
        evaluation(of_phase(stages, "evaluation"))
    publish.results(machine.outcomes)
    return machine.outcomes


@flow(persist_result=False)
def ingestion(stages: list[Stage]) -> None:
    """Validates the parameters; ingests, cleans and splits the data."""
    bring_up_to_date(stages)


@flow(persist_result=False)
def rewards(stages: list[Stage]) -> None:
    """Trains the SFT model and the reward models."""
    bring_up_to_date(stages)


@flow(persist_result=False)
def process_rewards(stages: list[Stage]) -> None:
    """Samples from the SFT model (anchors, rollouts, step labels); trains the process rewards."""
    bring_up_to_date(stages)


@flow(persist_result=False)
def policies(stages: list[Stage]) -> None:
    """Trains the policies."""
    bring_up_to_date(stages)


@flow(persist_result=False)
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
        with terminal.server():
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
