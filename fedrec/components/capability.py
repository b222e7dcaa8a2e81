"""What a component can be combined with."""

from enum import Enum


class Capability(Enum):
    """A recipe or command that needs what its component lacks is refused."""

    USER_PRIVACY = "user-level privacy"  # one user's part of a step stands apart from the others'
    MARKET_PRIVACY = "market-level privacy"  # its shared parameters show nothing of a market but by their values
    OTHER_MARKETS = "other markets"  # a trained shared model means the same to markets and items it never saw
    AUDIT = "audit"  # the attacks know how to read its model
