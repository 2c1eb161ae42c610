"""The speech endpoint and its sisters, asked by real clients over loopback."""

import base64
import http.client
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.engine.tiny import tiny_engine, tiny_voice
from tests.serving.fake_studio import RATE, FakeStudio
from tests.serving.server import ask, served

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.speaking.many import EngineStudio
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.studio import Spoken
from mamtra_cli.serving.app import Settings
from mamtra_cli.serving.desk import Limits
from mamtra_cli.serving.requests import FIELDS
from mamtra_cli.voices.voice import Voice

TEXT = "Ten signs."


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with served(FakeStudio()) as address:
        yield address


def speech(host: str, **fields: Any) -> tuple[int, bytes, dict[str, str]]:
    return ask(host, "POST", "/v1/audio/speech", {"input": TEXT, **fields})


def problem(body: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(body)["error"]
    assert error["message"]
    return error


@pytest.mark.parametrize("format", ["flac", "mp3", "opus"])
def test_compressed_formats_are_read_back_whole(host: str, format: str) -> None:
    status, body, headers = speech(host, response_format=format)
    assert status == 200
    assert headers["transfer-encoding"] == "chunked"
    samples, rate = soundfile.read(io.BytesIO(body))
    assert rate in (RATE, 48_000)
    assert len(samples) == pytest.approx(rate, rel=0.1)


def test_pcm_and_wav_hold_the_same_samples(host: str) -> None:
    pcm = speech(host, response_format="pcm")[1]
    wav = speech(host, response_format="wav")[1]
    assert len(pcm) == 2 * RATE
    assert wav[:4] == b"RIFF"
    assert wav.endswith(pcm)


def test_events_carry_the_sound_and_its_length(host: str) -> None:
    body = speech(host, response_format="pcm", stream_format="sse")[1].decode()
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]
    sound = b"".join(base64.b64decode(e["audio"]) for e in events if "audio" in e)
    assert len(sound) == 2 * RATE
    assert events[-1] == {"type": "speech.audio.done", "seconds": 1.0}


def test_times_come_where_they_are_asked_for(host: str) -> None:
    fields = {"response_format": "f32", "stream_format": "sse", "timestamps": True}
    body = speech(host, **fields)[1].decode()
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]
    sound = b"".join(base64.b64decode(e["audio"]) for e in events if "audio" in e)
    assert np.frombuffer(sound, "<f4").max() == pytest.approx(0.3, rel=0.01)
    (piece,) = [e for e in events if e["type"] == "speech.piece"]
    assert (piece["start"], piece["end"], piece["text"]) == (0.0, 1.0, TEXT)
    assert piece["words"] == [{"word": TEXT, "start": 0.0, "end": 1.0}]
    items = [{"input": TEXT, "timestamps": timed} for timed in (True, False)]
    data = json.loads(ask(host, "POST", "/v1/audio/speech/batch", {"items": items})[1])["data"]
    assert data[0]["pieces"][0]["words"] == piece["words"]
    assert "pieces" not in data[1]


def test_a_voice_of_openai_is_the_first_one_here_and_the_answer_says_so(host: str) -> None:
    status, _, headers = speech(host, voice="alloy")
    assert (status, headers["x-voice"]) == (200, "f1")
    assert "x-voice" not in speech(host, voice="m1")[2]
    items = [{"input": TEXT, "voice": {"id": "nova"}}, {"input": TEXT}]
    data = json.loads(ask(host, "POST", "/v1/audio/speech/batch", {"items": items})[1])["data"]
    assert (data[0]["voice"], "voice" in data[1]) == ("f1", False)


def test_a_text_is_shown_without_being_spoken(host: str) -> None:
    status, body, _ = ask(host, "POST", "/v1/audio/reading", {"input": "Two words"})
    assert status == 200
    words = [word["word"] for word in json.loads(body)["pieces"][0]["words"]]
    assert words == ["Two", "words"]


