"""Charts of a report, of a calibration and of the records of quality and race. Record in, plotly figure out."""

from app.charts.calibration import divergence_map
from app.charts.gpu import gpu_over_time
from app.charts.latency import phases, timeline
from app.charts.layers import kv_by_layer, rows_by_layer
from app.charts.quality_chart import accuracy_by_flops
from app.charts.race_chart import race_chart
from app.charts.roofline_chart import roofline
from app.charts.steps_chart import inter_token
from app.charts.updates import update_medians

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
