"""Everything that is counted of a deployment: names, labels, and the closed lists that label values come from."""

import re

from fedrec.deployment.error_codes import (
    EXPIRED,
    FAILED,
    NOT_APPROVED,
    NOT_STARTED,
    OTHER_VERSION,
    REFUSED,
    WORKER_DIED,
)

ACTIONS = re.compile(r"(query|train|evaluate)\.(hello|vocabulary|catalogue|gram|statistics|mask_keys|mask_shares|unmask"
                     r"|install|pretrain|refit|validate|collaborative|codebook|codes|ctr|finetune|local|local_shared"
                     r"|local_statistics|nocodes|randomcodes|report)")  # fmt: skip
_REASONS = {
    5: "node gone",
    8: "process died",
    1000: "market refused",
    NOT_APPROVED: "bundle not approved",
    WORKER_DIED: "process died",
    REFUSED: "reply not looked into",
    EXPIRED: "late",
    FAILED: "executor failed",
    NOT_STARTED: "process did not start",
    OTHER_VERSION: "other version",
}


def series() -> dict[str, dict[str, str]]:
    """Everything that is counted: patterns of label values by label, by name of the series."""
    reasons = "|".join(sorted({*_REASONS.values(), "late", "invalid", "other error"}))
    market, action = r"[a-z0-9][a-z0-9_-]{0,39}", f"{ACTIONS.pattern}|other"
    days = {"fedrec_certificate_days": {"certificate": "authority|server"}}
    return days | {
        "fedrec_answers_total": {"action": action, "outcome": f"answered|lost|{reasons}"},
        "fedrec_answer_seconds_total": {"action": action},
        "fedrec_answer_bytes_total": {},
        "fedrec_epsilon_spent": {},
        "fedrec_round": {},
        "fedrec_rounds_planned": {},
        "fedrec_rounds_total": {},
        "fedrec_round_seconds": {"part": "all|training"},
        "fedrec_replies_total": {"market": market, "outcome": f"accepted|{reasons}"},
        "fedrec_round_bytes_total": {"direction": "up|down"},
        "fedrec_nodes": {"status": "online|offline"},
        "fedrec_runs_ended_total": {"outcome": "completed|failed"},
    }


def reason_class(reason: str) -> str:
    """One of a closed list for the reason of a rejection, whose text may quote what a market sent."""
    if reason.startswith("no reply within"):
        return "late"
    found = re.match(r"error (\d{1,4}):", reason)
    return error_class(int(found[1])) if found else "invalid"


def error_class(code: int) -> str:
    """The same for the code of an error reply."""
    return _REASONS.get(code, "other error")
