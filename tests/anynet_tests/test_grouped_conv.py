"""GroupedConv2d is nn.Conv2d: same parameters, outputs and gradients, in every path it takes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from anynet.grouped_conv import Conv2d, GroupedConv2d, block_diagonal, groups_to_merge

SHAPES = [  # channels, group width, stride, kernel
    *[(channels, width, stride, 3) for channels in (16, 64) for width in (1, 2, 4, 8, 16)
      for stride in (1, 2)],
    (24, 3, 2, 3),
    (48, 6, 2, 3),
    (20, 4, 1, 3),
    (22, 2, 2, 3),
    (50, 2, 1, 3),
    (36, 2, 2, 5),
    (40, 2, 1, 1),
]  # fmt: skip


def pair(
    channels: int, width: int, stride: int, kernel: int, *, bias: bool = False
) -> tuple[nn.Conv2d, GroupedConv2d]:
    plain = nn.Conv2d(
        channels, channels, kernel, stride, kernel // 2, groups=channels // width, bias=bias
    )
    generator = torch.Generator().manual_seed(channels * 100 + width)
    for parameter in plain.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    grouped = GroupedConv2d(
        channels, channels, kernel, stride, kernel // 2, groups=channels // width, bias=bias
    )
    grouped.load_state_dict(plain.state_dict())
    return plain, grouped


def images(channels: int, side: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randn(3, channels, side, side, generator=generator)


def output_and_gradients(layer: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    generator = torch.Generator().manual_seed(1)
    seen = torch.randn(y.shape, generator=generator).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, [x, *layer.parameters()], seen)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_equals_conv2d_forward_and_backward(
    shape: tuple[int, int, int, int], bias: bool
) -> None:
    plain, grouped = pair(*shape, bias=bias)
    x = images(shape[0])
    for wanted, got in zip(
        output_and_gradients(plain, x), output_and_gradients(grouped, x), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_autocast_is_within_rounding_of_float64(shape: tuple[int, int, int, int]) -> None:
    plain, grouped = pair(*shape)
    x = images(shape[0]).bfloat16()
    wanted = output_and_gradients(copy.deepcopy(plain).double(), x.double())
    with torch.autocast("cpu", torch.bfloat16):
        ours = output_and_gradients(grouped, x)
        native = output_and_gradients(plain, x)
    assert [t.dtype for t in ours] == [t.dtype for t in native]
    for exact, got in zip(wanted, ours, strict=True):
        scale = exact.abs().max()
        assert (got.double() - exact).abs().max() < 0.03 * scale


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_and_their_dtypes_are_those_of_conv2d(
    shape: tuple[int, int, int, int],
) -> None:
    plain, grouped = pair(*shape, bias=True)
    assert {k: v.shape for k, v in grouped.state_dict().items()} == {
        k: v.shape for k, v in plain.state_dict().items()
    }
    x = images(shape[0]).bfloat16()
    assert grouped.bfloat16()(x).dtype is torch.bfloat16


def test_float64_is_untouched_and_autocast_leaves_it_alone() -> None:
    plain, grouped = pair(16, 2, 1, 3)
    plain, grouped = plain.double(), grouped.double()
    x = images(16).double()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(grouped(x), plain(x))
        assert grouped(x).dtype is torch.float64


def test_autocast_that_is_disabled_computes_in_float32() -> None:
    plain, grouped = pair(16, 1, 2, 3)
    with torch.autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False):
        assert torch.equal(grouped(images(16)), plain(images(16)))


def test_mixed_dtypes_without_autocast_stay_the_error_they_are() -> None:
    for width, stride in ((2, 1), (1, 2)):
        plain, grouped = pair(16, width, stride, 3)
        for layer in (plain, grouped):
            with pytest.raises(RuntimeError, match="should be the same"):
                layer(images(16).bfloat16())


def test_uneven_channels_and_other_padding_are_left_to_conv2d() -> None:
    x = images(8)
    for arguments in (
        {"in_channels": 8, "out_channels": 16, "groups": 4, "padding": 1},
        {"in_channels": 8, "out_channels": 8, "groups": 4, "padding": 1, "padding_mode": "reflect"},
    ):
        plain = nn.Conv2d(kernel_size=3, **arguments)
        grouped = GroupedConv2d(kernel_size=3, **arguments)
        grouped.load_state_dict(plain.state_dict())
        assert torch.equal(grouped(x), plain(x))


def test_same_padding_and_dilation_are_passed_on() -> None:
    plain = nn.Conv2d(16, 16, 3, groups=8, padding="same", dilation=2)
    grouped = GroupedConv2d(16, 16, 3, groups=8, padding="same", dilation=2)
    grouped.load_state_dict(plain.state_dict())
    torch.testing.assert_close(grouped(images(16)), plain(images(16)), rtol=1e-4, atol=1e-5)


def test_meta_device_gives_the_shape() -> None:
    for shape in SHAPES:
        plain, grouped = (layer.to("meta") for layer in pair(*shape))
        x = torch.empty(3, shape[0], 7, 7, device="meta")
        assert grouped(x).shape == plain(x).shape


def test_an_exported_graph_holds_the_plain_convolution() -> None:
    _, grouped = pair(16, 2, 1, 3)
    exported = torch.export.export(grouped, (images(16),))
    calls = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert calls == [torch.ops.aten.conv2d.default]


def test_channels_last_input_gives_channels_last_output() -> None:
    _, grouped = pair(64, 2, 1, 3)
    x = images(64).contiguous(memory_format=torch.channels_last)
    assert grouped(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("groups", "merged", "out"), [(4, 2, 1), (6, 3, 2), (4, 4, 3), (3, 1, 2)])
def test_block_diagonal_is_exact_to_the_second_derivative(
    groups: int, merged: int, out: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(groups * out, 2, 3, 3, dtype=torch.float64, generator=generator)
    weight.requires_grad_()
    assert gradcheck(lambda w: block_diagonal(w, groups, merged), (weight,))
    assert gradgradcheck(lambda w: block_diagonal(w, groups, merged), (weight,))
    x = torch.randn(2, groups * 2, 5, 5, dtype=torch.float64, generator=generator)
    wanted = nn.functional.conv2d(x, weight, groups=groups)
    wide = block_diagonal(weight, groups, merged)
    assert wide.shape == (groups * out, 2 * merged, 3, 3)
    torch.testing.assert_close(nn.functional.conv2d(x, wide, groups=groups // merged), wanted)
    assert int((wide != 0).sum()) == weight.numel()


@pytest.mark.parametrize(
    ("dtype", "group_width", "channels", "strided", "width"),
    [
        (torch.bfloat16, 1, 64, False, 1),
        (torch.bfloat16, 2, 64, False, 8),
        (torch.bfloat16, 4, 64, False, 8),
        (torch.bfloat16, 8, 64, False, 8),
        (torch.bfloat16, 2, 64, True, 16),
        (torch.bfloat16, 8, 64, True, 16),
        (torch.bfloat16, 8, 16, True, 8),
        (torch.bfloat16, 16, 64, True, 16),
        (torch.bfloat16, 4, 40, True, 8),
        (torch.bfloat16, 4, 20, False, 4),
        (torch.bfloat16, 3, 48, True, 12),
        (torch.bfloat16, 2, 50, False, 10),
        (torch.float32, 1, 64, True, 1),
        (torch.float32, 2, 64, False, 8),
        (torch.float32, 2, 50, False, 2),
        (torch.float32, 4, 64, True, 4),
        (torch.float16, 2, 64, False, 2),
    ],
)
def test_the_rule(
    dtype: torch.dtype, group_width: int, channels: int, strided: bool, width: int
) -> None:
    merged = groups_to_merge(dtype, group_width, channels // group_width, strided)
    assert merged * group_width == width


def test_what_is_merged_always_divides() -> None:
    for dtype in (torch.bfloat16, torch.float32):
        for group_width in range(1, 33):
            for groups in range(1, 65):
                for strided in (False, True):
                    assert groups % groups_to_merge(dtype, group_width, groups, strided) == 0


@pytest.mark.parametrize("groups", [1, 2, 16])
@pytest.mark.parametrize("channels_last", [True, False])
def test_gradients_of_weights_that_meet_padding_alone_are_zero(groups, channels_last):
    # torch's own leaves them uninitialized in bfloat16, where the stride exceeds the input.
    kind = Conv2d if groups == 1 else GroupedConv2d
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for kernel, stride, side in ((3, 2, 1), (3, 3, 2), (5, 2, 1), (5, 3, 1), (7, 3, 2), (11, 2, 1)):
        generator = torch.Generator().manual_seed(0)
        conv = kind(32, 32, kernel, stride, kernel // 2, bias=False, groups=groups)
        conv = conv.to(memory_format=layout)
        torch.nn.init.normal_(conv.weight, generator=generator)
        images = torch.randn(16, 32, side, side, generator=generator).to(memory_format=layout)
        exact = conv.weight.detach().double().requires_grad_()
        one = torch.nn.functional.conv2d(
            images.double(), exact, None, stride, kernel // 2, 1, groups
        )
        one.sum().backward()
        for _ in range(3):
            conv.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                scores = conv(images)
            scores.float().sum().backward()
            assert scores.shape == one.shape == (16, 32, 1, 1)
            error = (conv.weight.grad - exact.grad).abs().max() / exact.grad.abs().max()
            assert error < 0.02, (kernel, stride, side)
