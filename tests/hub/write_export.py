"""Write the export that the tests read, for another version of `datasets`: python -m tests.hub.write_export FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from salient_imagenet_data.hub.export import export
from tests.hub.conftest import IDS, LABELS, SMALL
from tests.hub.stores import make_store

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    export(make_store(folder / "store", IDS, LABELS), folder / "export", config=SMALL)
