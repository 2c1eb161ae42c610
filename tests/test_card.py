"""Model cards: a header any YAML reader understands, text that cannot break out of it."""

from dataclasses import replace

import pytest
import yaml  # type: ignore[import-untyped]

from mamtra_cli.card import UNKNOWN, CardFacts, fenced, model_card, read_license, with_scores

FACTS = CardFacts(
    name="student",
    license="apache-2.0",
    base_model=("FunAudioLLM/CosyVoice2-0.5B",),
    tags=("mamtra", "mamba", "mamtra"),
    plan="24 layers  TMMM",
    tables={"Scores": {"KL": "0.25"}},
    recipe={"ratio": "1:3"},
)
NASTY = 'a: "b"\n---\n# c | `d` <script> [x](y) ```'


def header(card: str) -> dict[str, object]:
    _, head, _ = card.split("---\n", 2)
    data = yaml.safe_load(head)
    assert isinstance(data, dict)
    return data


def test_header_states_what_the_hub_reads() -> None:
    assert header(model_card(FACTS)) == {
        "language": ["en"],
        "license": "apache-2.0",
        "library_name": "mamtra",
        "pipeline_tag": "text-to-speech",
        "base_model": ["FunAudioLLM/CosyVoice2-0.5B"],
        "base_model_relation": "finetune",
        "tags": ["mamtra", "mamba"],
    }


def test_card_without_a_base_states_no_relation() -> None:
    assert "base_model_relation" not in header(model_card(replace(FACTS, base_model=())))


def test_nasty_values_stay_in_their_place() -> None:
    facts = CardFacts(
        name=NASTY,
        license="mit",
        tags=(NASTY,),
        summary=NASTY,
        plan=NASTY,
        tables={NASTY: {NASTY: NASTY}},
        recipe={NASTY: NASTY},
    )
    card = model_card(facts)
    assert header(card)["tags"] == [NASTY]
    assert header(card)["license"] == "mit"
    rows = [line for line in card.splitlines() if line.startswith("| a:")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 3
    body = card.split("\n---\n", 1)[1].split("## Layers")[0]
    assert "<script>" not in body
    assert "\n# c" not in body


def test_fence_is_longer_than_any_inside() -> None:
    assert fenced("a ```` b").startswith("`````\n")


@pytest.mark.parametrize(
    ("card", "license"),
    [
        pytest.param(model_card(FACTS), "apache-2.0", id="ours"),
        pytest.param("---\nlicense: mit\n---\n# x", "mit", id="plain"),
        pytest.param("---\r\nlicense: mit\r\n---\r\n", "mit", id="windows"),
        pytest.param("---\nlicence: mit\n---\n", UNKNOWN, id="misspelt"),
        pytest.param("---\nlicense:\n---\n", UNKNOWN, id="empty"),
        pytest.param("---\nlicense: [a, b]\n---\n", UNKNOWN, id="list"),
        pytest.param("# x\nlicense: mit\n", UNKNOWN, id="body"),
        pytest.param("", UNKNOWN, id="nothing"),
    ],
)
def test_license_is_read_from_the_header_only(card: str, license: str) -> None:
    assert read_license(card) == license


RESULT = {
    "model": "tuned",
    "sentences": 100,
    "recogniser": {"name": "pocketsphinx", "version": "5.0.4"},
    "scores": {"values": {"wer": 0.073}, "intervals": {"wer": [0.05, 0.09]}},
    "teacher": {"values": {"wer": 0.069}},
}


def test_scores_of_an_evaluation_stand_in_header_and_body() -> None:
    card = with_scores(model_card(CardFacts(name="tuned", license="mit")), RESULT)
    index = header(card)["model-index"]
    assert isinstance(index, list)
    (entry,) = index
    assert entry["name"] == "tuned"
    (result,) = entry["results"]
    assert result["task"]["type"] == "text-to-speech"
    assert result["metrics"] == [{"type": "wer", "value": 0.073, "name": "wer"}]
    assert "100 sentences, pocketsphinx 5.0.4" in result["dataset"]["name"]
    assert "| wer | 0.073 | 0.05 to 0.09 | 0.069 |" in card
    assert read_license(card) == "mit"
    assert with_scores(card, RESULT) == card


def test_card_without_scores_or_header_stays() -> None:
    card = model_card(CardFacts(name="tuned", license="mit"))
    assert with_scores(card, {"scores": {"values": {}}}) == card
    assert with_scores("# mine\n", RESULT) == "# mine\n"
