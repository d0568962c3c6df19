"""Charts of a report, of a calibration and of the records of quality and race. Record in, plotly figure out."""

from app.figures.calibration import divergence_map
from app.figures.gpu import gpu_over_time
from app.figures.latency import phases, timeline
from app.figures.layers import kv_by_layer, rows_by_layer
from app.figures.quality import accuracy_by_flops
from app.figures.race import race_chart
from app.figures.roofline import roofline
from app.figures.steps import inter_token
from app.figures.updates import update_medians

__all__ = [
    "accuracy_by_flops",
    "divergence_map",
    "gpu_over_time",
    "inter_token",
    "kv_by_layer",
    "phases",
    "race_chart",
    "roofline",
    "rows_by_layer",
    "timeline",
    "update_medians",
]
