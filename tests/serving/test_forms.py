"""Recordings that callers send: what becomes of good forms, and what is told of others."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("multipart")

from tests.serving.fake_studio import FakeStudio
from tests.serving.server import ask, served

from mamtra_cli.errors import UsageError
from mamtra_cli.serving.app import Settings


def form(*parts: tuple[str, bytes], mark: str = "mark") -> bytes:
    """A form of fields; one whose name ends in `@` is a file."""
    body = b""
    for name, data in parts:
        file = '; filename="clip.wav"' if name.endswith("@") else ""
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="{name.rstrip("@")}"{file}\r\n\r\n'
        )
        body += head.encode() + data + b"\r\n"
    return body + f"--{mark}--\r\n".encode()


@pytest.fixture(scope="module")
def voices() -> Iterator[str]:
    """A server that makes voices, of recordings of 20,000 bytes at most."""

    async def make(name: str, clip: bytes, words: str, consent: str) -> dict[str, Any]:
        if not consent:
            raise UsageError("a voice needs the consent of its speaker")
        return {"id": name, "bytes": len(clip), "words": words}

    asked = Settings(add_voice=make, max_clip=20_000, patience=1.0)
    with served(FakeStudio(), settings=asked) as address:
        yield address


def upload(host: str, body: Any, kind: str = "multipart/form-data; boundary=mark") -> Any:
    sent = iter(body) if isinstance(body, list) else body
    status, answer, _ = ask(host, "POST", "/v1/audio/voices", sent, **{"content-type": kind})
    return status, json.loads(answer)


def test_a_recording_becomes_a_voice(voices: str) -> None:
    parts = [
        ("audio_sample@", b"RIFF\x00\xff"),
        ("name", b"ann"),
        ("ref_text", "Caf\u00e9".encode()),
    ]
    assert upload(voices, form(*parts, ("consent", b"Ann, today"))) == (
        201,
        {"id": "ann", "bytes": 6, "words": "Caf\u00e9"},
    )
    status, told = upload(voices, form(*parts))
    assert (status, told["error"]["message"]) == (400, "a voice needs the consent of its speaker")


# Starlette leaves the temporary file of a part that has no end to the garbage.
cut_off = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
CLIP = ("audio_sample@", b"x" * 100)


@cut_off
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (form(("name", b"ann")), 400, "the form has no recording"),
        (form(("audio_sample", b"a text")), 400, "the form has no recording"),
        (form(CLIP, ("file@", b"x")), 400, "Too many files"),
        (form(CLIP, *[("name", b"x")] * 9), 400, "Too many fields"),
        (form(CLIP, ("ref_text", b"x" * 70_000)), 413, "larger than"),
        (form(("audio_sample@", b"x" * 30_000)), 413, "larger than"),
        ([form(("audio_sample@", b"x" * 3_000))] * 10, 413, "larger than"),  # says no length
        (form(CLIP, mark="other"), 400, "Invalid multipart"),
        (form(CLIP)[:150], 400, ""),
        (b"", 400, "the form has no recording"),
        (b"\xff" * 500, 400, "Invalid multipart"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_forms_are_told(voices: str, body: Any, status: int, words: str) -> None:
    found, told = upload(voices, body)
    assert found == status
    assert words in told["error"]["message"]


@pytest.mark.parametrize(
    "kind", ["", "multipart/form-data", "application/json", "application/x-www-form-urlencoded"]
)
def test_a_form_of_another_kind_is_told(voices: str, kind: str) -> None:
    found, told = upload(voices, form(CLIP), kind)
    assert found == 400
    assert told["error"]["message"]


@cut_off
@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.binary(max_size=300).map(lambda data: form(CLIP)[:60] + data), kind=st.text(max_size=20)
)
def test_no_form_is_an_internal_error(voices: str, body: bytes, kind: str) -> None:
    assert upload(voices, body)[0] < 500
    assert upload(voices, body, quote(kind))[0] < 500
