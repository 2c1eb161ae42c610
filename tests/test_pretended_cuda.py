"""`pretended_cuda`: what a real device refuses is refused, and the rest gives the CPU's numbers."""

from collections.abc import Callable, Iterator

import pytest
import torch
from tests.pretended_cuda import Mixed, PretendedCuda, pretended_cuda
from torch import Tensor, nn
from torch.nn import functional as F


@pytest.fixture
def cuda() -> Iterator[PretendedCuda]:
    with pretended_cuda() as device:
        yield device


MIXTURES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "sum": lambda here, there: here + there,
    "cat": lambda here, there: torch.cat((there, here)),
    "product": lambda here, there: there @ here.T,
    "layer": lambda here, there: F.linear(there, here),
    "table": lambda here, there: F.embedding(here.argmax(1), there),
    "mask": lambda here, there: there.masked_fill(here > 0, 0.0),
    "device index of a host table": lambda here, there: here[there.argmax(1)],
    "gather": lambda here, there: there.gather(1, here.argmax(1, keepdim=True)),
    "in place": lambda here, there: there.add_(here),
}


@pytest.mark.parametrize("mix", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize("inference", [False, True], ids=["plain", "inference"])
def test_two_devices_do_not_mix(
    cuda: PretendedCuda, mix: Callable[[Tensor, Tensor], object], inference: bool
) -> None:
    with torch.inference_mode(inference):
        here = torch.randn(3, 3)
        there = torch.randn(3, 3).to("cuda")
        with pytest.raises(Mixed):
            mix(here, there)


ALLOWED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "copy": lambda here, there: there.copy_(here),
    "part": lambda here, there: there[0].copy_(here[0]),
    "number": lambda here, there: there * here.sum(),
    "host index of a device table": lambda here, there: there[here.argmax(1)],
    "made like": lambda here, there: torch.zeros_like(there) + there.new_ones(3, 3),
    "made there": lambda here, there: there + torch.eye(3, device=there.device),
    "made of numbers": lambda here, there: there + torch.tensor([1.0, 2.0, 3.0], device="cuda"),
    "made like of numbers": lambda here, there: there + there.new_tensor([1.0, 2.0, 3.0]),
    "cast": lambda here, there: there.bfloat16() @ there.bfloat16(),
    "move": lambda here, there: here.cuda() + there,
    "where": lambda here, there: torch.where(there > 0, there, 0.0),
}


@pytest.mark.parametrize("make", ALLOWED.values(), ids=ALLOWED)
def test_results_of_the_device_are_on_the_device(
    cuda: PretendedCuda, make: Callable[[Tensor, Tensor], Tensor]
) -> None:
    here = torch.randn(3, 3)
    made = make(here, here.to("cuda"))
    assert (made.device, made.is_cuda) == (torch.device("cuda", 0), True)
    assert here.device.type == made.cpu().device.type == "cpu"


def test_device_tensors_do_not_become_arrays(cuda: PretendedCuda) -> None:
    there = torch.ones(2, device="cuda")
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    assert there.cpu().numpy().sum() == 2


def test_generators_draw_where_they_are(cuda: PretendedCuda) -> None:
    chances = torch.ones(1, 4, device="cuda")
    with pytest.raises(Mixed, match="generator"):
        torch.multinomial(chances, 1, generator=torch.Generator())
    with pytest.raises(Mixed, match="generator"):
        torch.randn(3, device="cuda", generator=torch.Generator())
    drawn = torch.multinomial(chances, 1, generator=torch.Generator("cuda").manual_seed(0))
    assert drawn.is_cuda


def test_training_stays_on_the_device_and_is_the_processors(cuda: PretendedCuda) -> None:
    x = torch.randn(5, 4)

    def trained(device: str) -> nn.Linear:
        torch.manual_seed(0)
        layer = nn.Linear(4, 2).to(device)
        optimizer = torch.optim.AdamW(layer.parameters())
        for _ in range(2):
            layer(x.to(device)).square().mean().backward()
            optimizer.step()
        assert layer.weight.grad is not None
        state = optimizer.state[layer.weight]
        assert layer.weight.grad.device == state["exp_avg"].device == layer.weight.device
        return layer

    assert torch.equal(trained("cuda").weight.cpu(), trained("cpu").weight)


def test_autocast_of_the_device_widens_what_cuda_widens(cuda: PretendedCuda) -> None:
    x = torch.randn(2, 4, device="cuda")
    layer = nn.Linear(4, 3).to("cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        made = layer(x)
        kinds = (made.dtype, made.softmax(-1).dtype, made.sum().dtype)
        with torch.autocast("cuda", enabled=False):
            assert layer(x).dtype == torch.float32
    assert kinds == (torch.bfloat16, torch.float32, torch.float32)


def test_nothing_is_left_behind() -> None:
    with pretended_cuda():
        kept = torch.ones(2, device="cuda")
        assert torch.cuda.is_available()
    assert kept.device.type == "cpu"
    assert torch.Generator().device.type == "cpu"
