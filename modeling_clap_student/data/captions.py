"""Caption text: cleaning the titles and descriptions of recordings, and telling equal captions."""

import hashlib
import html
import re


LONGEST_TEXT = 131_072  # characters of a caption or a name; the csv reader's own limit

NO_WORDS = "no word in the caption"
TOO_LONG = f"a text of more than {LONGEST_TEXT} characters"

_EXTENSION = re.compile(r"\.(wav|wave|aiff?|mp3|flac|ogg|oga|opus|m4a|wma)$", re.IGNORECASE)
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TOKEN_WITH_DIGITS = re.compile(r"\S*\d\S*")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_LINK = re.compile(r"\b(https?://|www\.)\S+", re.IGNORECASE)
_SEPARATORS = re.compile(r"[_\-/\\|.,;:()\[\]{}+=~*#@&\"<>]+")


def clean_title(title: str) -> str:
    """A recording's title or file name as text: `LBS_FX DOG Small Alert Bark001.wav` -> `lbs fx dog small alert bark`.

    Drops the extension, takers' numbers and dates, splits CamelCase and separators, lower-cases. What is left may be
    empty (`1000000007.aif`): such a title says nothing of the sound.
    """
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), title.strip())
    text = _EXTENSION.sub("", text)
    text = _SEPARATORS.sub(" ", text)
    text = re.sub(r"(?<=[A-Za-z])\d+\b", "", text)  # Bark001 -> Bark
    text = _TOKEN_WITH_DIGITS.sub(" ", text)
    words = _CAMEL.sub(" ", text).lower().split()
    return " ".join(words) if any(len(word) > 1 for word in words) else ""


def strip_html(text: str) -> str:
    """Text from a web page without its tags, entities and links: `a <b>dog</b> &amp; <a href="…">rain</a>`."""
    for _ in range(2):  # some sites escape what was escaped before: &amp;quot;
        text = html.unescape(text)
    return " ".join(_LINK.sub(" ", _TAG.sub(" ", text)).split())


def shorten(text: str, most_words: int) -> str:
    """At most so many words, cut at the last end of a sentence within them where there is one."""
    words = text.split()
    if len(words) <= most_words:
        return " ".join(words)
    words = words[:most_words]
    ends = [number for number, word in enumerate(words, start=1) if word.rstrip("\"')]").endswith((".", "!", "?"))]
    return " ".join(words[: ends[-1]] if ends else words)


def caption_key(caption: str) -> str:
    """Equal for captions that differ only in case and blanks."""
    return exact_key(" ".join(caption.lower().split()))


def exact_key(text: str) -> str:
    """64 bits that are equal for equal texts alone."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def has_words(caption: str | None) -> bool:
    """Whether there is a letter or a digit in it."""
    return any(letter.isalnum() for letter in caption or "")


def fault(caption: str | None) -> str | None:
    """Why a caption can't be used; None where it can."""
    if not has_words(caption):
        return NO_WORDS
    return TOO_LONG if len(caption) > LONGEST_TEXT else None
