"""Batch norms folded into the convolutions before them, for deployment."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anynet.model import AnyNet


def fold_batch_norms(module: AnyNet) -> AnyNet:
    """A copy in eval mode without batch norms, and with the same outputs but for rounding.

    Each one behind a convolution is folded into it by torch's own fusion (`fuse_conv_bn_eval`)
    and leaves an identity; one elsewhere, as a block of one's own may have, stays.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    folded = copy.deepcopy(module).eval()
    for sequence in [m for m in folded.modules() if isinstance(m, nn.Sequential)]:
        for k, (conv, norm) in enumerate(itertools.pairwise(list(sequence))):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[k] = fuse_conv_bn_eval(conv, norm)
                sequence[k + 1] = nn.Identity()
    return folded
