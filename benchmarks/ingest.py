"""Speed and peak memory of `ingest` on comparisons: parse, validate, hash and deduplicate.

    python -m benchmarks.ingest [rows=2000000]

Writes two temporary JSON Lines files, one with all rows and one with a tenth of them. One row in a
thousand is broken and one in a hundred is a duplicate. Each file is ingested in a separate process.
Prints rows per second of CPU time, the peak resident memory, and the ratio of the times per row
(large over small file). CPU time is summed over the threads of the process; other programs on the
machine affect it less than the wall-clock time, which is printed too.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

WORDS = [f"word{number}" for number in range(5000)]


def lines(rows: int) -> Iterator[str]:
    """Comparisons with prompts of 20 words and answers of 30."""
    draw = random.Random(0)
    earlier = ""
    for number in range(rows):
        if number % 1000 == 999:
            yield '{"kind": "comparison", "group_id": "cut'
        elif number % 100 == 50:
            yield earlier
        else:
            prompt, one, other = (
                " ".join(draw.choices(WORDS, k=length)) for length in (20, 30, 30)
            )
            row = {
                "kind": "comparison",
                "group_id": f"g{number // 4}",
                "objective": "helpful",
                "annotator": "x",
            }
            answers = {"a": one, "b": other, "preferred": draw.choice("ab")}
            earlier = json.dumps(
                {**row, "messages": [{"role": "user", "content": prompt}], **answers}
            )
            yield earlier


def measure(path: str) -> None:
    """Ingests one file; prints {cpu_seconds, wall_seconds, peak_mib, report} as JSON."""
    from tasks.ingest import IngestParams, Source, run

    started, cpu_started = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        report = run("bench", Source("concord", path), IngestParams(0.1), Path(folder) / "out")
    took = {
        "cpu_seconds": time.process_time() - cpu_started,
        "wall_seconds": time.perf_counter() - started,
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**took, "peak_mib": peak, "report": report}))


def main(rows: int) -> None:
    """Measures a tenth of `rows` and all of them."""
    per_row = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (rows // 10, rows):
            path = Path(folder) / f"{count}.jsonl"
            with path.open("w", encoding="utf-8") as stream:
                stream.writelines(f"{line}\n" for line in lines(count))
            command = [sys.executable, "-m", "benchmarks.ingest", str(path)]
            result = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout
            )
            per_row.append(result["cpu_seconds"] / count)
            report = result["report"]
            print(
                f"{count:>9} rows, {path.stat().st_size / 2**20:.0f} MiB: "
                f"{result['cpu_seconds']:.1f} s of CPU time "
                f"({result['wall_seconds']:.1f} s elapsed), "
                f"{count / result['cpu_seconds']:,.0f} rows per CPU second, "
                f"peak {result['peak_mib']:,.0f} MiB; kept {report['kept']}, {report['by_reason']}"
            )
    print(f"CPU time per row, large over small file: {per_row[1] / per_row[0]:.2f}")


if __name__ == "__main__":
    argument = sys.argv[1] if len(sys.argv) > 1 else "2000000"
    if argument.isdigit():
        main(int(argument))
    else:
        measure(argument)