def test_a_batch_gives_each_item_its_sound_or_its_error(host: str) -> None:
    items = [{"input": TEXT, "response_format": "pcm"}, {"input": 3}, {"input": "no \u2603"}]
    status, body, _ = ask(host, "POST", "/v1/audio/speech/batch", {"items": items})
    assert status == 200
    first, second, third = json.loads(body)["data"]
    assert len(base64.b64decode(first["audio"])) == 2 * RATE
    assert second["error"]["message"] == "`input` of item 1 is of the wrong type"
    assert third["error"]["code"] == "bad_text"
    _, packed, _ = ask(
        host, "POST", "/v1/audio/speech/batch", {"items": items[:2]}, accept="application/zip"
    )
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == ["00000.pcm", "results.jsonl"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "no JSON"),
        (b"\xff\xfe", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
        (b"[]", 400, "no JSON object"),
        ({}, 400, "no `input`"),
        ({"input": ""}, 400, "empty"),
        ({"input": "a", "voice": "zz"}, 404, "no voice `zz`"),
        ({"input": "a", "voice": "../../etc/passwd"}, 400, "no name of a voice"),
        ({"input": "a", "speed": 9}, 400, "`speed`"),
        ({"input": "a", "speed": True}, 400, "wrong type"),
        ({"input": "a", "tags": 1}, 400, "`tags`"),
        ({"input": "a", "lexicon": "no entry"}, 400, "is no entry"),
        ({"input": "a", "lexicon": {"a": 3}}, 400, "said by no text"),
        ({"input": "a", "lexicon": {"a": "/k"}}, 400, "phones stand as"),
        ({"input": "a", "on_unreadable": "drop"}, 400, "`on_unreadable`"),
        ({"input": "a", "sped": 1}, 400, "unknown field `sped`"),
        ({"input": "a", "response_format": "wma"}, 400, "`response_format`"),
        ({"input": "a", "model": "other"}, 404, "no model `other`"),
        ({"input": "a", "seed": -1}, 400, "`seed`"),
        ({"input": "x" * 30_000}, 400, "30,000 characters"),
        (b'{"input": "a", "speed": NaN}', 400, "no JSON"),
        (b"x" * 3_000_000, 413, "larger than"),
    ],
)
def test_wrong_bodies_are_told(host: str, body: Any, status: int, words: str) -> None:
    found, answer, _ = ask(host, "POST", "/v1/audio/speech", body)
    assert found == status
    assert words in problem(answer)["message"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={name: VALUES for name in (*FIELDS, "zz")},
)


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=BODIES | VALUES | st.binary(max_size=40))
def test_no_body_is_an_internal_error(host: str, body: Any) -> None:
    for path in ("/v1/audio/speech", "/v1/audio/speech/batch", "/v1/audio/reading"):
        assert ask(host, "POST", path, body)[0] < 500


def test_what_fails_before_the_first_sound_has_a_status(host: str) -> None:
    status, body, _ = speech(host, input="\u2603")
    assert status == 400
    assert problem(body)["code"] == "bad_text"


