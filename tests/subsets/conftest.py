"""Trees of subsets, a network that knows all thousand classes, a store of ten with its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.files import write_annotations
from salient_imagenet_data.store.reading import Store
from tests.subsets.layouts import LAYOUTS
from tests.subsets.networks import TEN, knowing_network, write_network, write_tree
from tests.subsets.truth import answers


@pytest.fixture(scope="package")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each layout, two images a class, six of Imagenette's."""
    made = {}
    for number, (name, layout) in enumerate(LAYOUTS.items()):
        root = tmp_path_factory.mktemp(f"tree{number}")
        for place, wnid in enumerate(layout.names):
            count = 6 if layout.names == TEN else 2
            write_tree(root / layout.folder, [wnid], count, layout.file, first=place * count)
        for other in layout.beside:
            (root / other).write_text("{}")
        made[name] = root
    return made


@pytest.fixture(scope="package")
def nette(trees: dict[str, Path]) -> Path:
    return trees["imagenette"]


@pytest.fixture(scope="package")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of `knowing_network`, which says what its outputs are."""
    return write_network(tmp_path_factory.mktemp("net") / "thousand.safetensors", knowing_network())


@pytest.fixture(scope="package")
def answered(nette: Path, thousand: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers about Imagenette's pairs as a file about ImageNet has them: by its class numbers, other classes beside."""
    from salient_imagenet_data.builder.build import build as build_store
    from salient_imagenet_data.builder.config import BuildConfig
    from salient_imagenet_data.images.folder import FolderSource
    from salient_imagenet_data.networks.robust import load_model

    folder = tmp_path_factory.mktemp("answers")
    source = FolderSource(nette / "train")
    model, sha256 = load_model(thousand, class_names=source.class_names)
    store = build_store(
        source,
        model,
        folder / "store",
        weights_sha256=sha256,
        config=BuildConfig(group_by="label", top_features=2, attacked=0),
    )
    others = [Answer(f"p{k}", "n02119789", 277, 3, 1, "main_object", 4, "") for k in range(3)]
    others += [Answer(f"p{k}", "n02119022", 278, 4, 1, "background", 4, "") for k in range(3)]
    write_annotations(folder / "answers.csv", others[:3] + answers(store) + others[3:])
    return folder / "answers.csv"


@pytest.fixture(scope="package")
def store(answered: Path, nette: Path, thousand: Path) -> Path:
    """An annotated store of Imagenette's layout, beside its answers."""
    from salient_imagenet_data.annotation.applying import annotate
    from salient_imagenet_data.annotation.files import read_annotations
    from salient_imagenet_data.annotation.restricting import of_classes

    place = answered.parent / "store"
    annotate(place, of_classes(read_annotations(answered), Store(place).class_names).annotations)
    return place
