"""Where the published model is, which files are wanted, and names in it. Imports no torch."""

from mamtra_cli.hub import Repository

FILES = {"lm": "llm.pt", "flow": "flow.pt", "hift": "hift.pt"}
QWEN_FOLDER = "CosyVoice-BlankEN"
VOCAB_FILE, MERGES_FILE = "vocab.json", "merges.txt"
TEXT_TABLE = "llm.model.model.embed_tokens.weight"

PUBLISHED = Repository(
    alias="cosyvoice2",
    name="FunAudioLLM/CosyVoice2-0.5B",
    revision="eec1ae6c79877dbd9379285cf8789c9e0879293d",
    wanted=(
        "llm.pt",
        "flow.pt",
        "hift.pt",
        "spk2info.pt",
        "campplus.onnx",
        "speech_tokenizer_v2.onnx",
    ),
    # A nested model.safetensors is the text model that a teacher's own weights replace; engines
    # built for other runtimes are never read.
    unwanted=("*/model.safetensors", "asset/*", "vllm/*"),
)
REPOSITORIES = (PUBLISHED,)
