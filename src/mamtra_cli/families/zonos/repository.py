"""Where the published models are and which of their files are wanted. Imports no torch.

The codec and the speaker encoder have repositories of their own, fetched along. The hybrid's commit
is not known from here, so its alias means the newest; its sizes are checked as all others are.
"""

from mamtra_cli.hub import Repository

SPEAKER = Repository(
    alias="zonos-speaker",
    name="Zyphra/Zonos-v0.1-speaker-embedding",
    revision="9fe3dbdc3c703a8cf7141b2d0f550f6d55f67260",
    wanted=("ResNet293_SimAM_ASP_base.pt", "ResNet293_SimAM_ASP_base_LDA-128.pt"),
)
CODEC = Repository(
    alias="dac-44khz",
    name="descript/dac_44khz",
    revision="c1bc521685adf9cfe247bc39a5ca58917eda1ac4",
)
TRANSFORMER = Repository(
    alias="zonos",
    name="Zyphra/Zonos-v0.1-transformer",
    revision="9d8331fc49cb5ba8aad2bb56cafd809c66598f4e",
    companions=(CODEC, SPEAKER),
)
HYBRID = Repository(
    alias="zonos-hybrid",
    name="Zyphra/Zonos-v0.1-hybrid",
    revision="main",
    companions=(CODEC, SPEAKER),
)
REPOSITORIES = (TRANSFORMER, HYBRID)
