"""Other names of the keys that formats read, as people call their columns."""

from collections.abc import Collection, Iterable

from concord.annotations.meanings import WORD, plain

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "prompt": (
        "prompt", "question", "query", "instruction", "user_prompt", "problem", "input", "request",
        "user", "message", "context", "task", "text",
    ),
    "messages": (
        "messages", "conversation", "conversations", "dialogue", "dialog", "chat", "turns",
        "history", "context", "prompt",
    ),
    "response": (
        "response", "answer", "completion", "output", "reply", "model_response", "generation",
        "assistant", "candidate", "target", "text",
    ),
    "chosen": ("chosen", "winner", "better", "preferred", "accepted", "best", "good", "positive"),
    "rejected": (
        "rejected", "loser", "worse", "dispreferred", "declined", "worst", "bad", "negative",
    ),
    "preferred": (
        "preferred", "preference", "winner", "better", "best", "choice", "chosen", "label",
        "verdict", "vote",
    ),
    "rating": ("rating", "score", "grade", "stars", "points", "mark", "quality", "value"),
    "label": (
        "label", "feedback", "good", "correct", "is_correct", "is_good", "acceptable", "ok",
        "thumb", "thumbs", "approved", "safe", "is_safe", "verdict",
    ),
    "margin": ("margin", "gap", "strength", "difference"),
    "responses": (
        "responses", "answers", "completions", "outputs", "candidates", "replies", "generations",
    ),
    "ranks": ("ranks", "ranking", "rank", "order", "places"),
    "ratings": ("ratings", "scores", "rating", "score", "pm_score", "grades", "rewards"),
    "item": ("text", "response", "answer", "completion", "content", "output", "step", "solution"),
    "steps": ("steps", "completions", "solution_steps"),
    "labels": ("labels", "step_labels", "ratings", "step_ratings", "label", "rating", "ratings"),
    "reference": (
        "reference", "ground_truth", "expected", "gold", "final_answer", "correct_answer", "target",
        "solution",
    ),
    "annotator": (
        "annotator", "worker", "rater", "person", "judge", "labeler", "labeller", "reviewer",
        "evaluator", "annotator_id", "worker_id", "editor", "who", "user_id",
    ),
    "objective": ("objective", "criterion", "aspect", "dimension", "attribute", "metric"),
    "domain": ("domain", "ability", "category", "topic"),
    "author": ("author", "model", "model_name", "writer"),
    "group_id": ("group_id", "conversation_id", "dialogue_id", "prompt_id", "question_id"),
}  # fmt: skip
"""Key -> names of columns, the most usual first."""
LABELS = ("chosen", "rejected", "preferred", "rating", "label", "margin", "ranks", "labels")
"""Keys whose columns judge answers."""
JUDGING = (
    *("scores", "ratings", "votes", "vote", "preference", "preferences", "rankings", "annotations"),
    *("judgement", "judgment", "judgements", "judgments", "stars", "rank", "grades", "winner"),
)
"""Words in the names of columns that judge answers."""
PEOPLE = ("annotator", "rater", "worker", "judge", "labeler", "labeller", "reviewer", "evaluator")
MEASURES = (
    *(
        "id",
        "index",
        "idx",
        "number",
        "no",
        "turn",
        "turns",
        "year",
        "month",
        "day",
        "date",
        "time",
    ),
    *("length", "tokens", "words", "count", "num", "n", "seed", "version", "difficulty", "level"),
    *("batch", "split", "page", "row", "rows", "line", "age", "grade_level", "size", "duration"),
)
"""Words in the names of columns whose numbers are no ratings."""
SIDES = (("a", "b"), ("1", "2"), ("0", "1"), ("first", "second"), ("left", "right"))
"""What tells the columns of two answers apart."""


def column_for(key: str, columns: Collection[str], taken: Collection[str] = ()) -> str | None:
    """The column that is most likely meant by `key`, or None; the last part of a path counts too.

    Examples:
        >>> column_for("prompt", ["id", "Question"])
        'Question'
    """
    by_plain: dict[str, str] = {}
    for column in columns:
        if column not in taken:
            by_plain.setdefault(plain(column), column)
    for column in columns:
        if column not in taken and "." in column:
            by_plain.setdefault(plain(column.rpartition(".")[2]), column)
    for name in OTHER_NAMES.get(key, (key,)):
        if name in by_plain:
            return by_plain[name]
    return None


def judges(column: str) -> bool:
    """Whether a column is called like a judgement of answers.

    Examples:
        >>> judges("step_ratings"), judges("votes_a"), judges("category")
        (True, True, False)
    """
    words = plain(column).split("_")
    known = {name for key in LABELS for name in OTHER_NAMES[key]}
    return plain(column) in known or not {*JUDGING, *PEOPLE}.isdisjoint(words)


def names_author(column: str) -> bool:
    """Whether a column is called like the one who wrote an answer, as in model_a."""
    return not {"model", "author", "winner"}.isdisjoint(plain(column).split("_"))


def measures(column: str) -> bool:
    """Whether a column is called like something that is counted or numbered."""
    return not {*MEASURES, *PEOPLE}.isdisjoint(plain(column).split("_"))


def two_sides(columns: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of columns whose names differ in one word only, such as a and b or 1 and 2.

    Examples:
        >>> two_sides(["id", "answer_1", "answer_2"])
        [('answer_1', 'answer_2')]
    """
    by_words = {tuple(WORD.findall(plain(column))): column for column in columns}
    pairs = []
    for words, column in by_words.items():
        for one, other in SIDES:
            for index, word in enumerate(words):
                partner = (*words[:index], other, *words[index + 1 :])
                if word == one and partner in by_words:
                    pairs.append((column, by_words[partner]))
    return list(dict.fromkeys(pairs))
