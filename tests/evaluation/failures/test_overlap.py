"""Which images two models fail on together, against plain loops over image ids, and the command that prints it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.failures.overlap import Overlaps, overlaps
from salient_imagenet_data.evaluation.failures.picture import matrices
from salient_imagenet_data.evaluation.failures.printing import lines, words
from salient_imagenet_data.evaluation.run.predictions import Answers, read_predictions, to_table, write_tables
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.evaluation.numbers.test_consistency import kappa

CORE, RANDOM, SPURIOUS = "noise_0.5@core", "noise_0.5@core_random", "noise_0.5@spurious"
Wrong = dict[str, dict[str, bool]]
"""Whether a model is wrong, by condition and image id."""


def drawn(store: Store, seed: int, shares: Mapping[str, float], skip: int = 0) -> Wrong:
    """Mistakes of a model; under a condition all of the clean ones and more. skip: images that it did not answer."""
    rng, ids = np.random.default_rng(seed), store.rows.image_ids.to_pylist()
    clean, found = rng.random(len(ids)) < shares["clean"], {}
    for name, share in shares.items():
        wrong = clean | (rng.random(len(ids)) < share)
        found[name] = {i: bool(w) for i, w in list(zip(ids, wrong, strict=True))[skip:]}
    return found


def predictions(store: Store, wrong: Wrong, path: Path, **metadata: object) -> Path:
    """A file of such mistakes, its images in another order for every model."""
    label = {r.image_id: r.label for r in store.rows}
    tables = []
    for name, of in wrong.items():
        ids = np.random.default_rng(len(path.stem)).permutation(list(of)).tolist()
        classes = np.array([[(label[i] + of[i]) % 10] for i in ids], dtype=np.int32)
        tables.append(to_table(name, Answers(tuple(ids), classes, np.full((len(ids), 1), 0.9, np.float32)), {}))
    write_tables(path, tables, {"model": {"name": path.stem}, **metadata})
    return path


@pytest.fixture(scope="module")
def wrong(store: Store) -> dict[str, Wrong]:
    """One knows less than the others of the images and the conditions."""
    shares = {"clean": 0.15, CORE: 0.4, RANDOM: 0.2, SPURIOUS: 0.2}
    found = {name: drawn(store, seed, shares) for seed, name in enumerate(("one", "two"))}
    for place, (i, seen) in enumerate(found["one"][CORE].items()):  # alike, when the core is corrupted
        if place % 10:
            found["two"][CORE][i] = seen or found["two"]["clean"][i]
    return {**found, "three": drawn(store, 7, {"clean": 0.3, CORE: 0.5}, skip=5)}


@pytest.fixture(scope="module")
def files(store: Store, wrong: dict[str, Wrong], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("overlap")
    return [predictions(store, of, folder / f"{name}.parquet") for name, of in wrong.items()]


@pytest.fixture(scope="module")
def found(store: Store, files: list[Path]) -> Overlaps:
    return overlaps([read_predictions(path, 10) for path in files], store)


def arrays(first: dict[str, bool], second: dict[str, bool]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    ids = [i for i in first if i in second]
    return np.array([first[i] for i in ids]), np.array([second[i] for i in ids]), ids


def test_every_pair_under_every_condition_that_both_have_is_joined_by_image_id(
    store: Store, wrong: dict[str, Wrong], found: Overlaps
) -> None:
    assert found.models == ("one", "two", "three") and found.conditions == ("clean", CORE, SPURIOUS)
    assert [(p.first, p.second, p.condition) for p in found.pairs] == [
        *(("one", "two", "clean"), ("one", "three", "clean"), ("two", "three", "clean")),
        *(("one", "two", CORE), ("one", "three", CORE), ("two", "three", CORE), ("one", "two", SPURIOUS)),
    ]
    assert found.not_shared == (SPURIOUS,)
    label = {r.image_id: r.label for r in store.rows}
    for pair in found.pairs:
        a, b, ids = arrays(wrong[pair.first][pair.condition], wrong[pair.second][pair.condition])
        m, classes = pair.mistakes, np.array([label[i] for i in ids])
        assert (m.n, m.both, m.first_only, m.second_only) == (len(ids), (a & b).sum(), (a & ~b).sum(), (b & ~a).sum())
        assert m.kappa and m.kappa.value == pytest.approx(kappa(a, b)) and m.kappa.low < m.kappa.value < m.kappa.high
        assert m.expected == pytest.approx(a.mean() * b.mean() * len(ids))
        within = sum(a[classes == c].mean() * b[classes == c].sum() for c in set(classes.tolist()))
        assert m.expected_within == pytest.approx(within)
        assert pair.one_only == (5 if pair.second == "three" else 0)


def test_what_breaks_is_of_the_images_that_both_get_right_clean(wrong: dict[str, Wrong], found: Overlaps) -> None:
    pair = found.pair("two", "one", CORE)
    assert pair is not None and pair.broken is not None and found.pair("one", "two", "clean").broken is None  # type: ignore[union-attr]
    clean_a, clean_b, ids = arrays(wrong["one"]["clean"], wrong["two"]["clean"])
    right = ~(clean_a | clean_b)
    a, b = (np.array([wrong[name][CORE][i] for i in ids])[right] for name in ("one", "two"))
    assert (pair.broken.n, pair.broken.both) == (right.sum(), (a & b).sum())
    assert pair.broken.kappa and pair.broken.kappa.value == pytest.approx(kappa(a, b))


def test_the_control_is_the_same_corruption_elsewhere_on_the_same_images(
    wrong: dict[str, Wrong], found: Overlaps
) -> None:
    pair, kappas = found.pair("one", "two", CORE), {}
    for name in (CORE, RANDOM):
        a, b, _ = arrays(wrong["one"][name], wrong["two"][name])
        kappas[name] = kappa(a, b)
    assert pair and pair.control and pair.control.value == pytest.approx(kappas[RANDOM])
    assert pair.beyond and pair.beyond.value == pytest.approx(kappas[CORE] - kappas[RANDOM])
    assert pair.beyond.low > 0.0  # they were made alike on the core only
    for other in (
        found.pair("one", "three", CORE),
        found.pair("one", "two", SPURIOUS),
        found.pair("one", "two", "clean"),
    ):
        assert other and (other.control, other.beyond) == (None, None)


def test_files_that_cannot_stand_beside_each_other_are_refused(
    store: Store, files: list[Path], wrong: dict[str, Wrong], tmp_path: Path
) -> None:
    one, two, three = (read_predictions(path, 10) for path in files)
    few = {"clean": dict(list(wrong["one"]["clean"].items())[:5])}
    apart = read_predictions(predictions(store, few, tmp_path / "few.parquet"), 10)
    other = read_predictions(predictions(store, wrong["two"], tmp_path / "other.parquet", reading="store"), 10)
    for given, said in (
        ([one], "one predictions file overlaps with nothing; expected two or more"),
        ([one, one], "two predictions files are of one model, one"),
        ([one, other], "predictions among different classes"),
        ([three, apart], "no two of the files have a condition and an image in common"),
    ):
        with pytest.raises(SalientError, match=said):
            overlaps(given, store)
    with pytest.raises(SalientError, match=rf"{RANDOM}: no file has this condition; expected one of clean, {CORE}"):
        overlaps([one, two], store, [RANDOM])
    partly = overlaps([one, three, apart], store, ["clean"])
    assert partly.apart == (("three", "few", "clean"),) and len(partly.pairs) == 2
    assert "no image in common: three, few, clean\n" in lines(partly)
    only = overlaps([one, two], store, [SPURIOUS])
    assert only.conditions == (SPURIOUS,) and len(only.pairs) == 1


def test_the_command_prints_tables_writes_a_picture_and_json(
    store: Store, files: list[Path], found: Overlaps, tmp_path: Path, run: Run
) -> None:
    picture = tmp_path / "o.svg"
    code, out, err = run("overlap", store.path, *files, "--picture", picture)
    assert code == 0 and out == lines(found) + "\n" and f"wrote {picture}" in err
    tables = out.split("\n\n")
    assert tables[1].startswith("noise 0.5 on the core pixels\nmodels")
    pair = found.pair("one", "two", CORE)
    assert pair and pair.mistakes.kappa and pair.beyond and pair.broken and pair.broken.kappa
    row = next(line for line in tables[1].splitlines() if line.startswith("one, two"))
    shown = [pair.mistakes.kappa.words, f"{pair.mistakes.most:.3f}", pair.beyond.words, words(pair.broken.kappa)]
    assert [row.index(part) for part in shown] == sorted(row.index(part) for part in shown)
    assert row.split()[2:5] == [str(pair.mistakes.n), str(pair.mistakes.both), f"{pair.mistakes.expected:.1f}"]
    assert f"some pairs lack a condition that only some files have: {SPURIOUS}" in out
    assert "passed over, of all pairs and conditions: 20 images that only one of two models answered" in out
    code, _, err = run("overlap", store.path, *files, "--picture", picture)
    assert code == 2 and "--overwrite-picture" in err
    code, out, _ = run(
        "overlap", store.path, *files, "--picture", picture, "--overwrite-picture", "--json", "--condition", "clean"
    )
    read = json.loads(out)
    assert code == 0 and read["conditions"] == ["clean"] and len(read["pairs"]) == 3
    clean = found.pair("one", "two", "clean")
    assert clean and clean.mistakes.kappa and read["pairs"][0]["mistakes"]["kappa"]["low"] == clean.mistakes.kappa.low
    assert run("overlap", store.path, files[0])[0] == 2


def test_images_that_are_left_out_count_for_nothing(
    store: Store, wrong: dict[str, Wrong], files: list[Path], tmp_path: Path, run: Run
) -> None:
    out_of = store.rows.image_ids.to_pylist()[::4]
    (tmp_path / "ids.txt").write_text("\n".join(out_of))
    code, out, _ = run("overlap", store.path, *files[:2], "--leave-out", tmp_path / "ids.txt", "--json")
    read = json.loads(out)
    a, b, ids = arrays(wrong["one"]["clean"], wrong["two"]["clean"])
    kept = np.array([i not in out_of for i in ids])
    m = read["pairs"][0]["mistakes"]
    assert code == 0 and read["left_out"]["images"] == len(out_of) and m["n"] == kept.sum() < len(kept)
    assert m["both"] == (a & b & kept).sum() and m["kappa"]["value"] == pytest.approx(kappa(a[kept], b[kept]))
    code, out, _ = run("overlap", store.path, *files[:2], "--leave-out", tmp_path / "ids.txt")
    assert f"{len(out_of)} images left out on request" in out


def test_the_matrices_are_symmetric_and_say_their_figures(found: Overlaps) -> None:
    root = ET.fromstring(matrices(found))
    space = "{http://www.w3.org/2000/svg}"
    panels = root.findall(f"{space}g")
    assert len(panels) == 3
    cells = [
        (g.find(f"{space}title").text, g.find(f"{space}text").text, g.find(f"{space}rect").get("fill"))  # type: ignore[union-attr]
        for g in panels[1].findall(f"{space}g")
    ]
    assert [cells[i][0] for i in (0, 4, 8)] == ["one", "two", "three"] and len(cells) == 9
    pair = found.pair("one", "two", CORE)
    assert pair and pair.mistakes.kappa
    for place, names in ((1, "one, two"), (3, "two, one")):
        assert cells[place][:2] == (f"{names}: {pair.mistakes.kappa.words}", f"{pair.mistakes.kappa.value:.2f}")
    assert cells[1][2] == cells[3][2] != cells[0][2] == "#eeeeee"
    missing = [(g.find(f"{space}title").text, g.find(f"{space}text").text) for g in panels[2].findall(f"{space}g")]  # type: ignore[union-attr]
    assert missing[2] == ("one, three: -", "-")  # a pair without the condition
