"""Short names of features, from what people wrote about them. Pure functions on words.

A name is the most frequent content words of the reasons: each word once a person, those of our list below left out, and
what stands behind "not", "no" or "without" too, since that is what the feature is not.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

MOST_WORDS, LONGEST_WORD = 3, 30
"""Of a name; letters of a word, of which the rest is cut."""
_STOP = """
    a about above across after against all almost along also always am among an and another any are area around as at
    away background be because been before behind being below beneath beside besides between big both bottom but by can
    center central centre class close comes corner could did do does each either else every feature features few
    focus focused focuses for from front further general get go goes had has have having he heat her here highlight
    highlighted highlights his how i image images in inside into is it its itself just kind left less like likely
    little looks lot lots lower main mainly many map may maybe me mean means middle might more most mostly much my near
    nearly next object objects of off often on one ones only onto or other others our out outside over own part partly
    parts perhaps photo photograph photographs photos picture pictures piece pieces place places probably purple quite
    rather really region regions right round same see seem seems seen separate several she should show showing shown
    shows side sides so some something sometimes spot spots still such than that the their them then there these they
    thing things this those through to together too top toward towards two under underneath up upon upper us usually
    various very visible was we well were what when where which while who whole whose why will with within would you
    your
    """
STOP_WORDS = frozenset(_STOP.split())
"""Words that say nothing of what is seen: of grammar, of place, and of the question."""
NOT = frozenset(("except", "excluding", "instead", "neither", "never", "no", "nor", "not", "than", "without"))
"""Behind these stands, up to the next comma or "but", what a feature is not."""
_CLAUSE = re.compile(r"[,.;:!?()\[\]/\n]+|\bbut\b")
_OWNER = re.compile(r"['\u2019]s$")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")


def short_name(reasons: Iterable[str]) -> str | None:
    """At most three words, the most frequent first, with commas between; None where no reason holds a content word.

    reasons: one a person. Words count that at least half as many people wrote as wrote the most frequent one and, where
    any word is of several people, at least two. "tree" and "trees" are one word, called as it was most often written.
    """
    people: Counter[str] = Counter()
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for reason in reasons:
        said = content_words(reason)
        people.update(dict.fromkeys(map(singular, said)).keys())
        for word in said:
            forms[singular(word)][word] += 1
    if not people:
        return None
    most = max(people.values())
    least = max(most / 2, min(most, 2))
    # Counters keep the order of first mention, and so does the sort among words of as many people.
    kept = [key for key, count in people.most_common() if count >= least][:MOST_WORDS]
    return ", ".join(_cut(forms[key].most_common(1)[0][0]) for key in kept)


def content_words(text: str) -> list[str]:
    """The words of a text that say what is seen, in small letters and in their order."""
    found = []
    for clause in _CLAUSE.split(text.lower()):
        for word in _WORD.findall(clause):
            if word in NOT or word.endswith(("n't", "n\u2019t")):
                break
            word = _OWNER.sub("", word)
            if len(word) > 1 and word not in STOP_WORDS:
                found.append(word)
    return found


def singular(word: str) -> str:
    """What a word is counted under: an English plural as its singular. Wrong for words such as "lens", which then only
    has another key."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word


def words_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Content words of a list of texts, singular, each once, in their order."""
    return tuple(dict.fromkeys(singular(word) for text in texts for word in content_words(text)))


def _cut(word: str) -> str:
    return word if len(word) <= LONGEST_WORD else word[: LONGEST_WORD - 1] + "…"
