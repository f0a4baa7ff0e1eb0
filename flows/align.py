"""The whole graph, from annotations to a steered model, one flow a phase.

    python -m flows.align          # in the root of the project, with or without a Prefect server

DVC owns the graph, the cache and the record: each task brings one stage of dvc.yaml up to date in processes of its own,
as `dvc repro` would. Prefect sees to order, parallelism, slots, retries and the window.
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
    """Brings every stage up to date, phase by phase, and publishes what came of it."""
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
    """Checked parameters, validated tables, splits."""
    bring_up_to_date(stages)


@flow(persist_result=False)
def rewards(stages: list[Stage]) -> None:
    """The model that everything starts from, and a reward model for each group of objectives."""
    bring_up_to_date(stages)


@flow(persist_result=False)
def process_rewards(stages: list[Stage]) -> None:
    """The rewards at work on the start model's samples: anchors, scored rollouts, step labels and who learns them."""
    bring_up_to_date(stages)


@flow(persist_result=False)
def policies(stages: list[Stage]) -> None:
    """Every policy."""
    bring_up_to_date(stages)


@flow(persist_result=False)
def evaluation(stages: list[Stage]) -> None:
    """Every policy on the locked protocol, the front, the chosen weights, the gate, the export, the report."""
    bring_up_to_date(stages)


def main() -> int:
    began = time.monotonic()
    terminal.quieten()
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # the first is ignored where a script started this in the background
        signal.signal(number, signal.default_int_handler)  # so that the temporary server ends too
    try:
        with terminal.server():
            outcomes = align()
    except ConcordError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\ninterrupted; finished stages are kept, so the next run goes on from here",
            file=sys.stderr,
        )
        return 130
    print(terminal.summary(outcomes, time.monotonic() - began))
    return 0


if __name__ == "__main__":
    sys.exit(main())
