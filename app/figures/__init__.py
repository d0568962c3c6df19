"""Charts of a report. Record in, plotly figure out."""

from app.figures.latency import phases, timeline
from app.figures.layers import kv_by_layer, update_map, update_medians

__all__ = ["kv_by_layer", "phases", "timeline", "update_map", "update_medians"]
