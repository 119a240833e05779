"""What the features of a build are to be: neurons, components that it finds, or latents of an autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.builder.choices import BASES
from salient_imagenet_data.builder.discovery.known import Known
from salient_imagenet_data.builder.discovery.sparse import Sparse, read_sparse
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import NEURONS, PCA, SAE
from salient_imagenet_data.store.features import Basis


@dataclass(frozen=True, eq=False)
class Wanted:
    """kind: NEURONS, PCA or SAE. sparse: the autoencoder. basis: of the features, where it is known before any image is
    seen; None for neurons, and for components that are to be found."""

    kind: str
    sparse: Sparse | None
    basis: Basis | None

    @property
    def key(self) -> str | None:
        """What decides the features beside the images and the network; None for neurons."""
        if self.kind == NEURONS:
            return None
        return self.kind if self.basis is None else self.basis.sha256


def wanted_features(basis: str | None, known: Known | None, annotations: Annotations | None, neurons: int) -> Wanted:
    """basis: "neurons", "pca", "sae:FILE" or "sae:FILE,relu"; None for neurons, or what the known pairs are of.
    neurons: of the network.

    Raises SalientError for another, where the pairs that are known are of another, for answers about what will only be
    found, and where `read_sparse` does.
    """
    there = NEURONS if known is None or known.basis is None else known.basis.kind
    kind, _, file = (basis or there).partition(":")
    if kind not in (NEURONS, PCA, SAE) or bool(file) != (kind == SAE and basis is not None):
        raise SalientError("a basis that is not known", expected=", ".join(BASES), got=str(basis))
    if known is not None and (kind != there or file):
        raise SalientError(
            f"pairs of {known.record['store']} in another basis",
            expected=there,
            got=str(basis),
            then="leave --basis out",
        )
    if known is not None:
        return Wanted(kind, None, known.basis)
    if kind == PCA and annotations is not None:
        raise SalientError(
            f"answers about the features of a build with --basis {kind}, which finds them anew",
            expected="pairs of a store that has these features",
            then="build without answers and then `salient-imagenet apply STORE ANSWERS`, or use --pairs-of STORE",
        )
    sparse = read_sparse(file, neurons) if kind == SAE else None
    return Wanted(kind, sparse, sparse.basis if sparse else None)
