"""What a record says of a first training that its run took from another one, and whether that still stands."""

from __future__ import annotations

import dataclasses
from typing import Any, List, Mapping, Optional

from ebbench.records import FAIL, PASS, WARN, Check, RunRecord, worst
from ebbench.rundir import RunDir, sha256_of

CHECK = "first training of another run"


def checked_again(rundir: RunDir, record: RunRecord) -> RunRecord:
    """The record with the check of what it took made anew: whether the lender's record is still there and the same."""
    charge = (record.energy.while_simulating or {}).get("charged") or record.energy.charged
    if charge is None:
        return record
    found = _standing(RunDir(rundir.path.parent / str(charge["from"])), charge)
    if found is None:
        return record
    checks = [found if check.name == CHECK else check for check in record.checks]
    return dataclasses.replace(record, checks=checks, verdict=worst([check.verdict for check in checks]))


def _standing(lender: RunDir, charge: Mapping[str, Any]) -> Optional[Check]:
    """The doubt about a lender; None while its record is as it was."""
    if not lender.is_sealed:
        return Check(
            CHECK,
            WARN,
            None,
            None,
            f"{charge['from']} is not beside this run any more: what it was charged cannot be traced",
        )
    if sha256_of(lender.record) != charge["record_sha256"]:
        return Check(
            CHECK, FAIL, None, None, f"the record of {charge['from']} is not the one that was charged; run this again"
        )
    return None


def notes_of(charge: Mapping[str, Any]) -> List[str]:
    """What a reader of the record should know of what was taken."""
    return [
        f"{charge['stage']}: epochs 1 to {charge['epochs']} were trained and measured by {charge['from']} (SHA-256 of its record "
        f"{charge['record_sha256'][:12]}); their energy, time and FLOPs are charged here too"
    ]


def check_of(charge: Mapping[str, Any]) -> Check:
    """The check of a run that took its first training: as good as the lender's verdict."""
    if charge["verdict"] == PASS:
        return Check(CHECK, PASS, None, None, "")
    return Check(
        CHECK,
        str(charge["verdict"]),
        None,
        None,
        f"{charge['from']} measured it with doubts: {'; '.join(charge['doubts'])}",
    )
