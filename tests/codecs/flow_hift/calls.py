"""What the tests of both schedules share: a record of calls, and how far two sounds are apart."""

from typing import Any

import pytest
from torch import Tensor

from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT


def relative_rms(got: Tensor, want: Tensor) -> float:
    return ((got - want).norm() / want.norm()).item()


class Calls:
    """Record of every call of the flow and the vocoder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, flow: Flow, hift: HiFT) -> None:
        self.flow: list[dict[str, Any]] = []
        self.frames: list[int] = []
        inference, decode = flow.inference, hift.decode

        def speak(token: Tensor, *args: Any, **options: Any) -> Tensor:
            self.flow.append({"tokens": token.shape[1], **options})
            return inference(token, *args, **options)

        def vocode(mel: Tensor, source: Tensor) -> Tensor:
            self.frames.append(mel.shape[2])
            return decode(mel, source)

        monkeypatch.setattr(flow, "inference", speak)
        monkeypatch.setattr(hift, "decode", vocode)
