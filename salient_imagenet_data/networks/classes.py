"""Which output of a network is which class of a store: by name where both sides have names. No torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import classes, composed, wnids

Reading = Literal["all", "store"]
"""Among what a network's answer is the most probable: `all` its outputs, or those that are classes of the `store`."""
SAME_ORDER = "by name, in the same order"
"""How classes are matched that need no word."""
AGREED = "by position, as agreed for a function's outputs"
"""How those of a user's function are matched, which names none."""


@dataclass(frozen=True)
class ClassMap:
    """Which output of a network is which class of a store.

    classes: C, of the store. of: N >= C, outputs of the network. outputs: (C,) the network's output of each class; None
    where they are its first C, in order. by: what they were matched by. how: the same in words.
    """

    classes: int
    of: int
    outputs: tuple[int, ...] | None
    by: Literal["name", "position"]
    how: str

    @property
    def subset(self) -> bool:
        """Whether the network knows classes that the store has not."""
        return self.of > self.classes

    @property
    def order(self) -> tuple[int, ...] | None:
        """(N,) the network's outputs, the classes of the store first, then the others; None where they are so."""
        if self.outputs is None:
            return None
        mine = set(self.outputs)
        return (*self.outputs, *(k for k in range(self.of) if k not in mine))

    def to_json(self) -> dict[str, Any]:
        """As manifests and predictions keep it."""
        outputs = None if self.outputs is None else list(self.outputs)
        return {"classes": self.classes, "of": self.of, "outputs": outputs, "by": self.by, "how": self.how}


