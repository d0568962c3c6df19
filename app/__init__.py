"""app: what profiling measured, as a page and an API."""

import os

# Gradio reads this while it is imported: nothing about visitors or runs leaves the machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
