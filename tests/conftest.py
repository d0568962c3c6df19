"""Models that the tests share: tiny, random, seeded, built in code; and the built-in one."""

from __future__ import annotations

import os
import tempfile

# Pages of other processes delete uploads of the same content when they end.
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="skip-vision-tests-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image
from shared_models import METHOD_NAMES, SCENES, WIDTH, methods_for, noise_picture

from profiling.bench.random_models import DecoderSize, random_llava
from skipcore import Method, Vlm, load


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--transformers", metavar="VERSION", help="the version the tests must run on, any by default")


def pytest_sessionstart(session: pytest.Session) -> None:
    """A run that is meant for one version of transformers must not pass on another."""
    wanted, found = session.config.getoption("--transformers"), transformers.__version__
    if wanted is None:
        return
    if Version(found) != Version(wanted):
        raise pytest.UsageError(f"These tests are meant for transformers {wanted}, but {found} is imported.")
    session.config.get_terminal_writer().line(f"Tests on transformers {found}:")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny() -> Vlm:
    """64 visual tokens, 3 layers, grouped-query attention, weights large enough for every path to matter."""
    vlm = random_llava(DecoderSize(WIDTH, 3, 4, 2), image_size=64, patch_size=8, vision_width=32)
    generator = torch.Generator().manual_seed(1)
    for parameter in vlm.model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.15, generator=generator)
    return vlm


@pytest.fixture(scope="session")
def scenes() -> Vlm:
    """The built-in model."""
    return load(SCENES)


@pytest.fixture(scope="session", params=["tiny", "scenes"])
def vlm(request: pytest.FixtureRequest) -> Vlm:
    """Each of the models in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    return noise_picture(0)


@pytest.fixture(params=METHOD_NAMES)
def method(request: pytest.FixtureRequest, vlm: Vlm) -> Method:
    """Each method in turn."""
    return methods_for(vlm)[request.param]
