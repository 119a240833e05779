"""Which output of a network is which class of a store: by name where both sides have names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import classes
from salient_imagenet_data.networks.classifiers import SAME_ORDER


@dataclass(frozen=True)
class Matched:
    """order: (C,) for each class of the store the network's output; None where they are in the store's order already.
    how: in words."""

    order: tuple[int, ...] | None
    how: str


def match_classes(
    network: Sequence[str] | None, count: int | None, store: Sequence[str], what: str, where: str
) -> Matched:
    """Match a network's outputs with a store's classes.

    network: names of the outputs, None where it has none; count: how many, None where not known. what, where: the
    network and the classes' owner, for errors. Names are equal as they are, as a synonym of a label such as
    "tench, Tinca tinca", or as ImageNet's id of that name; then without case, underscores and signs. Placeholders
    (LABEL_0, or numbers in order) are no names. Outputs without names are taken in the store's order. Raises
    SalientError for another number of classes, or a class that no name fits.
    """
    count = len(network) if network is not None else count
    if count is not None and count != len(store):
        raise SalientError(
            f"{what} and {where} differ in classes", expected=f"{len(store)} classes, as there", got=str(count)
        )
    if network is None or _placeholders(network):
        why = "the network names none" if network is None else f"the network calls them {network[0]}, ..."
        return Matched(None, f"by position, since {why}: {_few(store)}")
    found = _by_name(list(network), list(store))
    if len(found) < len(store):
        first = next(i for i in range(len(store)) if i not in found)
        taken = set(found.values())
        free = [name for k, name in enumerate(network) if k not in taken]
        raise SalientError(
            f"{what} and {where} name classes differently",
            expected=f"an output for class {first}, {store[first]!r}",
            got=f"{len(free)} outputs that fit no class, such as {free[0]!r}",
            then="rename the classes of either side",
        )
    order = tuple(found[i] for i in range(len(store)))
    if order == tuple(range(len(store))):
        return Matched(None, SAME_ORDER)
    return Matched(order, f"by name, in another order: {_few([network[k] for k in order], order)}")


def _by_name(network: list[str], store: list[str]) -> dict[int, int]:
    """The network's output of each class of the store that one fits. The strictest way to be equal goes first, and what
    fits several is left to the next."""
    found: dict[int, int] = {}
    for keys in (_whole, _first, _folded(_whole), _folded(_first), _folded(_all)):
        free_store = [i for i in range(len(store)) if i not in found]
        free_network = [k for k in range(len(network)) if k not in found.values()]
        there, here = (_unique(names, free, keys) for names, free in ((network, free_network), (store, free_store)))
        pairs = {(i, there[key]) for key, i in here.items() if key in there}
        for i, k in pairs:
            if sum(i == a for a, _ in pairs) == 1 == sum(k == b for _, b in pairs):
                found[i] = k
    left = [i for i in range(len(store)) if i not in found]
    # Labels that say the same, as ImageNet's two cranes, where all else stands in the store's order: so do they.
    rest = [k for k in range(len(network)) if k not in found.values()]
    alike = left == rest and len({network[k] for k in rest}) == 1 and all(i == k for i, k in found.items())
    if found and alike and all(_folded(_all)(network[k]) & _words_of(store[k]) for k in rest):
        found |= {k: k for k in rest}
    return found


def _unique(names: list[str], which: list[int], keys: Callable[[str], set[str]]) -> dict[str, int]:
    """Index by key, of the keys that only one name has."""
    seen: dict[str, set[int]] = {}
    for index in which:
        for key in keys(names[index]):
            seen.setdefault(key, set()).add(index)
    return {key: next(iter(indices)) for key, indices in seen.items() if len(indices) == 1}


def _whole(name: str) -> set[str]:
    """The name, and the readable name of ImageNet's id in it."""
    ids = re.findall(r"(?<![A-Za-z0-9])n\d{8}(?![A-Za-z0-9])", name)
    return {name.strip(), *ids, *(classes()[i] for i in ids if i in classes())}


def _first(name: str) -> set[str]:
    return _whole(name) | {name.split(",")[0].strip()}


def _all(name: str) -> set[str]:
    return _whole(name) | {part.strip() for part in name.split(",")}


def _folded(keys: Callable[[str], set[str]]) -> Callable[[str], set[str]]:
    return lambda name: {re.sub(r"[\W_]+", " ", key.casefold()).strip() for key in keys(name)} - {""}


def _words_of(name: str) -> set[str]:
    """Folded keys of a name and, for a name of several words such as "crane bird", its first word."""
    keys = _folded(_all)(name)
    return keys | {key.split(" ")[0] for key in keys}


def _placeholders(names: Sequence[str]) -> bool:
    return all(name in (f"LABEL_{i}", str(i)) for i, name in enumerate(names))


def _few(names: Sequence[str], outputs: Sequence[int] | None = None) -> str:
    """The first and the last of some names with their outputs."""
    pairs = [f"{i} {name}" for i, name in zip(outputs or range(len(names)), names, strict=True)]
    return ", ".join(pairs if len(pairs) <= 4 else [*pairs[:3], "...", pairs[-1]])


def outputs_by_name(network: Sequence[str], names: Sequence[str]) -> dict[int, int]:
    """The network's output of each class that one fits, by the class's index, as `match_classes` finds them; a network
    may know other classes too, and a class may be left out."""
    return _by_name(list(network), list(names))
