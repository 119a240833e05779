from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.builder.units.forward import numerics, run_model
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import RobustModel, load_model
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.warm import Warm

OPTIONS = {"group_by": "label", "top_features": 4, "top_images": 2, "shard_rows": 16, "batch_size": 7}


@pytest.fixture(scope="module")
def compiled(images: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RobustModel, Store]:
    """A network that was compiled, and the store it gave: compiling takes long, so all tests share it."""
    if shutil.which("c++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    model, sha256 = load_model(weights)
    config = BuildConfig(compiled=True, **OPTIONS)  # type: ignore[arg-type]
    out = tmp_path_factory.mktemp("compiled") / "store"
    return model, build(FolderSource(images), model, out, weights_sha256=sha256, config=config)


def test_a_compiled_network_gives_the_same_store_to_the_last_bits(
    bare_store: Store, compiled: tuple[RobustModel, Store]
) -> None:
    """The last batch of a unit is smaller than the others, which must not show."""
    _, store = compiled
    assert store.manifest.compiled and not bare_store.manifest.compiled
    assert len(bare_store) % 16 % 7 and list(store.rows) == list(bare_store.rows)
    assert np.allclose(store.activations, bare_store.activations, rtol=1e-4, atol=1e-6)
    assert np.abs(np.asarray(store.maps).astype(int) - np.asarray(bare_store.maps).astype(int)).max() <= 1


SET_BEFORE = {
    "nothing": "pass",
    "by the old flag": "backends.cuda.matmul.allow_tf32 = True",
    "by the old function": "torch.set_float32_matmul_precision('high')",
    "for convolutions": "backends.cudnn.conv.fp32_precision = 'ieee'",
    "for products": "backends.cuda.matmul.fp32_precision = 'tf32'",
    "for all": "backends.fp32_precision = 'tf32'",
}


PROGRAM = """
import json, os, sys, traceback
from tests.warm import Warm
import torch
from torch import backends
from salient_imagenet_data.builder.units.forward import _allow_tf32, numerics

def state():
    named = (backends, backends.cuda.matmul, backends.cudnn, getattr(backends.cudnn, "conv", None))
    found = [getattr(b, "fp32_precision", None) for b in named]
    try:
        return found, (torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32)
    except RuntimeError:  # "mix of the legacy and new APIs"
        return found, None

def same(before, after):
    return before[0] == after[0] and before[1] in (None, after[1])

def check(set_before):
    exec(set_before)
    before = state()
    with numerics("fp32", "cpu"):
        assert torch.get_float32_matmul_precision() == "highest" and not backends.cudnn.allow_tf32
    assert same(before, state()), (before, state())
    put_back = _allow_tf32(True)
    assert torch.get_float32_matmul_precision() == "high" and backends.cudnn.allow_tf32
    put_back()
    assert same(before, state()), (before, state())
    return "as before"

for what, set_before in json.loads(sys.argv[1]).items():
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            said = check(set_before)
        except BaseException:
            said = traceback.format_exc()
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        print(json.dumps([what, pipe.read()]), flush=True)
"""
"""Each way in a process of its own, forked from one that has torch: to load it six times takes long."""


@pytest.fixture(scope="module")
def put_back(warm: Warm) -> dict[str, str]:
    """What was said of each way, in one process for all of them."""
    done = warm.run("-c", PROGRAM, json.dumps(SET_BEFORE))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("what", SET_BEFORE)
def test_tensor_float_32_is_set_and_put_back(what: str, put_back: dict[str, str]) -> None:
    """Whatever way the process had set it. The compiler reads the old function."""
    if "fp32_precision" in SET_BEFORE[what] and not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this torch has no such setting")
    assert put_back[what] == "as before"


def test_weights_that_change_are_compiled_again(compiled: tuple[RobustModel, Store]) -> None:
    """The last test with this network, whose weights it changes; the first pass is through what the store was made by."""
    model, _ = compiled
    assert isinstance(model, torch.nn.Module)
    images = torch.randint(0, 256, (3, 3, 56, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = []
    for factor in (None, 1.5):
        with torch.no_grad():
            for parameter in model.parameters() if factor else ():
                parameter.mul_(factor)
        with numerics("fp32", "cpu"):
            maps, _ = run_model(model, images, "fp32", "cpu", compile_for=7)
            expected, _ = run_model(model, images, "fp32", "cpu")
        assert maps.shape == expected.shape and torch.allclose(maps, expected, rtol=1e-4, atol=1e-5)
        found.append(expected)
    assert not torch.allclose(*found, rtol=1e-1)


def test_without_a_compiler_it_is_one_line(
    images: Path, weights: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch reads the compiler's name when its own is loaded."""
    import torch._inductor.config

    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, str(tmp_path / "no-compiler")))
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    command = ("build", "--images", images, "--weights", weights, "--out", tmp_path / "store", "--device", "cpu")
    code, _, err = run(*command, "--compile", "--attacked", 0)
    assert code == 2 and err.splitlines()[-1].startswith("Error: smallnet-"), err
    assert "cannot be compiled; got" in err and "Traceback" not in err
