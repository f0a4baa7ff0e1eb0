"""Time of `ingest` after a file was added to a folder, with and without kept parsed files.

    python -m benchmarks.appended_file [files] [rows per file]

Both variants read the same folder in one process, in turn. Prints the median of the ratios of the
CPU times, and checks that the tables have the same bytes. The time to start Python is left out.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from concord.annotations.parsed_files import ParsedFiles
from tasks.ingest import IngestParams, Source, run

REPEATS = 5
WORDS = [f"word{number}" for number in range(15)]


def write(file: Path, start: int, rows: int) -> None:
    """Writes pairs with prompts of 12 words and answers of 28."""
    with file.open("w", encoding="utf-8") as stream:
        for number in range(start, start + rows):
            turn = [f"{number}", *WORDS[number % 5 :]]
            answers = {"chosen": " ".join([*turn, *WORDS]), "rejected": " ".join([*WORDS, *turn])}
            stream.write(json.dumps({"prompt": " ".join(turn), **answers}) + "\n")


def ingest(folder: Path, out: Path, parsed: ParsedFiles | None) -> tuple[float, list[bytes]]:
    """Seconds of CPU time, and the bytes of the outputs."""
    source = Source("trl", str(folder), options={"objective": "helpful"}, prompts="values")
    began = time.process_time()
    run("pairs", source, IngestParams(), out, parsed)
    seconds = time.process_time() - began
    return seconds, [file.read_bytes() for file in sorted(out.iterdir())]


def main() -> None:
    """Prints seconds and ratios."""
    files, rows = (int(given) for given in [*sys.argv[1:], *("20", "2000")[len(sys.argv) - 1 :]])
    ratios = []
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        data, kept, before = base / "data", base / "kept", base / "before"
        data.mkdir()
        for number in range(files):
            write(data / f"{number:03}.jsonl", number * rows, rows)
        ingest(data, base / "out", ParsedFiles(before))
        write(data / f"{files:03}.jsonl", files * rows, rows)
        for _ in range(REPEATS):
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(before, kept)
            with_kept, one = ingest(data, base / "out", ParsedFiles(kept))
            without, other = ingest(data, base / "out", None)
            assert one == other, "the tables differ"
            ratios.append(with_kept / without)
            print(f"{with_kept:.2f} s with kept files, {without:.2f} s without: {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}; the bytes are the same")


if __name__ == "__main__":
    main()
