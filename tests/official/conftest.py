"""A release with the true layout, and the store that is made of it."""

from pathlib import Path

import pytest

from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.official.importing import import_official
from salient_imagenet_data.store.reading import Store
from tests.official.importing import CONFIG, answers
from tests.release_files import release, write_zip


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zip(tmp_path_factory.mktemp("release") / "release.zip", release())


@pytest.fixture(scope="module")
def imported(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("imported")
    official = answers(
        folder / "a.csv",
        [(0, 17, 1, "background"), (0, 3, 2, "main_object"), (1, 5, 1, "main_object"), (7, 1, 1, "background")],
    )
    return import_official(archive, folder / "store", annotations=read_annotations(official), config=CONFIG, workers=2)
