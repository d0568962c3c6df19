"""app: what profiling measured, as a page and an API."""

import os
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"

# Gradio reads this while it is imported: nothing about visitors or runs leaves the machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# It also keeps a table of ten thousand runs with their sessions, and goes through it after each: none of that here.
os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(2**31)

# A transfer by Xet goes on when nobody waits for it any more.
os.environ["HF_HUB_DISABLE_XET"] = "1"

ON_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
if ON_ZERO_GPU:
    import spaces  # noqa: F401  before torch: it stands in for CUDA until a run gets a GPU
