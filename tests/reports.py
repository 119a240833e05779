"""A finished evaluation of two models, as the command line leaves it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.store.reading import Store

if TYPE_CHECKING:
    import torch

Browser = Callable[..., str]


def linear(seed: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A random linear classifier of pixels."""
    import torch

    def model(x: torch.Tensor) -> torch.Tensor:
        weight = torch.randn(x[0].numel(), 10, generator=torch.Generator().manual_seed(seed))
        return (x - 0.5).flatten(1) @ weight / 10

    return model


@pytest.fixture(scope="session")
def report(store: Store, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions and report of two linear models, all protocols, and one that failed. Do not change it."""
    from salient_imagenet_data.evaluation.evaluate import run_models
    from salient_imagenet_data.evaluation.plan.plan import Conditions
    from salient_imagenet_data.evaluation.report.page import write_report
    from salient_imagenet_data.evaluation.run.settings import Settings
    from salient_imagenet_data.evaluation.score.results import Failure
    from salient_imagenet_data.evaluation.score.together import summarise
    from salient_imagenet_data.networks.classifiers import Classifier

    folder = tmp_path_factory.mktemp("report")
    conditions = Conditions(
        ("iclr2022", "corm2022", "rival2022", "spuriosity2023"), (0.25, 1.0), ("fill_gray",), True, True
    )
    names = {"linear one": 1, "<b>two</b>": 2}
    openers = {name: lambda n=name, s=seed: Classifier(n, linear(s)) for name, seed in names.items()}
    source = FolderSource(images)
    files, _ = run_models(openers, store, source, conditions.plan(store), folder / "predictions", Settings())
    summary = summarise(files, store, [Failure("broken", "RuntimeError: boom")])
    write_report(summary, folder, store, source)
    return folder


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """Open a page in Chromium: the document after its scripts, and a test that the console stayed empty."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")

    def show(page: Path, screenshot: Path | None = None) -> str:
        base = [program, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        base += ["--enable-logging=stderr", "--window-size=1400,2400", "--hide-scrollbars"]
        action = ["--dump-dom"] if screenshot is None else [f"--screenshot={screenshot}"]
        done = subprocess.run([*base, *action, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        assert not console, console
        return done.stdout

    return show
