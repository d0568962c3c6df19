"""`python -m skipcore.training …` does what `python -m skipcore.builtin …` does."""

import runpy

if __name__ == "__main__":
    runpy.run_module("skipcore.builtin", run_name="__main__", alter_sys=True)
