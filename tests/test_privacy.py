"""What should not leave this machine is found; what is nobody's secret stays as it is."""

import pytest

from mamtra_cli.privacy import cut_paths, find_secret, redacted, without_paths

SECRETS = [
    "HF_TOKEN=hf_" + "aB3" * 10,
    "--asr 'command:curl -H \"Authorization: Bearer abcdef123456\" x'",
    "git clone https://ann:hunter22@example.org/x",
    "key AKIA" + "ABCD1234" * 2,
    "mamtra eval m --api-key s3cr3tvalue",
    "-----BEGIN RSA PRIVATE KEY-----",
    "password = 'correct4horse'",
]
PLAIN = [
    "mamtra eval student --teacher mini --sentences 20 --report out",
    "speech_token = 12345678, calibration_tokens: 8192",
    "the secret: nobody knows",
    "sha256: 7646cdcb472b677cf0eb57412374c6ec2205861a9f551f3db2a3bf4d4e06dd2d",
    "https://huggingface.co/org/name",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secret_is_found_and_starred(text: str) -> None:
    assert find_secret(text)
    assert find_secret(redacted(text)) is None
    assert "***" in redacted(text)


@pytest.mark.parametrize("text", PLAIN)
def test_plain_words_are_no_secret(text: str) -> None:
    assert find_secret(text) is None
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("cannot read `/home/ann/my models/big`: gone", "cannot read `big`: gone"),
        ("mamtra eval /root/m -o ~/x --data ../p.jsonl", "mamtra eval m -o x --data p.jsonl"),
        (r"C:\Users\ann\student is new", "student is new"),
        ("of file:///home/ann/x.wav, file:/home/ann/y", "of x.wav, y"),
        ("POST /v1/audio/speech, and/or 1/3 </div>", "POST /v1/audio/speech, and/or 1/3 </div>"),
        ("![plot](plots/a.png) org/name https://x.org/home/y", None),
    ],
)
def test_paths_of_this_machine_keep_their_last_name(text: str, kept: str | None) -> None:
    assert cut_paths(text) == (text if kept is None else kept)


def test_json_keeps_names_and_loses_folders() -> None:
    told = {
        "teacher": "/data/ann/big",
        "why": "no `/tmp/a/b`",
        "id": "org/name@v1",
        "n": [1, "../x/y"],
    }
    assert without_paths(told) == {
        "teacher": "big",
        "why": "no `b`",
        "id": "org/name@v1",
        "n": [1, "y"],
    }
