"""app: what profiling measured, as a page and an API."""

import os

# Gradio reads this while it is imported: nothing about visitors or runs leaves the machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

ON_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
if ON_ZERO_GPU:
    import spaces  # noqa: F401  before torch: it stands in for CUDA until a run gets a GPU
