"""Convolutions for a CPU: right where oneDNN's gradient is not, fast where groups are narrow.

Same function, same parameters and same state dict as `torch.nn.Conv2d`: only how the sum is
computed differs, by a table measured over the layers of small AnyNets.
"""

from __future__ import annotations

import functools

import torch
from torch import nn
from torch.nn import functional

# Forward and backward, milliseconds (3x3, 64 channels, batch 128, NHWC, one thread of a Zen 5
# with AVX512-BF16, torch 2.14, minimum of 5 interleaved rounds). The same orders held, with the
# exceptions named below, over sides 28, 14, 7, 4 and widths 16 to 256; kernels 5 and 7 agree.
#
#   bfloat16         stride 1, side 14              stride 2, side 14
#   group width      as is   to 8   to 16           as is   to 8   to 16   in float32
#        1            1.8     5.3    6.1             37.5    3.0    2.1     1.6
#        2           19.8     5.4    6.0             26.0    2.9    2.0
#        4            8.0     5.5    6.4              4.7    3.2    2.1
#        8            5.4            5.7              2.6           2.1
#
#   float32
#        1            3.2    10.4   11.0              1.7    5.0    4.3
#        2           13.6    10.4   10.9              7.2    4.9    3.6
#        4           11.2    10.6   11.2              4.9    5.1    3.8
#        8           10.2           11.0              5.6           4.1
#
# Hence in bfloat16: widths 2 to 7 merge to 8, where the layer is strided 2 to 8 merge to 16
# (under 32 channels 16 is slower: stay at 8), and a strided depthwise layer, whose backward has
# no bfloat16 kernel worth the name, runs in float32, casts included in the figure. In float32
# width 2 alone merges: for 4 and 8 what is won in small strided layers (x0.75) is lost in large
# ones (side 28: x1.1 to 1.35). Where 8 and 16 cannot be had (group widths 3, 5, 6, 7; groups
# that do not divide), multiples of 4 are next: 48 channels, bfloat16, stride 2: 3 as is 12.6,
# to 6 7.4, to 12 2.4, to 24 3.9. Building the wide weight takes 0.03 to 0.05 ms of these.
_WIDEST_MERGED = {torch.bfloat16: 7, torch.float32: 2}
_WIDEST_MERGED_STRIDED = {torch.bfloat16: 8, torch.float32: 2}
_PREFERRED = (8, 16, 4, 12)
_PREFERRED_STRIDED = (16, 8, 12, 4)
_PREFERRED_STRIDED_NARROW = (8, 4, 12, 16)


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`, in bfloat16 on a CPU with a stride no longer than the input is.

    Where it is longer, one pixel leaves either way, and oneDNN leaves the gradient of the weights
    that meet nothing but padding uninitialized: any number, up to 1e38 and NaN, another in each
    run (torch 2.14, AVX512-BF16, kernels 3 to 11 with strides 2 and 3).
    """

    def _conv_forward(
        self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        stride = self._stride_within(input)
        if stride == self.stride:
            return super()._conv_forward(input, weight, bias)
        return functional.conv2d(
            input, weight, bias, stride, self.padding, self.dilation, self.groups
        )

    def _stride_within(self, input: torch.Tensor) -> tuple[int, ...]:
        """The stride, or the side of the input where that is less and gives the same pixel."""
        sides = input.shape[-2:]
        if (
            min(sides) >= max(self.stride)
            or input.device.type != "cpu"
            or _computing_dtype(input, self.weight) is not torch.bfloat16
            or self.padding_mode != "zeros"
            or self.dilation != (1, 1)
            or self.padding != tuple(side // 2 for side in self.kernel_size)
        ):
            return self.stride
        return tuple(map(min, self.stride, sides))


class GroupedConv2d(Conv2d):
    """`nn.Conv2d`, its narrow groups merged on a CPU into wider ones with zeros between.

    Merging m groups of (o, i) channels gives one of (m·o, m·i) whose weight is block-diagonal:
    exact but for the order of summation, gradients included, unless an input is not finite (a
    zero weight times infinity is NaN, so it spreads over the merged groups). Only a CPU's
    bfloat16 and float32 layers with as many channels out as in are computed so. On other
    devices (CUDA: not measured), on the meta device and while a graph is traced or exported,
    it is the plain convolution, so that FLOP counters and exported graphs see no zeros.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (B, C_in, r, r) to (B, C_out, r', r'), in the dtype that `nn.Conv2d` would give."""
        if (
            input.device.type != "cpu"
            or self.in_channels != self.out_channels
            or self.padding_mode != "zeros"
            or torch.compiler.is_compiling()
            or torch.jit.is_tracing()  # type: ignore[attr-defined]
        ):
            return super().forward(input)
        dtype = _computing_dtype(input, self.weight)
        group_width = self.in_channels // self.groups
        strided = self.stride != (1, 1)
        if group_width == 1 and strided and dtype is torch.bfloat16:
            return self._convolve_in_float32(input).to(dtype)
        merged = groups_to_merge(dtype, group_width, self.groups, strided) if dtype else 1
        if merged == 1:
            return super().forward(input)
        return functional.conv2d(
            input,
            block_diagonal(self.weight.to(dtype), self.groups, merged),
            self.bias,
            self._stride_within(input),
            self.padding,
            self.dilation,
            self.groups // merged,
        )

    def _convolve_in_float32(self, input: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return self._conv_forward(input.float(), self.weight.float(), bias)


@functools.cache
def groups_to_merge(dtype: torch.dtype, group_width: int, groups: int, strided: bool) -> int:
    """How many neighboring groups to compute as one: a divisor of `groups`, 1 for "as is".

    `group_width` is channels a group, `dtype` what the convolution computes in. The rule is the
    one above the class.
    """
    widest = _WIDEST_MERGED_STRIDED if strided else _WIDEST_MERGED
    if not 2 <= group_width <= widest.get(dtype, 0):
        return 1
    divisors = [m for m in range(1, groups + 1) if groups % m == 0]
    merged = {m * group_width: m for m in divisors}
    if not strided:
        preferred = _PREFERRED
    elif group_width * groups >= 32:
        preferred = _PREFERRED_STRIDED
    else:
        preferred = _PREFERRED_STRIDED_NARROW
    for width in preferred:
        if width in merged:
            return merged[width]
    others = [width for width in merged if 8 <= width <= 24]
    return merged[min(others)] if others and dtype is torch.bfloat16 else 1


def block_diagonal(weight: torch.Tensor, groups: int, merged: int) -> torch.Tensor:
    """The weight (C_out, merged·i, k, k) that convolves with `groups / merged` groups as
    `weight` (C_out, i, k, k) does with `groups`: zero outside the true blocks.

    `merged` must divide `groups`. Differentiable, twice too.
    """
    channels, group_width, height, width = weight.shape
    blocks = weight.view(
        groups // merged, merged, channels // groups, group_width, height, width
    ).movedim(1, -1)
    # Both ways this is one copy: a product with a mask costs 1.5 to 6 times as much.
    return torch.diag_embed(blocks, dim1=1, dim2=3).reshape(
        channels, merged * group_width, height, width
    )


def _computing_dtype(input: torch.Tensor, weight: torch.Tensor) -> torch.dtype | None:
    """What a convolution of both computes in; None where there is no such thing, an error that
    is `nn.Conv2d`'s to raise. Autocast leaves float64 alone.
    """
    if torch.is_autocast_enabled("cpu") and input.dtype is not torch.float64:
        return torch.get_autocast_dtype("cpu")
    return input.dtype if input.dtype is weight.dtype else None
