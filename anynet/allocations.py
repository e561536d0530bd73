"""What torch's allocator sees of a network: its layers played forward and backward.

What each layer makes, what it keeps for the backward pass, what it lets go, and when; read off
the memory events of torch's profiler. The walk knows bytes, not values, and needs no torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from anynet.layers import (
    Activation,
    AvgPool,
    Concat,
    Conv,
    Dropout,
    GlobalPool,
    Layer,
    Layers,
    Linear,
    MaxPool,
    Norm,
    Residual,
    SqueezeExcite,
    When,
)
from anynet.network import Network

_FLOAT32, _BFLOAT16, _INDEX = 4, 2, 8
"""Bytes a value; an index is where in its window max pooling found the greatest."""
_SAVED = 1 << 20
"""Added to the holders of a tensor that is saved."""


class Tensor:
    """What a layer left: its shape, and who holds on to it."""

    __slots__ = ("bytes", "channels", "graded", "holders", "side", "size", "values")

    def __init__(self, batch: int, channels: int, side: int, size: int, graded: bool) -> None:
        self.channels = channels
        self.side = side
        self.size = size
        """Bytes a value."""
        self.values = batch * channels * side * side
        self.bytes = self.values * size
        self.graded = graded
        """Whether the backward pass gets here: not to the images."""
        self.holders = 0
        """Callers that hold it until they return, and one for what is saved."""


class Walk:
    """Plays a forward pass, and of training the backward pass that it leaves behind."""

    def __init__(
        self, network: Network, resolution: int, batch: int, precision: str, *, training: bool
    ) -> None:
        self.batch = batch
        self.training = training
        self.size = _BFLOAT16 if precision == "bfloat16" else _FLOAT32
        self.drops_residuals = training and network.stochastic_depth is not None
        self.live = self.peak = 0
        self.fixed = 0
        """Bytes held all the time: params, of training gradients and momentum, statistics."""
        self.gradients = 0
        """Bytes of all params, hence of their gradients."""
        self.backward: list[tuple[int, ...]] = []
        """What the backward pass takes and gives back (below 0), layer by layer of the forward."""
        self.tensor = Tensor(batch, network.input_channels, resolution, _FLOAT32, graded=False)
        self.tensor.holders = 1
        self.take(self.tensor.bytes)

    # What happens to memory.

    def take(self, *amounts: int) -> None:
        """Take so many bytes, one after another, or give them back where below 0."""
        for amount in amounts:
            self.live += amount
            if self.live > self.peak:
                self.peak = self.live

    def back(self, *amounts: int) -> None:
        """The same, when the backward pass comes back here."""
        if self.training:
            self.backward.append(amounts)

    def back_at(self, place: int, *amounts: int) -> None:
        """The same, when it comes back to an earlier place (and has been everywhere after it)."""
        if self.training:
            self.backward.insert(place, amounts)

    def make(self, channels: int, side: int, size: int, *, graded: bool = True) -> Tensor:
        """A new tensor, which does not become the current one yet."""
        made = Tensor(self.batch, channels, side, size, graded)
        self.take(made.bytes)
        return made

    def save(self, tensor: Tensor) -> int:
        """Keep a tensor for the backward pass; the bytes that this pass is to give back."""
        if not self.training or tensor.holders >= _SAVED:
            return 0
        tensor.holders += _SAVED
        return tensor.bytes

    def drop(self, tensor: Tensor) -> None:
        """Let go of a tensor that nobody holds."""
        if not tensor.holders:
            self.take(-tensor.bytes)

    def move(self, tensor: Tensor) -> None:
        """Make a tensor the current one, and let go of the one before."""
        before, self.tensor = self.tensor, tensor
        if tensor is not before:
            self.drop(before)

    @contextlib.contextmanager
    def holding(self) -> Iterator[Tensor]:
        """Hold the current tensor, as the caller of a module holds what it gives to it."""
        held = self.tensor
        held.holders += 1
        yield held
        held.holders -= 1
        if held is not self.tensor:
            self.drop(held)

    def params(self, count: int) -> int:
        """Have so many params more; their bytes."""
        amount = _FLOAT32 * count
        self.gradients += amount
        self.fixed += 3 * amount if self.training else amount
        return amount

    # Layers.

    def sequence(self, layers: Layers) -> int:
        """Walk layers in a row, which are one module.

        Returns where in `backward` the last of them begins.
        """
        place = len(self.backward)
        before: Layer | None = None
        with self.holding():
            for layer in _present(layers):
                if isinstance(layer, GlobalPool) and isinstance(before, Conv):
                    # The gradient of a mean is not channels last: a convolution copies it.
                    self.back_at(place, -self.tensor.bytes)
                    self.back(self.tensor.bytes)
                place = len(self.backward)
                self._over(layer, before)
                before = layer
        return place

    def _over(self, layer: Layer, before: Layer | None) -> None:
        if isinstance(layer, Activation):
            _activation(self, layer, in_place=_may_be_written_over(before))
        else:
            _RULES[type(layer)](self, layer)

    def run_backward(self) -> None:
        """Play the backward pass, last layer first."""
        self.take(-self.gradients)
        for amounts in reversed(self.backward):
            self.take(*amounts)


def _present(layers: Layers) -> list[Layer]:
    """The layers with every `When` decided."""
    present: list[Layer] = []
    for layer in layers:
        if not isinstance(layer, When):
            present.append(layer)
        elif layer.mask:
            present += _present(layer.layers)
    return present


def _may_be_written_over(layer: Layer | None) -> bool:
    """Whether an activation writes over what this layer left: `_NEED_NO_OUTPUT` of `model.py`."""
    if isinstance(layer, Residual):
        return bool(layer.skip)
    return isinstance(layer, Conv | Linear | Norm)


def _side(side: int, stride: int) -> int:
    return (side - 1) // stride + 1


def _conv(walk: Walk, layer: Conv) -> None:
    x = walk.tensor
    group_width = x.channels if layer.group_width is None else layer.group_width
    depthwise = group_width == 1 < x.channels == layer.width
    if depthwise and walk.size == _BFLOAT16 and layer.stride != 1:
        _conv_in_float32(walk, layer)
        return
    size, squares = walk.size, layer.kernel**2
    params = walk.params(group_width * layer.width * squares)
    wide = _merged_width(group_width, x.channels, layer.width, size)
    weights = size * wide * layer.width * squares
    # Beside the params: their cast, or the wider groups that they are computed in. It is saved.
    other = weights if size != _FLOAT32 or wide != group_width else 0
    filled = _filled(layer, x, wide)
    scratch = weights + filled if size == _FLOAT32 else filled + filled // 2 - weights
    forward = 2 * weights if wide != group_width else weights
    _weighted(walk, layer, params, other, (forward, scratch))


def _linear(walk: Walk, layer: Linear) -> None:
    params = walk.params(walk.tensor.channels * layer.width)
    cast = 0 if walk.size == _FLOAT32 else params // 2
    _weighted(walk, Conv(layer.width, bias=layer.bias), params, cast, (0, 0))


def _weighted(walk: Walk, layer: Conv, params: int, other: int, scratch: tuple[int, int]) -> None:
    """A layer with weights: bytes of its params, of what is made of them, and passing ones."""
    x = walk.tensor
    if layer.bias:
        walk.params(layer.width)
    walk.take(other)
    copied = x.size != walk.size
    used = walk.make(x.channels, x.side, walk.size, graded=x.graded) if copied else x
    out = walk.make(layer.width, _side(x.side, layer.stride), walk.size)
    walk.take(scratch[0], -scratch[0])
    if copied and x.graded:
        walk.back(x.bytes, -used.bytes)
    walk.back(
        used.bytes if x.graded else 0,
        other or params,  # the gradient, which becomes that of the params
        scratch[1],
        -scratch[1],
        -out.bytes,
        -walk.save(used) - other,
        params if other else 0,
        -other,
    )
    if copied:
        walk.drop(used)
    if not walk.training:
        walk.take(-other)
    walk.move(out)


def _merged_width(group_width: int, channels: int, width: int, size: int) -> int:
    """How wide groups are computed: `grouped_conv.py` merges narrow ones, mostly to 8 or 16."""
    narrow = 2 <= group_width <= (2 if size == _FLOAT32 else 7)
    merges = narrow and group_width < channels == width and channels % 8 == 0
    return 8 if merges and 8 % group_width == 0 else group_width


def _filled(layer: Conv, x: Tensor, group_width: int) -> int:
    """Bytes of the weights as oneDNN wants them for their gradient: in float32, the channels of
    each group filled up to 16. Depthwise layers of 3x3 have a kernel of their own, but where the
    image is as small.
    """
    groups = x.channels // group_width
    if group_width == 1 < groups and layer.kernel <= 3 and x.side > layer.stride + 1:
        return _FLOAT32 * layer.width * layer.kernel**2
    channels = _up_to_16(group_width) * _up_to_16(layer.width // groups)
    return _FLOAT32 * groups * channels * layer.kernel**2


def _up_to_16(channels: int) -> int:
    return -(-channels // 16) * 16


def _conv_in_float32(walk: Walk, layer: Conv) -> None:
    """A strided depthwise layer in bfloat16: see `grouped_conv.py`."""
    x = walk.tensor
    params = walk.params(layer.width * layer.kernel**2)
    if layer.bias:
        walk.params(layer.width)
    used = walk.make(x.channels, x.side, _FLOAT32, graded=x.graded) if x.size != _FLOAT32 else x
    wide = walk.make(layer.width, _side(x.side, layer.stride), _FLOAT32)
    saved = walk.save(used)
    if used is not x:
        walk.drop(used)
    out = walk.make(layer.width, wide.side, _BFLOAT16)
    walk.drop(wide)
    if used is not x and x.graded:
        walk.back(x.bytes, -used.bytes)
    scratch = params + _filled(layer, x, 1)
    gradient = used.bytes if x.graded else 0
    walk.back(wide.bytes, -out.bytes, gradient, params, scratch, -scratch, -wide.bytes, -saved)
    walk.move(out)


def _norm(walk: Walk, layer: Norm) -> None:
    x = walk.tensor
    params = walk.params(2 * x.channels)
    if layer.kind == "batch":
        walk.fixed += params  # the running mean and variance
        statistics, again = params, x.bytes
    else:
        statistics, again = 0, 0
    out = walk.make(x.channels, x.side, x.size)
    if walk.training:
        walk.take(statistics)
    # The gradient of a batch norm is made twice.
    walk.back(x.bytes, again, -again, params, -out.bytes, -walk.save(x) - statistics)
    walk.move(out)


def _activation(walk: Walk, layer: Activation, *, in_place: bool) -> None:
    x = walk.tensor
    if layer.kind == "relu":
        out = x if in_place else walk.make(x.channels, x.side, x.size, graded=x.graded)
        saved = walk.save(out)
    elif layer.kind == "relu6" and in_place:
        # Written over all the same, but torch first copies what came, for the derivative.
        out, saved = x, x.bytes if walk.training else 0
        walk.take(saved)
    else:
        out = walk.make(x.channels, x.side, x.size, graded=x.graded)
        saved = walk.save(x)
    walk.back(x.bytes, -x.bytes, -saved)
    walk.move(out)


def _max_pool(walk: Walk, layer: MaxPool) -> None:
    x = walk.tensor
    out = walk.make(x.channels, _side(x.side, layer.stride), x.size, graded=x.graded)
    indices = _INDEX * out.values
    walk.take(indices)
    if x.graded and walk.training:
        walk.back(x.bytes, -out.bytes, -walk.save(x) - indices)
    else:
        walk.take(-indices)
    walk.move(out)


def _avg_pool(walk: Walk, layer: AvgPool) -> None:
    x = walk.tensor
    out = walk.make(x.channels, _side(x.side, layer.stride), x.size, graded=x.graded)
    if x.graded:
        walk.back(x.bytes, x.bytes, -x.bytes, -out.bytes, -walk.save(x))
    walk.move(out)


def _mean(walk: Walk) -> None:
    """Mean over all positions."""
    x = walk.tensor
    out = walk.make(x.channels, 1, x.size)
    if x.size != _FLOAT32:  # copies in float32 are summed
        copies = _FLOAT32 * (x.values + out.values)
        walk.take(copies, -copies)
    walk.back(x.bytes, -out.bytes)
    walk.move(out)


def _global_pool(walk: Walk, layer: GlobalPool) -> None:
    if layer.grid == 1:
        _mean(walk)
        return
    x = walk.tensor
    cells = walk.make(x.channels, layer.grid, x.size)
    flat = walk.make(x.channels * layer.grid**2, 1, x.size)
    walk.drop(cells)
    walk.back(x.bytes, x.bytes, -x.bytes, -flat.bytes, -walk.save(x))
    walk.move(flat)


def _squeeze_excite(walk: Walk, layer: SqueezeExcite) -> None:
    with walk.holding() as x:
        walk.back(-x.bytes)  # of the two gradients of what came in, one is added to the other
        _mean(walk)
        _conv(walk, Conv(layer.width, bias=True))
        _activation(walk, Activation(layer.activation), in_place=False)
        _conv(walk, Conv(x.channels, bias=True))
        gate = walk.make(x.channels, 1, x.size)
        walk.back(gate.bytes, -gate.bytes, -walk.save(gate))
        walk.move(gate)
        out = walk.make(x.channels, x.side, x.size)
        walk.back(x.bytes, x.bytes, gate.bytes, -x.bytes, -out.bytes, -walk.save(x))
        walk.move(out)


def _residual(walk: Walk, layer: Residual) -> None:
    if not layer.skip:
        walk.sequence(layer.body)
        return
    with walk.holding() as x:
        start = len(walk.backward)
        walk.sequence(layer.shortcut)
        other = walk.tensor
        other.holders += 1
        walk.tensor = x
        last = walk.sequence(layer.body)
        inner = walk.tensor
        # One gradient goes to both: where the body lets go of it, the shortcut still holds it.
        if walk.drops_residuals:
            walk.move(walk.make(inner.channels, inner.side, inner.size))
            walk.back(inner.bytes)
        else:
            walk.back_at(last, inner.bytes)
        # What comes out of both is added in the place of one of them.
        if x.graded:
            walk.back_at(start, -x.bytes)
        elif other is x:
            walk.back_at(start, -inner.bytes)
        out = walk.make(inner.channels, inner.side, max(inner.size, other.size))
        other.holders -= 1
        if other is not x:
            walk.drop(other)
        walk.move(out)


def _concat(walk: Walk, layer: Concat) -> None:
    with walk.holding() as x:
        start, first = len(walk.backward), 0
        ends: list[Tensor] = []
        for branch in layer.branches:
            walk.tensor = x
            if ends and ends[0] is not x and x.graded:
                walk.back(-x.bytes)  # added to the gradient of the branches before
            last = walk.sequence(branch)
            first = first if ends else last
            ends.append(walk.tensor)
            walk.tensor.holders += 1
            if walk.tensor is not x:
                walk.back(walk.tensor.bytes)  # a copy of the branch's part of the gradient
        out = walk.make(
            sum(end.channels for end in ends), ends[0].side, max(end.size for end in ends)
        )
        # The gradient of the whole is held until the first branch, the last one here, has read
        # its part; a part that is no branch's is added to what comes out of the others.
        if ends[0] is not x:
            walk.back_at(first, -out.bytes)
        else:
            added = x.bytes if x.graded else 0
            walk.back_at(start, added, -out.bytes, -added)
        for end in ends:
            end.holders -= 1
            if end is not x:
                walk.drop(end)
        walk.tensor = x
        walk.move(out)


def _dropout(walk: Walk, layer: Dropout) -> None:
    if not walk.training:
        return
    x = walk.tensor
    noise = walk.make(x.channels, x.side, x.size)
    out = walk.make(x.channels, x.side, x.size)
    walk.back(x.bytes, -out.bytes, -noise.bytes)
    walk.move(out)


def add_loss(walk: Walk) -> None:
    """Cross-entropy: scores in float32 and the logarithms of the softmax, kept; gradients."""
    scores = _FLOAT32 * walk.tensor.values
    copy = scores if walk.tensor.size != _FLOAT32 else 0
    walk.take(copy, scores, -copy)
    walk.back(scores, scores, -scores, -scores, walk.tensor.bytes - scores)


_RULES: dict[type, Callable[[Walk, Any], None]] = {
    Conv: _conv,
    Norm: _norm,
    MaxPool: _max_pool,
    AvgPool: _avg_pool,
    SqueezeExcite: _squeeze_excite,
    Residual: _residual,
    Concat: _concat,
    GlobalPool: _global_pool,
    Dropout: _dropout,
    Linear: _linear,
}
