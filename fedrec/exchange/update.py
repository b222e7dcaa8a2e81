"""The stages that the recipe wants for an update; those behind them are the market's own."""

from fedrec.components.registry import find
from fedrec.components.section import ComponentSettings
from fedrec.components.stage import Memory, UpdateStage
from fedrec.exchange.clipping import ClipSettings
from fedrec.exchange.compression import Int8Settings, TopKSettings
from fedrec.recipe import UpdateSettings


def stage_settings(settings: UpdateSettings) -> list[ComponentSettings]:
    """Settings of every stage: those that have keys of their own in the section, then those that its list names."""
    found: list[ComponentSettings] = []
    limit, feedback = settings.clip_norm, settings.error_feedback
    if limit is not None:
        found.append(ClipSettings(norm=limit))
    if settings.compression == "int8":
        found.append(Int8Settings(error_feedback=feedback, limit=limit))
    if settings.compression == "top-k":
        found.append(TopKSettings(share=settings.top_share, error_feedback=feedback, limit=limit))
    return [*found, *settings.stages]


def update_stages(settings: UpdateSettings, memory: Memory | None = None) -> list[UpdateStage]:
    """Both sides build the same list. ``memory`` is the market's."""
    return [find("stage", one.kind)(one, memory) for one in stage_settings(settings)]
