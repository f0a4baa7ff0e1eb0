"""One small file for each form of row that a format reads, from the tests of the formats."""

import json
from typing import Any, NamedTuple

from tests.annotations.formats import (
    test_bridge,
    test_fine_grained_rlhf,
    test_helpsteer,
    test_hh_rlhf,
    test_math_shepherd,
    test_mathdial,
    test_mr_gsm8k,
    test_mrbench,
    test_prm800k,
    test_prmbench,
    test_processbench,
    test_published,
    test_trl,
    test_ultrafeedback,
)

ASKED = {"role": "user", "content": "What is 2+3?"}
HH = {
    "chosen": f"{test_hh_rlhf.OPENING}\n\nAssistant: Red.",
    "rejected": f"{test_hh_rlhf.OPENING}\n\nAssistant: No.",
}
CONCORD = {
    "kind": "rating",
    "group_id": "g",
    "messages": [ASKED],
    "objective": "helpful",
    "response": "5",
    "rating": 4,
    "scale": [1, 5],
    "annotator": "x",
}
PRISM = {
    "conversation_id": "c1",
    "user_id": "user1",
    "conversation_history": [
        {"turn": 0, "role": "user", "content": "What is 2+3?"},
        {"turn": 0, "role": "model", "content": "5", "score": 90, "if_chosen": True},
        {"turn": 0, "role": "model", "content": "6", "score": 9, "if_chosen": False},
        {"turn": 1, "role": "user", "content": "And 3+3?"},
        {"turn": 1, "role": "model", "content": "6", "score": 80, "if_chosen": True},
    ],
}
SOLUTION = test_prm800k.row(
    test_prm800k.step(test_prm800k.GOOD), test_prm800k.step(test_prm800k.BAD)
)


class Fixture(NamedTuple):
    """Rows of one form."""

    format: str
    row: dict[str, Any]
    options: dict[str, Any]

    def rows(self, count: int = 3) -> list[dict[str, Any]]:
        """Copies of the row."""
        return [json.loads(json.dumps(self.row)) for _ in range(count)]


GIVEN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("bridge", test_bridge.ROW, {"objective": "expert"}),
    ("concord", CONCORD, {}),
    ("fine_grained_rlhf", test_fine_grained_rlhf.row(), {}),
    ("helpsteer", test_helpsteer.RATED, {}),
    ("helpsteer", test_helpsteer.COMPARED, {}),
    ("hh_rlhf", HH, {"objective": "harmless"}),
    ("math_shepherd", test_math_shepherd.ROW, {"objective": "sound"}),
    ("mathdial", test_mathdial.ROW, {}),
    ("mr_gsm8k", test_mr_gsm8k.ROW, {"objective": "sound"}),
    ("prism", PRISM, {}),
    ("prm800k", SOLUTION, {"objective": "sound"}),
    ("prmbench", test_prmbench.ROW, {"objective": "sound"}),
    ("processbench", test_processbench.ROW, {"objective": "sound"}),
    (
        "ultrafeedback",
        test_ultrafeedback.row(test_ultrafeedback.completion("gpt")),
        {},
    ),
    *(("trl", pair, {"objective": "helpful"}) for pair in test_trl.PAIRS),
    (
        "trl",
        {"prompt": "2+3?", "completions": ["2+3", "5"], "labels": [True, False]},
        {"objective": "sound"},
    ),
    ("trl", {"prompt": "2+3?", "completion": "5", "label": 1}, {"objective": "sound"}),
    *((name, row, options) for name, row, options, _ in test_published.CASES),
]
FIXTURES = [Fixture(*given) for given in GIVEN]
FILES = {"mrbench": [test_mrbench.entry("a"), test_mrbench.entry("b")]}
"""Formats that read their own files -> the entries of one."""
