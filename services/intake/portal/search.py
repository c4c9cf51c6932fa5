"""Finds services by what citizens say: Chinese or English, with slips of the keyboard. Pure.

SQLite's full-text index (FTS5, BM25), in memory. Chinese has no blanks between words, so what is
indexed are its pairs of characters; and their sound, for who typed another character of the same
sound or simplified ones. A Latin word that no service knows
stands for those it looks like.
Decision 0014 has the measurements and the rivals.
"""

import re
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise

from pypinyin import Style, lazy_pinyin

from catalogue import Catalogue, Service

_LONGEST_QUERY = 100
_CHINESE = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_IS_CHINESE = re.compile(rf"[{_CHINESE}]")
_HAN = re.compile(rf"[{_CHINESE}]+")
_LATIN = re.compile(r"[a-z0-9]+")
# Columns and what a hit in them weighs: a name says more than a document that is asked for.
_WEIGHTS = {"name": 10.0, "words": 6.0, "topics": 2.5, "place": 2.0, "details": 1.0, "sounds": 1.5}
# What scores less than this part of the best hit has little to do with the question.
_CUTOFF = 0.3
_FREQUENT = 0.1
_SHORTEST_GUESS = 4
_SPELLINGS = str.maketrans("台着裏羣峯", "臺著裡群峰")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and any are at by can do for from get have how i in is it me my need of on or our "
        "the to want we what where with you your",
    )
)


@dataclass(frozen=True, slots=True)
class Hit:
    """A service and how well it fits; a higher score fits better."""

    code: str
    score: float


class Index:
    """All services of a catalogue that are open or have been."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._names = {
            code: (normal(service.name_zh), normal(service.name_en))
            for code, service in catalogue.services.items()
        }
        # Read by one thread at a time: the event loop's.
        self._base = sqlite3.connect(":memory:", check_same_thread=False)
        columns = ", ".join(_WEIGHTS)
        self._base.execute(
            f"CREATE VIRTUAL TABLE found USING fts5(code UNINDEXED, {columns}, "
            "tokenize = 'porter unicode61 remove_diacritics 2', detail = column)"
        )
        rows = [_row(service, catalogue) for service in catalogue.services.values()]
        self._base.executemany(f"INSERT INTO found VALUES (?{', ?' * len(_WEIGHTS)})", rows)
        # Said of so many services that it tells none from another.
        counted = Counter(word for row in rows for word in set(" ".join(row).split()))
        self._frequent = {word for word, n in counted.items() if n > len(rows) * _FREQUENT}
        self._base.execute("INSERT INTO found (found) VALUES ('optimize')")
        self._known = _known(catalogue)
        self._base.commit()

    def search(self, text: str) -> list[Hit]:
        """Services for what somebody typed, the best first; none when nothing fits."""
        text = normal(text[:_LONGEST_QUERY])
        words = _words(text)
        if not words:
            return []
        sounds = _sounds(text)
        if telling := [word for word in words if word not in self._frequent]:
            words = telling
            sounds = [sound for sound in sounds if sound not in self._frequent]
        terms = [f'"{word}"' for word in words]
        terms += [f'"{near}"' for word in words for near in self._near(word)]
        terms += [f'sounds : "{sound}"' for sound in sounds]
        # One character alone begins many pairs.
        terms += [f'"{run}" *' for run in _HAN.findall(text) if len(run) == 1]
        weights = ", ".join(map(str, (0.0, *_WEIGHTS.values())))
        rows = self._base.execute(
            f"SELECT code, -bm25(found, {weights}) FROM found WHERE found MATCH ?",
            (" OR ".join(terms),),
        ).fetchall()
        asked = " ".join(text.split())
        hits = [Hit(code, score * self._likeness(code, asked)) for code, score in rows]
        hits.sort(key=lambda hit: (-hit.score, hit.code))
        least = hits[0].score * _CUTOFF if hits else 0.0
        return [hit for hit in hits if hit.score >= least]

    def _near(self, word: str) -> list[str]:
        """For a Latin word that no service knows: those that look like it."""
        if word in self._known or not _LATIN.fullmatch(word) or len(word) < _SHORTEST_GUESS:
            return []
        return get_close_matches(word, self._known, n=2, cutoff=0.8)

    def _likeness(self, code: str, asked: str) -> float:
        """More than 1 when a name holds all that was asked, in one piece."""
        best = 1.0
        for name in self._names[code]:
            if name.startswith(asked):
                best = max(best, 1.0 + len(asked) / len(name))
            elif asked in name:
                best = max(best, 1.0 + len(asked) / len(name) / 2)
        return best


def normal(text: str) -> str:
    """One spelling: half-width, lower case, the characters that Taipei's own papers use."""
    return unicodedata.normalize("NFKC", text).lower().translate(_SPELLINGS)


def _row(service: Service, catalogue: Catalogue) -> tuple[str, ...]:
    listing = catalogue.listings[service.code]
    topics = [catalogue.topics[code] for code in (*listing.audiences, *listing.life_events)]
    agency = catalogue.agencies.get(service.agency)
    offices = [
        found
        for part in service.accept_at
        if (found := catalogue.offices.get(part) or catalogue.agencies.get(part))
    ]
    details = [
        text
        for part in (*service.documents, *service.waivable)
        for text in (part, catalogue.wordings[part].zh)
    ]
    name = f"{service.name_zh} {service.name_en} {service.code} {service.official_id}"
    words = " ".join((*listing.words_zh, *listing.words_en))
    columns = (
        name,
        words,
        " ".join(f"{topic.zh} {topic.en}" for topic in topics),
        " ".join(f"{one.zh} {one.en}" for one in (*([agency] if agency else []), *offices)),
        " ".join((*details, *listing.basis_zh, *listing.basis_en)),
    )
    spoken = normal(f"{service.name_zh} {' '.join(listing.words_zh)}")
    return (
        service.code,
        *(" ".join(_words(normal(column))) for column in columns),
        " ".join(_sounds(spoken)),
    )


def _known(catalogue: Catalogue) -> frozenset[str]:
    """The Latin words of names and of what people say for them."""
    texts = [service.name_en for service in catalogue.services.values()]
    texts += [" ".join(listing.words_en) for listing in catalogue.listings.values()]
    return frozenset(_LATIN.findall(normal(" ".join(texts))))


def _words(text: str) -> list[str]:
    """Words of a Latin text without the commonest, and pairs of Chinese characters."""
    found = []
    for run in _runs(text):
        if _IS_CHINESE.match(run):
            found += [run] if len(run) == 1 else [a + b for a, b in pairwise(run)]
        elif run not in _COMMON:
            found.append(run)
    return list(dict.fromkeys(found))


def _runs(text: str) -> Iterator[str]:
    """Parts of one script each."""
    for part in re.findall(r"[^\W_]+", text):
        yield from (run for run in re.split(rf"([{_CHINESE}]+)", part) if run)


def _sounds(text: str) -> list[str]:
    """The sound of each pair of characters, without tones."""
    found = []
    for run in _HAN.findall(text):
        found += [f"{a}0{b}" for a, b in pairwise(_pinyin(run))]
    return list(dict.fromkeys(found))


@lru_cache(maxsize=65_536)
def _pinyin(run: str) -> tuple[str, ...]:
    return tuple(lazy_pinyin(run, style=Style.NORMAL, errors="ignore"))