def in_words(network: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded of a network, with its class map, and the basis of a store's features, as lines for people."""
    told, record, basis = dict(network), network.get("classes"), network.get("basis")
    if isinstance(record, dict):
        told["classes"] = record.get("how")
    if isinstance(basis, dict):
        made = "{kind}, {features} combinations of {neurons} neurons, sha256 {sha256}"
        told["basis"] = made.format_map({key: basis.get(key) for key in ("kind", "features", "neurons", "sha256")})
        if "read_as" in basis:
            told["basis"] += f"; read as {basis['read_as']}: {basis.get('because')}"
        active = basis.get("active")
        if isinstance(active, dict):
            told["basis"] += f"; share of latents that are positive on an image: {active.get('positive')}"
    return told


def outputs_of(network: object, classes: int) -> int:
    """How many outputs a network has, by what is recorded of it: as many as the store has classes where nothing is."""
    record = network.get("classes") if isinstance(network, dict) else None
    of = record.get("of") if isinstance(record, dict) else None
    return of if isinstance(of, int) and of > classes else classes


def match_classes(
    network: Sequence[str] | None,
    count: int | None,
    store: Sequence[str],
    what: str,
    where: str,
    *,
    assumed: Sequence[str] | None = None,
) -> ClassMap:
    """Match a network's outputs with a store's classes, which may be some of the network's.

    network: names of the outputs, None where it has none; count: how many, None where not known. what, where: the
    network and the classes' owner, for errors. assumed: names that outputs without any have by their number, as a
    library's ImageNet networks do. Names are equal as they are, as a synonym of a label such as "tench, Tinca tinca",
    or as ImageNet's id of that name; then without case, underscores and signs. Placeholders (LABEL_0, or numbers in
    order) are no names. Outputs without names are taken in the store's order where there are as many. Raises
    SalientError for fewer outputs than classes, for a class that no name fits, and for more outputs without names.
    """
    count = len(network) if network is not None else count
    if count is not None and count < len(store):
        raise SalientError(
            f"{what} and {where} differ in classes",
            expected=f"{len(store)} classes, as there, or more",
            got=str(count),
            then="has it been trained on these classes?",
        )
    if network is None or _placeholders(network):
        return _nameless(network, len(store) if count is None else count, store, what, where, assumed)
    found = _found(network, store)
    if len(found) < len(store):
        first = next(i for i in range(len(store)) if i not in found)
        taken = set(found.values())
        free = [name for k, name in enumerate(network) if k not in taken]
        raise SalientError(
            f"{what} and {where} name classes differently",
            expected=f"an output for class {first}, {store[first]!r}",
            got=f"{len(free)} outputs that fit no class, such as {free[0]!r}",
            then="rename the classes of either side, or name the outputs with --class-names",
        )
    return _by(found, len(network), store)


def _nameless(
    network: Sequence[str] | None,
    count: int,
    store: Sequence[str],
    what: str,
    where: str,
    assumed: Sequence[str] | None,
) -> ClassMap:
    why = "the network names none" if network is None else f"the network calls them {network[0]}, ..."
    if assumed is not None and len(assumed) == count:
        found = _found(assumed, store)
        if len(found) == len(store):
            made = _by(found, count, store)
            whose = f"its {count} outputs taken for ImageNet's in their order, since {why}"
            return ClassMap(made.classes, made.of, made.outputs, made.by, f"{made.how}; {whose}")
    if count > len(store):
        raise SalientError(
            f"{what} and {where} differ in classes, and {why}",
            expected=f"names for its {count} outputs, or {len(store)} of them as there",
            got=f"classes such as {store[0]!r} there",
            then="name its outputs, one a line in a file, with --class-names FILE, or --class-names imagenet",
        )
    return ClassMap(len(store), count, None, "position", f"by position, since {why}: {_few(store)}")


def _by(found: Mapping[int, int], count: int, store: Sequence[str]) -> ClassMap:
    outputs = tuple(found[i] for i in range(len(store)))
    order = None if outputs == tuple(range(len(store))) else outputs
    if count > len(store):
        how = f"by name, {len(store)} of the network's {count} outputs: {_few(store, outputs)}"
    else:
        how = SAME_ORDER if order is None else f"by name, in another order: {_few(store, outputs)}"
    return ClassMap(len(store), count, order, "name", how)


def _found(network: Sequence[str], store: Sequence[str]) -> dict[int, int]:
    """The network's output of each class of the store that one fits. A list that is ImageNet's thousand as a whole is
    read as that first: two of its labels may say the same, and stand for one class each all the same."""
    network, store = [*map(composed, network)], [*map(composed, store)]
    if len(network) == len(wnids()) != len(store):
        whole = _by_name(list(network), list(wnids()))
        if len(whole) == len(wnids()):
            ids = {k: wnids()[i] for i, k in whole.items()}
            found = _by_name([ids[k] for k in range(len(network))], list(store))
            if len(found) == len(store):
                return found
    return _by_name(list(network), list(store))


def _by_name(network: list[str], store: list[str]) -> dict[int, int]:
    """The network's output of each class of the store that one fits. The strictest way to be equal goes first, and what
    fits several is left to the next."""
    found: dict[int, int] = {}
    for keys in (_whole, _first, _folded(_whole), _folded(_first), _folded(_all)):
        taken = set(found.values())
        free_store = [i for i in range(len(store)) if i not in found]
        free_network = [k for k in range(len(network)) if k not in taken]
        there, here = (_unique(names, free, keys) for names, free in ((network, free_network), (store, free_store)))
        pairs = {(i, there[key]) for key, i in here.items() if key in there}
        mine, theirs = Counter(i for i, _ in pairs), Counter(k for _, k in pairs)
        found |= {i: k for i, k in pairs if mine[i] == theirs[k] == 1}
    left = [i for i in range(len(store)) if i not in found]
    # Labels that say the same, as ImageNet's two cranes, where all else stands in the store's order: so do they.
    taken = set(found.values())
    rest = [k for k in range(len(network)) if k not in taken]
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
    """The first and the last of some names with their outputs; ImageNet's ids with their words."""
    words = [f"{name} {classes()[name]}" if name in classes() else name for name in names]
    pairs = [f"{i} {name}" for i, name in zip(outputs or range(len(names)), words, strict=True)]
    return ", ".join(pairs if len(pairs) <= 4 else [*pairs[:3], "...", pairs[-1]])


def outputs_by_name(network: Sequence[str], names: Sequence[str]) -> dict[int, int]:
    """The network's output of each class that one fits, by the class's index, as `match_classes` finds them; a network
    may know other classes too, and a class may be left out."""
    return _by_name(list(network), list(names))
