"""What sorts of images a class has, by where its relevance is: spectral clustering as SpRAy does it [Lapuschkin et al.
2019; Ng, Jordan & Weiss 2001; von Luxburg 2007]. Pure functions on arrays.

Images are joined with those whose maps are nearest. The graph's normalised Laplacian has as many eigenvalues near 0 as
the graph has parts that hang loosely together; the gap behind them says how many there are. A gap there always is, so
it is held against those of single clouds: as many points drawn from one normal distribution with the covariance of
these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 8
"""Clusters that are looked for."""
CLOUDS = 99
"""Single clouds that a gap is held against."""
RESTARTS, ROUNDS = 10, 100
"""Of k-means."""


@dataclass(frozen=True)
class Clustering:
    """labels: (N,) int64, the largest cluster is 0. eigenvalues: the smallest of the graph's Laplacian, ascending. gap:
    between that of the last cluster and the next. chance: how often a single cloud has as large a gap somewhere, of
    `CLOUDS` and this one; None where the number of clusters was given."""

    labels: NDArray[np.int64]
    eigenvalues: tuple[float, ...]
    gap: float
    chance: float | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Images of each cluster."""
        return tuple(np.bincount(self.labels).tolist())


def cluster(points: NDArray[np.floating], count: int | None = None, *, most: int = MOST, seed: int = 0) -> Clustering:
    """Points (N, D), rows of which are divided by their length first, in `count` clusters, or as many as the largest
    gap says, from 2 to `most`. Raises ValueError for fewer than 4 points, or more clusters than half of them."""
    if len(points) < 4 or (count is not None and not 2 <= count <= len(points) // 2):
        raise ValueError(f"cluster: expected at least 4 points and 2 to half as many clusters, got {len(points)}")
    unit = normalised(points)
    highest = min(most, len(points) // 2) if count is None else count
    values, vectors = np.linalg.eigh(graph_laplacian(unit))
    found, gap = largest_gap(values, highest) if count is None else (count, float(values[count] - values[count - 1]))
    rng = np.random.default_rng(seed)
    chance = None
    if count is None:
        clouds = (np.linalg.eigvalsh(graph_laplacian(cloud_like(unit, rng))) for _ in range(CLOUDS))
        gaps = [largest_gap(alone, highest)[1] for alone in clouds]
        chance = (1 + sum(other >= gap for other in gaps)) / (1 + CLOUDS)
    labels = k_means(normalised(vectors[:, :found]), found, rng)
    return Clustering(_by_size(labels), tuple(values[: highest + 1].tolist()), gap, chance)


def normalised(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows (N, D) of length 1; rows of zeros stay."""
    values = points.astype(np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    result: NDArray[np.float64] = np.divide(values, length, out=np.zeros_like(values), where=length > 0)
    return result


def joined(points: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """(N, N) of 0 and 1: whether one of two points is among the nearest of the other; of equally near ones the first.
    No point is joined with itself."""
    squares = (points**2).sum(axis=1)
    distance = squares[:, None] + squares[None, :] - 2.0 * points @ points.T
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :neighbours]
    graph = np.zeros(distance.shape)
    np.put_along_axis(graph, nearest, 1.0, axis=1)
    return np.maximum(graph, graph.T)


def laplacian(graph: NDArray[np.float64]) -> NDArray[np.float64]:
    """I - D^-1/2 A D^-1/2 of a graph (N, N) in which each point is joined with some other, D its points' degrees."""
    scale = 1.0 / np.sqrt(graph.sum(axis=1))
    result: NDArray[np.float64] = np.eye(len(graph)) - scale[:, None] * graph * scale[None, :]
    return result


def graph_laplacian(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N), the Laplacian of points that are joined with their log N nearest, and at least three."""
    neighbours = min(max(3, round(float(np.log(len(points))))), len(points) - 1)
    return laplacian(joined(points, neighbours))


def largest_gap(values: NDArray[np.floating], most: int) -> tuple[int, float]:
    """How many eigenvalues stand before the largest gap, from 2 to `most`, and that gap."""
    gaps = np.diff(values[: most + 1])[1:]
    place = int(np.argmax(gaps))
    return place + 2, float(gaps[place])


def cloud_like(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """As many points (N, D) of one normal distribution with the mean and covariance of these, of length 1 too."""
    mean = points.mean(axis=0)
    drawn = rng.standard_normal((len(points), len(points))) @ (points - mean) / np.sqrt(len(points) - 1.0)
    return normalised(mean + drawn)


def k_means(points: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(N,) the clusters of points (N, D): the best of several runs of Lloyd's algorithm, each from centres that are far
    apart [k-means++, Arthur & Vassilvitskii 2007]."""
    best, least = np.zeros(len(points), dtype=np.int64), np.inf
    for _ in range(RESTARTS):
        centres = points[[int(rng.integers(len(points)))]]
        while len(centres) < count:
            far = _squared(points, centres).min(axis=1)
            total = far.sum()
            chances = far / total if total > 0 else np.full(len(points), 1.0 / len(points))
            centres = np.concatenate([centres, points[[int(rng.choice(len(points), p=chances))]]])
        labels = _squared(points, centres).argmin(axis=1)
        for _ in range(ROUNDS):
            kept = [points[labels == k].mean(axis=0) if (labels == k).any() else centres[k] for k in range(count)]
            centres = np.stack(kept)
            moved = _squared(points, centres).argmin(axis=1)
            if (moved == labels).all():
                break
            labels = moved
        spread = float(_squared(points, centres).min(axis=1).sum())
        if spread < least - 1e-12:
            best, least = labels.astype(np.int64), spread
    return best


def _squared(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, k) squared distances."""
    result: NDArray[np.float64] = ((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    return result


def _by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same clusters, numbered by size, the largest first; of equal ones the one of the first point."""
    names, first, counts = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    place = np.empty(len(names), dtype=np.int64)
    place[order] = np.arange(len(names))
    return place[np.searchsorted(names, labels)]
