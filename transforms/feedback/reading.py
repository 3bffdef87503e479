"""Reading a text: which topics it mentions, and whether it speaks well of them; Chinese and English.

A lexicon with rules, after Hutto & Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
Media Text (ICWSM 2014): opinions add up, a degree before one strengthens it, a negation turns it, and what comes before
a `but` weighs less. Chinese needs no words cut: the longest entry that starts at a character is taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from transforms.feedback.rules import FeedbackRules

_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)*\*?|[0-9]+|\n|[^\s\ufe0f]")
_BREAKS = frozenset("\n,.!?;。、~…")
_LEAST_STEM = 2
_MEANING = ""  # in the tree of words, beside tokens, of which none is empty


@dataclass(frozen=True)
class Opinion:
    """What one piece of feedback says.

    Attributes:
        sentiment: 1 for good, -1 for bad, 0 for neither.
        topic: what it is mostly about: the topic of most clauses, of equals the first; null without one.
        mentions: each topic once, with 1, -1 or 0 for how it is spoken of, in the order of first mention.
    """

    sentiment: int
    topic: str | None
    mentions: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class _Meaning:
    weight: float = 0
    factor: float = 1
    is_negation: bool = False
    is_contrast: bool = False
    topics: tuple[str, ...] = ()


@dataclass
class _Clause:
    score: float = 0
    topics: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Felt:
    """What negations and degrees do to an opinion up to a place."""

    turn: float = 1
    factor: float = 1
    until: int = -1


_NOTHING = _Felt()


class Reader:
    """Reads texts by one set of rules; the same text always says the same."""

    def __init__(self, rules: FeedbackRules) -> None:
        self._rules = rules
        self._words: dict[str, Any] = {}
        for word, meaning in _meanings(rules).items():
            self._add(word, meaning)
        for token, node in self._words.items():  # `problem` begins problem_free, and is still a problem*
            if _MEANING not in node and (stem := _stem(self._words, token)):
                node[_MEANING] = stem.get(_MEANING)

    def opinion(self, text: str | None, rating: int | None = None) -> Opinion:
        """What a text says, and the stars that were given with it: where these are clear, they decide."""
        clauses = self._clauses(text or "")
        score = sum(clause.score for clause in clauses)
        sentiment = self._sign(score)
        if rating is not None:
            sentiment = 1 if rating >= self._rules.good_stars else -1 if rating <= self._rules.poor_stars else sentiment
        told: dict[str, float] = {}
        often: Counter[str] = Counter()
        for clause in clauses:
            for topic in dict.fromkeys(clause.topics):
                told[topic] = told.get(topic, 0) + clause.score
                often[topic] += 1
        mentions = tuple((topic, self._sign(score) or sentiment) for topic, score in told.items())
        main = often.most_common(1)  # of equals the first that was mentioned
        return Opinion(sentiment, main[0][0] if main else None, mentions)

    def score(self, text: str) -> float:
        """The sum of all opinions of a text."""
        return sum(clause.score for clause in self._clauses(text))

    def _sign(self, score: float) -> int:
        return 1 if score >= self._rules.least_score else -1 if score <= -self._rules.least_score else 0

    def _clauses(self, text: str) -> list[_Clause]:
        """Clauses with their opinions summed up; those before a contrast already weigh less."""
        rules, clauses, clause, felt = self._rules, [], _Clause(), _NOTHING
        for place, token, meaning in self._met(_tokens(text)):
            ends = token in _BREAKS or (meaning is not None and meaning.is_contrast)
            if ends or place > felt.until:
                clause.score += rules.bare_negation if felt.turn != 1 else 0
                felt = _NOTHING
            if ends:
                clauses.append(clause)
                clause = _Clause()
            if meaning is None:
                continue
            if meaning.is_contrast:
                for earlier in clauses:
                    earlier.score *= rules.before_contrast
            clause.topics.extend(meaning.topics)
            if meaning.weight:
                clause.score += meaning.weight * felt.factor * felt.turn
                felt = _NOTHING
            elif meaning.is_negation:
                felt = _Felt(rules.negated, felt.factor, place + rules.reach)
            elif meaning.factor != 1:
                felt = _Felt(felt.turn, felt.factor * meaning.factor, place + rules.reach)
        clause.score += rules.bare_negation if felt.turn != 1 else 0
        return [*clauses, clause]

    def _met(self, tokens: list[str]) -> Iterator[tuple[int, str, _Meaning | None]]:
        """(place of its last token, first token, meaning) of each longest entry, and of breaks, which mean nothing."""
        place = 0
        while place < len(tokens):
            first = place
            found, end = None, place + 1
            node = self._next(self._words, tokens[place])
            while node is not None:
                place += 1
                if _MEANING in node:
                    found, end = node[_MEANING], place
                node = self._next(node, tokens[place]) if place < len(tokens) else None
            if found is not None or tokens[first] in _BREAKS:
                yield end - 1, tokens[first], found
            place = end

    @staticmethod
    def _next(node: dict[str, Any], token: str) -> dict[str, Any] | None:
        """Where a token leads to: as it is, or as the longest stem that stands there."""
        return node[token] if token in node else _stem(node, token)

    def _add(self, word: str, meaning: _Meaning) -> None:
        node = self._words
        for token in _tokens(word.replace("_", " ") if len(word) > 3 or word.isalpha() else word):
            node = node.setdefault(token, {})
        node[_MEANING] = meaning


def _tokens(text: str) -> list[str]:
    """Words of Latin letters, numbers, and every other sign by itself; full-width signs and curly quotes as usual."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower().replace("’", "'"))


def _stem(node: dict[str, Any], token: str) -> dict[str, Any] | None:
    if token.isascii() and token.isalpha():
        for length in range(len(token), _LEAST_STEM, -1):
            if (stem := f"{token[:length]}*") in node:
                return node[stem]
    return None


def _meanings(rules: FeedbackRules) -> dict[str, _Meaning]:
    """What each word means; one may tell an opinion and a topic at once."""
    plain = _Meaning()
    found: dict[str, _Meaning] = {word: plain for word in rules.idioms}

    def add(words: tuple[str, ...], **meaning: Any) -> None:
        for word in words:
            found[word] = replace(found.get(word, plain), **meaning)

    for degree in rules.degrees.values():
        add(degree.words, factor=degree.factor)
    add(rules.negations, is_negation=True)
    add(rules.contrasts, is_contrast=True)
    for opinions in rules.opinions.values():
        add(opinions.words, weight=float(opinions.weight))
    for name, topic in rules.topics.items():
        for word in topic.words:
            phrases = [phrase for phrase, meaning in found.items() if meaning.weight and _holds(phrase, word)]
            for each in {word, *phrases}:
                said = found.get(each, plain)
                found[each] = replace(said, topics=tuple(dict.fromkeys((*said.topics, name))))
    return found


def _holds(phrase: str, word: str) -> bool:
    """Whether an opinion names a topic, as 性价比高 names 性价比: it is met as a whole, and must tell both."""
    return f"_{word}_" in f"_{phrase}_" if word.isascii() else word in phrase
