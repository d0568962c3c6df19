"""A figure of matplotlib in a file, in the one style of all plots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skipcore.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".pdf")
# Colors of Okabe and Ito, which color-blind people can distinguish.
DENSE, SKIP, PATCHES = "#000000", "#009E73", "#0072B2"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "skipcore",  # random otherwise: the same log would give another file each time
}


@contextmanager
def plot_file(output: Path, inches: tuple[float, float]) -> Iterator[Figure]:
    """An empty figure to draw on; it is written to `output` at the end.

    Raises:
        InputError: the output's ending is none of `FORMATS`, it cannot be written, or matplotlib is not installed.
    """
    if output.suffix not in FORMATS:
        raise InputError(f"A plot cannot be written as {output.name}: let its name end in {', '.join(FORMATS)}.")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("Plots need matplotlib. Install it: pip install 'matplotlib>=3.10'") from error
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=inches, layout="constrained")
        yield figure
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(output, dpi=150, metadata={"Date": None} if output.suffix == ".svg" else None)
        except OSError as error:
            raise InputError(f"The plot {output} cannot be written: {error.strerror}. Choose another place.") from error
