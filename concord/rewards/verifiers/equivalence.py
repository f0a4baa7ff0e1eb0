r"""Mathematical equality of two answers.

An answer is equal to a reference if it states the reference and nothing else. `layout` removes what
is layout alone, `quantities` splits off units, and `parsing` reads what is stated. Plain numbers
are compared exactly in this process, other expressions by `comparison_process`. The rules, each
with test cases in tests/rewards/verifiers/cases.tsv:

- Layout is ignored: spaces, `$`, `\left`, `\dfrac`, fonts, colours, a final period. Unicode symbols
  equal their LaTeX (√ π ² ⅓ ° …).
- Numbers are exact: 0.5 equals 1/2, and 0.33 does not equal 1/3. A decimal with at least six digits
  also equals the numbers that round to it. `0.\dot{3}` and `0.\overline{3}` equal 1/3.
- A unit on only one side is ignored. Different units are not equal, and units are not converted:
  1 m is not 100 cm. Currencies, degrees and the base of a numeral are units. So is the percent
  sign, but 50% also equals 0.5.
- Words that change a number are no unit: 12 million is 12000000, 5 squared is not 5.
- A comma before three digits separates thousands (1,234 and 1{,}234). Inside brackets it separates
  elements: (1,234) is a pair.
- (1,2), [1,2], [1,2) and \{1,2\} are all different. A list without brackets equals (1,2) and
  \{1,2\}. 3:4 is the fraction.
- x=5 equals 5, but not y=5. Other sides of an equation must be names, or equal the value: x=2+3=5
  equals 5, but 2x=5, x+1=5 and 5=6 do not.
- Inequalities that are solved for a variable equal intervals: x<1 or x>2 is the union of
  (-∞,1) and (2,∞).
- Words are compared as words. Letters are not case-sensitive; i is the imaginary unit.
"""

from __future__ import annotations

import re
from fractions import Fraction

from concord.rewards.verifiers.comparison_process import CPU_SECONDS, verdicts
from concord.rewards.verifiers.comparison_worker import Question
from concord.rewards.verifiers.layout import canonical
from concord.rewards.verifiers.parsing import parse
from concord.rewards.verifiers.same_statements import same
from concord.rewards.verifiers.statements import Statement

MAX_CHARACTERS = 200
"""Longer answers are compared as text."""
IMAGINARY = re.compile(r"(?<![a-zA-Z\\_])(?<!_\{)i(?![a-zA-Z])")
SUMS = re.compile(r"\\(?:sum|prod)(?![a-zA-Z])")


class Comparison:
    """Comparisons of expressions with a limit of CPU time for all of them together.

    `holds` assumes that a question without a verdict holds. So a statement that differs under this
    assumption differs, and no question needs to be answered.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.known: dict[Question, bool] = {}
        self.open: dict[Question, None] = {}

    def holds(self, relation: str, left: str, right: str, tolerance: Fraction) -> bool:
        """Whether two expressions are in a relation (`comparison_worker`)."""
        if not SUMS.search(left + right):
            left, right = IMAGINARY.sub("{I}", left), IMAGINARY.sub("{I}", right)
        question = (relation, left, right, str(tolerance))
        if question not in self.known:
            self.open[question] = None
        return self.known.get(question, True)

    def decide(self, left: Statement, right: Statement) -> bool:
        """Whether two statements are the same."""
        while True:
            self.open.clear()
            if not same(left, right, self.holds):
                return False
            if not self.open:
                return True
            replies, used = verdicts(list(self.open), self.seconds)
            if replies is None:
                return False
            self.known.update(zip(self.open, replies, strict=True))
            self.seconds -= used


def equal(reference: str, answer: str, seconds: float = CPU_SECONDS) -> bool:
    r"""Whether two answers are mathematically equal.

    Answers that are too long are compared as text. Answers that cannot be read are not equal.
    `seconds` limits the CPU time of all comparisons of expressions together; beyond it, the answers
    are not equal.

    Examples:
        >>> equal(r"\frac{1}{2}", "0.5")
        True
        >>> equal("1 m", "100 cm")
        False
    """
    reference, answer = reference.strip(), answer.strip()
    if reference == answer or max(len(reference), len(answer)) > MAX_CHARACTERS:
        return reference == answer != ""
    texts = canonical(reference), canonical(answer)
    if texts[0] == texts[1]:
        return texts[0] != ""
    return all(texts) and Comparison(seconds).decide(*map(parse, texts))
