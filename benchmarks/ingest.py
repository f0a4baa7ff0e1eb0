"""How fast and in how much memory `ingest` reads comparisons: parse, schema, hash, exact duplicates, on one core.

    python -m benchmarks.ingest [rows=2000000]

Writes a tenth of the rows and all of them to temporary JSON Lines files (one row in a thousand is broken, one in a
hundred a duplicate), ingests each in a process of its own, and prints rows per second of processor time, the peak
resident memory, and the time per row of the large file over that of the small one. Processor time is that of all of the
process's threads together: other programs on the machine lengthen it less than they lengthen the wall-clock time, which
stands beside it.
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
            found = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout
            )
            per_row.append(found["cpu_seconds"] / count)
            report = found["report"]
            print(
                f"{count:>9} rows, {path.stat().st_size / 2**20:.0f} MiB: {found['cpu_seconds']:.1f} processor seconds "
                f"({found['wall_seconds']:.1f} on the clock), {count / found['cpu_seconds']:,.0f} rows per processor "
                f"second, peak {found['peak_mib']:,.0f} MiB; kept {report['kept']}, {report['by_reason']}"
            )
    print(f"processor time per row, large over small: {per_row[1] / per_row[0]:.2f}")


if __name__ == "__main__":
    argument = sys.argv[1] if len(sys.argv) > 1 else "2000000"
    if argument.isdigit():
        main(int(argument))
    else:
        measure(argument)
