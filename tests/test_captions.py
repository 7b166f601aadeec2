"""Caption text on titles as their authors typed them."""

import pytest

from modeling_clap_student.data.texts import caption_key, clean_title
from modeling_clap_student.processing_clap_student import label_text


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("rose_bark.wav", "rose bark"),
        ("LBS_FX DOG Small Alert Bark001.wav", "lbs fx dog small alert bark"),
        ("1000000007.aif", ""),
        ("FireBurning.wav", "fire burning"),
        (r"Henkil\xf6auto", "henkilöauto"),
        ("Rooster Crowing 2.MP3", "rooster crowing"),
        ("rain 2009-05-01 16_24.flac", "rain"),
        ("sea-waves (close).ogg", "sea waves close"),
        ("ABCNews jingle", "abc news jingle"),
        ("Água corrente.mp3", "água corrente"),
        ("St. John's bell", "st john's bell"),
        ("  thunder  ", "thunder"),
        ("日本語.wav", "日本語"),
        ("x.wav", ""),
        ("a/b", ""),
        ("", ""),
    ],
)
def test_titles_become_words(title, text):
    """Guards against extensions, take numbers and escapes that the text tower would learn as words."""
    assert clean_title(title) == text
    assert clean_title(text) == text


def test_words_about_a_format_stay():
    """Guards against an extension that is cut out of the middle of a title."""
    assert clean_title("an ogg.file of wav sounds") == "an ogg file of wav sounds"


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("dog_bark", "dog bark"),
        ("a/b", "a b"),
        ("cafe/restaurant", "cafe restaurant"),
        ("__sea__waves ", "sea waves"),
        ("Dog", "Dog"),
    ],
)
def test_labels_become_words(label, text):
    """Guards against prompts with underscores and slashes, which change zero-shot accuracy."""
    assert label_text(label) == text


def test_equal_captions_share_a_key():
    """Guards against the same caption on two clips being taken for a negative."""
    assert caption_key("A dog  barks ") == caption_key("a dog barks")
    assert len({caption_key(c) for c in ("a dog barks", "a dog barked", "adog barks", "", "A dog barks.")}) == 5


def test_keys_last():
    """Guards against keys that change with the process, as Python's own hash does: they are stored in data sets."""
    assert caption_key("a dog barks") == "8cba0d5b69b18330"
