"""Templates: what is filled in can neither be markup nor hide, and nothing may be forgotten."""

from hashlib import sha256
from pathlib import Path

import pytest
from jinja2 import TemplateError

from sealwire.files.html import frame
from sealwire.files.html.frame import MAX_TEXT, Mark, Tone, render

HOSTILE = "<script>alert('x')</script>&\"\u202e\x1b[31m"
PARTS = '{% import "parts.html.j2" as parts %}'


def rendered(folder: Path, template: str, **values: object) -> str:
    (folder / "page.html.j2").write_text(template, encoding="utf-8")
    return render(folder, "page.html.j2", **values)


def test_a_text_is_escaped_and_hides_nothing(tmp_path: Path) -> None:
    html = rendered(tmp_path, '<p title="{{ text }}">{{ text }}</p>', text=HOSTILE)
    assert "<script" not in html
    assert not {"\u202e", "\x1b"} & set(html)
    assert html.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&#34;??[31m") == 2


def test_a_text_is_cut(tmp_path: Path) -> None:
    assert len(rendered(tmp_path, "{{ text }}", text="a" * 5000)) == MAX_TEXT


def test_a_template_stands_in_the_frame(tmp_path: Path) -> None:
    template = '{% extends "base.html.j2" %}{% block body %}<main>{{ title }}</main>{% endblock %}'
    html = rendered(tmp_path, template, title="A & B")
    assert "<title>A &amp; B</title>" in html
    assert "<main>A &amp; B</main>" in html
    assert html.count("default-src 'none'") == 1


def test_a_name_that_is_not_given_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TemplateError):
        rendered(tmp_path, "{{ missing }}")


def test_parts_escape_what_they_are_given(tmp_path: Path) -> None:
    html = rendered(tmp_path, PARTS + "{{ parts.facts(pairs) }}", pairs=[(HOSTILE, HOSTILE)])
    assert html.count("&lt;script&gt;") == 2
    assert "<dl>" in html


def test_the_stylesheet_is_the_one_that_was_published() -> None:
    """`css/pico.fluid.classless.min.css` of @picocss/pico 2.1.1, byte for byte."""
    style = (Path(frame.__file__).parent / "pico.css").read_bytes()
    assert sha256(style).hexdigest() == "06cf0bead048c54f4e2c281c26ae0d695cb0da8675545366ac7fc4b39c779398"


def test_a_mark_has_its_colour_and_its_word(tmp_path: Path) -> None:
    html = rendered(
        tmp_path, PARTS + "{{ parts.verdict(mark) }}{{ parts.cell(mark) }}", mark=Mark("a&b", Tone.ACT)
    )
    assert '<p class="verdict fail"><strong>a&amp;b</strong></p>' in html
    assert '<strong class="fail">a&amp;b</strong>' in html