def test_what_fails_after_the_first_sound_breaks_the_body_off_and_is_a_line_in_the_log(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(http.client.IncompleteRead):
        speech(host, input="A comet \u2604 falls.", response_format="pcm")
    broken = [record for record in caplog.records if record.name.startswith("mamtra_cli")]
    assert [record.getMessage() for record in broken] == ["speech was broken off: no good speech"]
    assert not any(record.exc_info for record in caplog.records)


def test_sisters_answer(host: str) -> None:
    assert json.loads(ask(host, "GET", "/v1/models")[1])["data"][0]["id"] == "fake"
    voices = json.loads(ask(host, "GET", "/v1/audio/voices")[1])["voices"]
    assert [voice["id"] for voice in voices] == ["f1", "m1"]
    assert json.loads(ask(host, "GET", "/healthz")[1])["status"] == "ok"
    assert ask(host, "GET", "/")[2]["content-type"].startswith("text/html")
    counted = ask(host, "GET", "/metrics")[1].decode()
    for name in ("queue_length", "streams", "first_audio_seconds", "real_time_factor", "refusals"):
        assert f"mamtra_{name}" in counted
    assert problem(ask(host, "GET", "/nowhere")[1])["code"] == "not_found"
    assert ask(host, "GET", "/v1/audio/speech")[0] == 405
    assert ask(host, "POST", "/v1/audio/voices")[0] == 403


def test_callers_share_the_studio() -> None:
    class Patient(FakeStudio):
        """Begins when all callers are there, however late some of them come."""

        def step(self) -> list[Spoken]:
            if self.count < 6:
                time.sleep(0.01)
                return []
            return super().step()

    studio = Patient()
    with served(studio) as host:
        threads = [threading.Thread(target=speech, args=(host,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert studio.most == studio.rows
    assert not studio.inside


class Silent(FakeStudio):
    """Works, and never gets to a sound."""

    def step(self) -> list[Spoken]:
        time.sleep(0.01)
        return []


@pytest.mark.parametrize("path", ["", "/batch"])
def test_a_caller_that_leaves_before_the_first_sound_is_forgotten(path: str) -> None:
    studio = Silent()
    with served(studio) as host:
        connection = http.client.HTTPConnection(host, timeout=30)
        body = {"items": [{"input": TEXT}, {"input": TEXT}]} if path else {"input": TEXT}
        connection.request("POST", f"/v1/audio/speech{path}", json.dumps(body).encode())
        until = time.monotonic() + 60
        while len(studio.inside) < (2 if path else 1):
            assert time.monotonic() < until
            time.sleep(0.01)
        connection.close()
        while studio.inside:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_row_is_free_once_its_caller_left() -> None:
    """`benchmarks/load.py` tells the milliseconds."""
    engine = tiny_engine(positions="sequential")
    engine.part("lm").llm_decoder.bias[engine.config.lm.eos_id :] = -30.0
    options = SpeechOptions(limits=GuardLimits(equal_run=9e9, loop_span=9e9, max_share=9e9))
    studio = Speaks(engine, rows=2, options=options)
    with served(studio) as host:
        connection = http.client.HTTPConnection(host, timeout=30)
        body = {"input": "a long sentence that is said. " * 40, "response_format": "pcm"}
        connection.request("POST", "/v1/audio/speech", json.dumps(body).encode())
        assert connection.getresponse().read(1000)
        assert json.loads(ask(host, "GET", "/healthz")[1])["running"] == 1
        connection.close()
        until = time.monotonic() + 30
        while json.loads(ask(host, "GET", "/healthz")[1])["running"]:
            assert time.monotonic() < until
    assert studio.dropped


class Speaks(EngineStudio):
    """A studio of a model without voices of its own."""

    dropped = False

    def drop(self, id: int) -> None:
        self.dropped = True
        super().drop(id)

    def _voice(self, name: str) -> Voice:
        return tiny_voice()


def test_a_caller_that_leaves_is_forgotten() -> None:
    studio = FakeStudio()
    with served(studio) as host:
        connection = http.client.HTTPConnection(host, timeout=30)
        body = json.dumps({"input": "x" * 19_000, "response_format": "pcm"})
        connection.request("POST", "/v1/audio/speech", body)
        connection.getresponse().read(1000)
        connection.close()
        deadline = time.monotonic() + 20
        while studio.inside and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not studio.inside
        assert studio.dropped


def test_a_full_queue_and_full_memory_say_when_to_come_back() -> None:
    class Slow(FakeStudio):
        def step(self) -> Any:
            time.sleep(0.05)
            return super().step()

    for limits, status in ((Limits(queue=1), 429), (Limits(memory=2000), 503)):
        answers: list[tuple[int, dict[str, str]]] = []

        def call(host: str, answers: list[tuple[int, dict[str, str]]]) -> None:
            found, _, headers = speech(host, input="x" * 12)
            answers.append((found, headers))

        with served(Slow(), limits) as host:
            threads = [threading.Thread(target=call, args=(host, answers)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert {found for found, _ in answers} == {200, status}
        refused = [headers for found, headers in answers if found == status]
        assert all(int(headers["retry-after"]) >= 1 for headers in refused)


def test_a_key_is_asked_for() -> None:
    with served(FakeStudio(), settings=Settings(key="secret", patience=1.0)) as host:
        assert speech(host)[0] == 401
        assert ask(host, "GET", "/metrics")[0] == 401
        assert ask(host, "GET", "/healthz")[0] == 200
        status, _, _ = ask(
            host, "POST", "/v1/audio/speech", {"input": TEXT}, authorization="Bearer secret"
        )
        assert status == 200


def test_a_warm_server_has_spoken_before_the_first_caller() -> None:
    studio = FakeStudio()
    with served(studio, settings=Settings(warmup=True, patience=1.0)):
        assert (studio.count, studio.inside) == (1, {})


def test_an_idle_model_is_let_go_and_comes_back() -> None:
    with served(FakeStudio(), Limits(idle_unload=0.3)) as host:
        assert speech(host)[0] == 200
        deadline = time.monotonic() + 20
        while json.loads(ask(host, "GET", "/healthz")[1])["model_loaded"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert speech(host)[0] == 200
        assert json.loads(ask(host, "POST", "/unload")[1]) == {"unloaded": True}


def test_closing_lets_speech_under_way_end() -> None:
    closing = threading.Event()

    class Patient(FakeStudio):
        """Goes on once the door is about to close."""

        def step(self) -> Any:
            closing.wait()
            return super().step()

    found: list[bytes] = []
    with served(Patient(), settings=Settings(patience=20.0)) as host:
        thread = threading.Thread(
            target=lambda: found.append(speech(host, input="x" * 20, response_format="pcm")[1])
        )
        thread.start()
        while not json.loads(ask(host, "GET", "/healthz")[1])["present"]:
            time.sleep(0.01)
        closing.set()
    thread.join()
    assert len(found[0]) == 2 * 2 * RATE


def test_the_official_client_speaks_and_streams(host: str) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"http://{host}/v1", api_key="none", max_retries=0)
    whole = client.audio.speech.create(model="tts-1", voice="f1", input=TEXT, response_format="pcm")
    assert len(whole.content) == 2 * RATE
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="m1", input=TEXT, response_format="wav"
    ) as response:
        parts = list(response.iter_bytes(4096))
    assert sum(map(len, parts)) > 2 * RATE
    samples = np.frombuffer(whole.content, "<i2")
    assert int(np.abs(samples).max()) == pytest.approx(0.3 * 32_767, rel=0.01)
