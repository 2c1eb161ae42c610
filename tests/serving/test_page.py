"""The page in a browser: a person writes, hears, sees what is said, and keeps it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.browser import Page, browser
from tests.serving.fake_studio import FakeStudio
from tests.serving.server import served


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with served(FakeStudio()) as host, browser(tmp_path_factory.mktemp("browser")) as page:
        page.open(f"http://{host}/")
        page.until("document.getElementById('status').textContent === 'Ready.'")
        yield page


def value(page: Page, id: str, property: str = "textContent") -> object:
    return page.js(f"document.getElementById({id!r}).{property}")


def write(page: Page, id: str, text: str) -> None:
    page.js(f"document.getElementById({id!r}).value = {text!r}")


def test_a_text_is_spoken_by_keyboard_and_its_words_are_told(page: Page) -> None:
    assert [option for option in page.js("[...voice.options].map((o) => o.value)")] == ["f1", "m1"]
    write(page, "text", "Ten signs.")
    page.js("document.getElementById('speak').focus()")
    page.press("Enter")
    page.until("document.getElementById('status').textContent.includes('s of speech')")
    assert "1.0 s of speech" in str(value(page, "status"))
    assert page.js("document.getElementById('said').children[0].dataset.end") == "1"
    for id in ("again", "save", "subtitles"):
        assert value(page, id, "disabled") is False
    drawn = "document.getElementById('wave').getContext('2d').getImageData(0, 0, 50, 90).data"
    assert page.js(f"{drawn}.some((value) => value > 0)") is True


def test_what_will_be_said_is_shown(page: Page) -> None:
    write(page, "text", "Two words")
    page.js("document.getElementById('more').open = true; document.getElementById('show').click()")
    page.until("document.getElementById('reading').textContent.includes('Two words')")
    write(page, "lexicon", "no entry")
    page.js("document.getElementById('show').click()")
    page.until("document.getElementById('status').className === 'error'")
    assert "is no entry" in str(value(page, "status"))
    write(page, "lexicon", "")


def test_an_error_is_told_and_the_page_goes_on(page: Page) -> None:
    write(page, "text", "\u2603")
    page.js("document.getElementById('speak').click()")
    page.until("document.getElementById('status').className === 'error'")
    assert "no good speech" in str(value(page, "status"))
    assert value(page, "speak", "disabled") is False


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_control_has_a_name_and_can_be_read(page: Page, theme: str, tmp_path: Path) -> None:
    page.theme(theme)
    controls = "[...document.querySelectorAll('button, input, select, textarea')]"
    named = "(c) => c.textContent.trim() || c.ariaLabel || c.labels?.length"
    assert page.js(f"{controls}.every({named})") is True
    colours = page.js("[getComputedStyle(document.body).color, "
                      "getComputedStyle(document.body).backgroundColor]")  # fmt: skip
    ink, paper = (sum(map(int, colour[4:-1].split(","))) for colour in colours)
    assert abs(ink - paper) > 450
    page.picture(tmp_path / f"{theme}.png")
    assert (tmp_path / f"{theme}.png").stat().st_size > 10_000


def test_the_page_asks_nobody_but_its_server(page: Page) -> None:
    addresses = page.js("performance.getEntriesByType('resource').map((entry) => entry.name)")
    host = page.js("location.origin")
    assert all(address.startswith(host) for address in addresses)
