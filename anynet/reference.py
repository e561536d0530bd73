"""Reference networks that the vocabulary does not describe: which there are, and what they take.

torchvision builds them, apart from LeNet-5 and NiN, which it lacks (`reference_modules.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from anynet.checks import require_known, require_positive
from anynet.files import to_json, to_yaml


class Facts(NamedTuple):
    """What is known of a reference network without building it."""

    resolution: int
    """Side in pixels of the images that it was published for."""
    smallest: int
    """The smallest side that it takes."""
    source: str
    auxiliary: bool = False
    """It was published with auxiliary classifiers, which are left out here."""
    in_torchvision: bool = True


_VGG = "Simonyan and Zisserman 2015, table 1"
FACTS: dict[str, Facts] = {
    "lenet5": Facts(28, 12, "LeCun et al. 1998, figure 2", in_torchvision=False),
    "alexnet": Facts(224, 63, "Krizhevsky 2014, as torchvision has it"),
    **{f"vgg{depth}": Facts(224, 32, _VGG) for depth in (11, 13, 16, 19)},
    **{f"vgg{depth}_bn": Facts(224, 32, f"{_VGG}, with batch norm") for depth in (11, 13, 16, 19)},
    "nin": Facts(32, 4, "Lin et al. 2013, section 4.2: CIFAR-10", in_torchvision=False),
    "googlenet": Facts(224, 15, "Szegedy et al. 2015, table 1, with batch norm", auxiliary=True),
    "inception_v3": Facts(299, 75, "Szegedy et al. 2016, table 1", auxiliary=True),
}


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reference network, by name: images of `input_channels` channels to scores of `classes`.

    Without the auxiliary classifiers that GoogLeNet and Inception v3 were trained with. Raises
    ValueError for a name that is not one of `FACTS`.
    """

    reference: str
    input_channels: int = 3
    classes: int = 1000

    def __post_init__(self) -> None:
        require_known("reference", self.reference, FACTS)
        require_positive("input_channels", self.input_channels)
        require_positive("classes", self.classes)

    @property
    def facts(self) -> Facts:
        """What is known of it."""
        return FACTS[self.reference]

    def require_resolution(self, resolution: int) -> None:
        """Raise ValueError where images of that side are too small for it."""
        if resolution < self.facts.smallest:
            raise ValueError(
                f"resolution: {resolution}, but {self.reference} takes images of "
                f"{self.facts.smallest} pixels a side or more"
            )

    def to_yaml(self, comment: str = "") -> str:
        """YAML text, behind an optional comment block."""
        return to_yaml(self, comment)

    def to_json(self) -> str:
        """JSON text on one line."""
        return to_json(self)
