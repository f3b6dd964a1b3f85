"""How a number becomes a verdict."""

from __future__ import annotations

from typing import Iterable, List, Optional

from ebbench.records import FAIL, NOT_CHECKED, PASS, WARN, Check

NO_METER = "no meter was read ('off' was asked for)"


def graded(name: str, value: Optional[float], warn: float, fail: float, advice: str, missing: str = "") -> Check:
    """PASS up to `warn`, WARN up to `fail`, FAIL beyond: larger is worse."""
    if value is None:
        return Check(name, NOT_CHECKED, None, warn, missing or "its input was not recorded")
    verdict = PASS if value <= warn else WARN if value <= fail else FAIL
    return Check(name, verdict, value, warn if verdict != FAIL else fail, "" if verdict == PASS else advice)


def not_measured(checks: Iterable[Check]) -> List[Check]:
    """The same checks where no meter was read."""
    return [Check(each.name, NOT_CHECKED, None, each.limit, NO_METER) for each in checks]
