"""The stages that the recipe wants for a shared update, in order: clip, compress. Counting is the market's own."""

from fedrec.exchange.clipping import ClipStage
from fedrec.exchange.compression import Codec, CompressStage, Int8, Memory, TopK
from fedrec.exchange.pipeline import Stage
from fedrec.recipe import UpdateSettings


def update_stages(settings: UpdateSettings, memory: Memory | None = None) -> list[Stage]:
    """What an update goes through; both sides build the same list. ``memory`` is the market's, for error feedback."""
    stages: list[Stage] = []
    if settings.clip_norm is not None:
        stages.append(ClipStage(settings.clip_norm))
    if settings.compression != "none":
        codec: Codec = Int8() if settings.compression == "int8" else TopK(settings.top_share)
        stages.append(CompressStage(codec, memory if settings.error_feedback else None, settings.clip_norm))
    return stages
