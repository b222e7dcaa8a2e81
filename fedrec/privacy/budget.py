"""A market's own account of what it has released: written before anything is sent, and never above its epsilon."""

import math
from dataclasses import asdict
from pathlib import Path

from fedrec.errors import RunError
from fedrec.files import read_json, reading, write_json
from fedrec.privacy.accounting import RELATION, UNIT, epsilon
from fedrec.privacy.release import Release
from fedrec.recipe import PrivacySettings

_ROUND_OFF = 1e-6


class PrivacyBudget:
    """Charges of one market in one run, kept in a file. The same key is charged once: it stands for the same bytes."""

    def __init__(self, path: Path, settings: PrivacySettings) -> None:
        self.path = path
        self.settings = settings
        self.charges: dict[str, Release] = {}
        if path.is_file():
            known = read_json(path)
            with reading(path):
                self.charges = {key: Release(**values) for key, values in known["charges"].items()}

    @property
    def spent(self) -> float:
        """Epsilon of everything charged so far."""
        return epsilon(self.charges.values(), self.settings.delta, self.settings.accountant)

    def charge(self, key: str, release: Release) -> None:
        """Take note of a release that is about to be sent; raises :class:`RunError` where the budget has no room."""
        if key in self.charges:
            if self.charges[key] != release:
                raise RunError(f"{release.what}: was released before under other noise; start a new run")
            return
        limit = self.settings.epsilon if self.settings.epsilon is not None else math.inf
        after = epsilon([*self.charges.values(), release], self.settings.delta, self.settings.accountant)
        if after > limit * (1 + _ROUND_OFF):
            raise RunError(f"privacy budget spent: {release.what} would make epsilon {after:.4g} of {limit:g}")
        self.charges[key] = release
        write_json(
            self.path,
            {
                "epsilon": after,
                "delta": self.settings.delta,
                "limit": self.settings.epsilon,
                "unit": UNIT,
                "relation": RELATION,
                "accountant": self.settings.accountant,
                "charges": {name: asdict(charge) for name, charge in self.charges.items()},
            },
        )
