"""The commands that describe and sample: `spaces`, `sample`, `explain`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter

from anynet import export, line_fit, regnet, space
from anynet.distinct import Networks
from anynet.errors import InputError
from anynet.exchange.pycls import pycls_regnet
from anynet.exchange.pycls_sweep_writer import POPULATION, to_pycls_sweep
from anynet.files import decode, parse_yaml, read_text, to_json, write_text
from anynet.limits import check_limit
from anynet.network import Network
from anynet.reference import Reference
from anynet.regnet import Ints
from anynet.sampling import seeded
from anynet.space import Constraint, DesignSpace
from anynet.terminal import Whole, parse_window, print_json, print_table, replace_from_options
from anynet.textbook import REGNETS, names


def spaces(
    name: str | None = None,
    /,
    *,
    networks: Annotated[bool, Parameter(negative="")] = False,
    to: Literal["anynet", "pycls"] | None = None,
    n: Annotated[Whole | None, Parameter(name="-n")] = None,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """List the named design spaces, or print one of them as YAML to start from.

    Examples: anynet spaces anynetx_b > mine.yaml; anynet spaces mine.yaml --to pycls -n 100

    Parameters
    ----------
    name
        Print this space (or space file, or pycls sweep config) as YAML instead of the list.
    networks
        Count how many different networks the space builds (RegNet spaces: some 10 seconds each).
    to
        anynet: our YAML. pycls: a sweep config that draws the same networks there.
    n
        How many networks the sweep config asks for (NUM_CONFIGS); without it 500.
    out
        File to write; without it, the space goes to standard output.
    json
        Print one JSON document.
    """
    _check_spaces_options(name, networks, to, n, out, json)
    if name is not None:
        chosen = space.load_space(name)
        if networks:
            _print_networks(chosen, json)
        elif json:
            print_json(chosen)
        else:
            text = to_pycls_sweep(chosen, n or POPULATION) if to == "pycls" else chosen.to_yaml()
            if out is None:
                print(text, end="")
            else:
                write_text(out, text)
                print(f"{chosen.name} -> {out}")
        return
    rows: list[dict[str, Any]] = [
        {
            "name": s.name,
            "block": s.block,
            "free_dimensions": s.free_dimensions,
            "size": s.size,
            "constraints": [f"{c.parameter} {c.rule}" for c in s.constraints],
            "limits": s.limits,
            "networks": s.networks()._asdict() if networks or s.line is None else None,
        }
        for s in space.NAMED.values()
    ]
    if json:
        print_json(rows)
        return
    print_table(
        ("space", "block", "free dimensions", "settings", "", "networks", "adds"),
        [
            (
                row["name"],
                row["block"],
                row["free_dimensions"],
                row["size"],
                f"{row['size']:.1e}",
                "-" if row["networks"] is None else _bounds(Networks(**row["networks"]), ".1e"),
                _added(space.NAMED[row["name"]]),
            )
            for row in rows
        ],
    )
    print(
        "\nsettings: distinct drawn settings, exactly; of a RegNet space all lines, those with\n"
        "another number of stages too. networks: how many different ones they build, `-` where\n"
        "only `--networks` counts them. `anynet spaces NAME` prints a space as YAML."
    )


def _check_spaces_options(
    name: str | None,
    networks: bool,
    to: str | None,
    n: int | None,
    out: Path | None,
    json: bool,
) -> None:
    """Raise InputError for options of `anynet spaces` that say nothing together."""
    for option, given in (("--to", to is not None), ("--out", out is not None)):
        if given and name is None:
            raise InputError(f"{option}: needs the name of a space, as in anynet spaces regnetx")
        if given and (networks or json):
            raise InputError(f"{option}: not beside {'--networks' if networks else '--json'}")
    if n is not None and to != "pycls":
        raise InputError("-n: goes with --to pycls, whose sweep configs say how many networks")
    if n is not None and n < 1:
        raise InputError(f"-n: {n} must be 1 or more")


def _print_networks(chosen: DesignSpace, json: bool) -> None:
    found = chosen.networks()
    if json:
        print_json({"name": chosen.name, "size": chosen.size, "networks": found._asdict()})
        return
    reason = f" ({found.reason})" if found.reason else ""
    print(f"{chosen.name}: {chosen.size:,} settings, {_bounds(found, ',')} networks{reason}")


def _bounds(found: Networks, form: str) -> str:
    if found.least == found.most:
        return f"{found.most:{form}}"
    return f"{found.least:{form}} to {found.most:{form}}"


def _added(space: DesignSpace) -> str:
    """What distinguishes a named space from those above it, for the list."""
    if space.line is None:
        return _rule(space.constraints[-1]) if space.constraints else ""
    if not space.constraints:
        return "quantized linear widths"
    return ", ".join([*map(_rule, space.constraints), "limits of cost"])


def _rule(constraint: Constraint) -> str:
    """A constraint in a few words."""
    parameter = constraint.parameter.replace("_", " ")
    match constraint:
        case Constraint(rule="fixed", values=values):
            listed = values if isinstance(values, tuple) else (values,)
            shown = ", ".join(f"{value:g}" for value in listed)
            return f"{parameter} {shown}"
        case Constraint(rule="ranged", low=low, high=high):
            if high is None:
                return f"{parameter} >= {low:g}"
            below = "" if low is None else f"{low:g} <= "
            return f"{below}{parameter} <= {high:g}"
    return f"{parameter} {constraint.rule.replace('_', ' ')}"


def sample(
    source: Annotated[str, Parameter(name="SPACE")],
    /,
    *,
    n: Annotated[Whole, Parameter(name=["-n", "--networks"])],
    flops: str | None = None,
    params: str | None = None,
    activations: str | None = None,
    limit: Annotated[list[str] | None, Parameter(negative="")] = None,
    resolution: Whole | None = None,
    input_channels: Whole | None = None,
    classes: Whole | None = None,
    seed: Whole = 0,
    repeats: Annotated[bool, Parameter(negative="")] = False,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Draw networks of a space inside windows of cost, one JSON a line.

    Example: anynet sample anynetx_a -n 500 --flops 360e6:400e6 --out networks.jsonl

    Parameters
    ----------
    source
        A named space (see `anynet spaces`), a space file (.yaml), or a pycls sweep config.
    n
        How many networks.
    flops
        Window LOW:HIGH of multiply-adds, both included; either end may be left out.
    params
        Window of parameters.
    activations
        Window of activations (outputs of conv, pooling and linear layers).
    limit
        A limit beside those of the space, as in "params < 3e6 + 5.5e6 * flops / 1e9".
    resolution
        Side of the images in pixels; without it, the space's or 224.
    input_channels
        Channels of the images instead of the space's.
    classes
        Classes instead of the space's.
    seed
        The same seed draws the same networks.
    repeats
        Independent draws: allow networks that build the same module.
    out
        File to write; without it, the lines go to standard output.
    json
        Print one JSON document about the sample.
    """
    if seed < 0:
        raise InputError(f"--seed: {seed} must be 0 or more")
    chosen = space.load_space(source)
    for text in limit or ():
        try:
            check_limit(text)
        except ValueError as error:
            raise InputError(f"--limit: {error}") from None
    chosen = replace_from_options(
        chosen,
        input_channels=input_channels,
        classes=classes,
        limits=(*chosen.limits, *limit) if limit else None,
    )
    population = chosen.sample(
        n,
        seeded(chosen, seed),
        flops=parse_window("flops", flops),
        params=parse_window("params", params),
        activations=parse_window("activations", activations),
        resolution=resolution,
        unique=not repeats,
    )
    rows = [population.row(i) for i in range(n)]
    if out is not None:
        write_text(out, "".join(to_json(row) + "\n" for row in rows))
    summary: dict[str, Any] = {
        "space": chosen.name,
        "networks": n,
        "draws": population.draws,
        "accepted": population.accepted,
        "acceptance_rate": population.acceptance_rate,
        "resolution": population.resolution,
        "seed": seed,
        "out": None if out is None else str(out),
    }
    if json:
        print_json(summary if out is not None else summary | {"rows": rows})
        return
    if out is None:
        sys.stdout.writelines(to_json(row) + "\n" for row in rows)
    where = f" -> {out}" if out is not None else ""
    print(
        f"{n} networks of {chosen.name}{where}; {population.accepted:,} of "
        f"{population.draws:,} draws fit ({100 * population.acceptance_rate:.2f}%)",
        file=sys.stderr if out is None else sys.stdout,
    )


def explain(source: Annotated[str, Parameter(name="NETWORK")], /, *, json: bool = False) -> None:
    """How a RegNet's widths come about, or the quantized line nearest to any other network.

    Examples: anynet explain regnetx_400mf; anynet explain resnet50

    Parameters
    ----------
    source
        A RegNet by name, a pycls config of type regnet, or a YAML file with depth, w0, wa, wm
        and, where they differ from 16 and 1, group_width and bottleneck_ratio: its line, the
        quantized line, the group fix, and what other libraries build. Any other network by name,
        a file of ours or of pycls: the nearest line and its distance, e_fit (DNDS, section 3.3).
    json
        Print one JSON document.
    """
    found = _regnet_of(source)
    if isinstance(found, regnet.RegNet):
        _explain_line(source, found, json)
    else:
        _explain_fit(source, found, json)


def _explain_line(source: str, settings: regnet.RegNet, json: bool) -> None:
    line = settings.line
    depths, widths, groups = settings.stages()
    quantized = np.unique(line.quantized)
    stages = np.searchsorted(quantized, line.quantized)
    if json:
        print_json(
            {
                "settings": settings,
                "linear": line.linear.tolist(),
                "levels": line.levels.tolist(),
                "quantized": line.quantized.tolist(),
                "depths": depths.tolist(),
                "widths": widths.tolist(),
                "group_widths": groups.tolist(),
                "libraries": {library: _elsewhere(settings, library) for library in _LIBRARIES},
            }
        )
        return
    print(
        f"{source}: depth {settings.depth}, w0 {settings.w0}, wa {settings.wa:g}, "
        f"wm {settings.wm:.10g}, group width {settings.group_width}, "
        f"bottleneck ratio {settings.bottleneck_ratio:g}\n"
    )
    w0, wa, wm = settings.w0, settings.wa, settings.wm
    print_table(
        (
            "block j",
            f"u = {w0} + {wa:g} j",
            "s",
            "round(s)",
            f"{w0} x {wm:g}^round(s)",
            "width",
            "stage",
        ),
        [
            (
                j,
                f"{u:.2f}",
                f"{np.log(u / w0) / np.log(wm):.3f}",
                int(level),
                f"{w0 * wm**level:.2f}",
                int(width),
                int(stage) + 1,
            )
            for j, (u, level, width, stage) in enumerate(
                zip(line.linear, line.levels, line.quantized, stages, strict=True)
            )
        ],
        title="DNDS, equations 2 to 4; widths rounded to multiples of 8",
    )
    print()
    print_table(
        ("stage", "depth", "width", "inner", "group width", "groups", "inner fixed", "width fixed"),
        [
            (
                i + 1,
                int(depth),
                int(before),
                before / settings.bottleneck_ratio,
                int(group),
                round(after / settings.bottleneck_ratio) // int(group),
                round(after / settings.bottleneck_ratio),
                int(after),
            )
            for i, (depth, before, after, group) in enumerate(
                zip(depths, quantized, widths, groups, strict=True)
            )
        ],
        title="group fix: the inner width becomes the nearest multiple of the group width",
    )

    print()
    _print_libraries(settings, widths.tolist(), groups.tolist())


_LIBRARIES: tuple[Literal["timm", "torchvision"], ...] = ("timm", "torchvision")


def _elsewhere(
    settings: regnet.RegNet, library: Literal["timm", "torchvision"]
) -> dict[str, list[int]] | None:
    try:
        widths, groups = settings.stages_elsewhere(library)
    except ValueError:
        return None
    return {"widths": widths, "group_widths": groups}


def _print_libraries(settings: regnet.RegNet, widths: list[int], groups: list[int]) -> None:
    """What timm and torchvision build of the same settings, where it is something else."""
    ours = {"widths": widths, "group_widths": groups}
    built = {library: _elsewhere(settings, library) for library in _LIBRARIES}
    if all(stages == ours for stages in built.values()):
        print("timm and torchvision build the same widths from these settings.")
        return
    rows: list[tuple[str, str, str]] = [("pycls, anynet", _list(widths), "")]
    rules = (
        "half to even; as torchvision with group_min_ratio=0.9",
        "half up, and never down by more than a tenth",
    )
    for (library, stages), rule in zip(built.items(), rules, strict=True):
        differs = "" if stages == ours else rule
        rows.append((library, "cannot" if stages is None else _list(stages["widths"]), differs))
    print_table(("library", "widths", "differs: it rounds"), rows, title="other libraries")


def _list(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values)


NEAR = 0.1
"""e_fit up to which a network counts as near to a line.

The group fix alone takes RegNets this far: of 300 networks of the regnetx space of 360 to 400
MFLOPs 95% have an e_fit up to 0.07 after it, and the largest is 0.105.
"""


def _explain_fit(source: str, network: Network, json: bool) -> None:
    try:
        fit = line_fit.fit_lines([network.depths], [network.widths])
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None
    depth, w0 = sum(network.depths), int(fit.w0[0])
    wa, wm, e_fit = float(fit.wa[0]), float(fit.wm[0]), float(fit.e_fit[0])
    line = regnet.quantize_line(depth, w0, wa, wm).quantized
    blocks = np.split(line, np.cumsum(network.depths)[:-1])
    gaps = [
        float(np.abs(np.log(of_line / width)).mean())
        for of_line, width in zip(blocks, network.widths, strict=True)
    ]
    is_line = e_fit == 0
    if json:
        print_json(
            {
                "fit": {"depth": depth, "w0": w0, "wa": wa, "wm": wm},
                "e_fit": e_fit,
                "on_a_line": is_line,
                "near_a_line": e_fit <= NEAR,
                "depths": network.depths,
                "widths": network.widths,
                "line": line.tolist(),
                "gaps": gaps,
            }
        )
        return
    print(
        f"{source}: no w0, wa and wm are given; the nearest line (DNDS, section 3.3) has\n"
        f"depth {depth}, w0 {w0}, wa {wa:.10g}, wm {wm:.10g}, e_fit {e_fit:.4f}\n"
    )
    print_table(
        ("stage", "depth", "width", "the line's widths (blocks)", "mean |ln(line/width)|"),
        [
            (i + 1, stage.depth, stage.width, _runs(of_line), f"{gap:.4f}")
            for i, (stage, of_line, gap) in enumerate(
                zip(network.stages, blocks, gaps, strict=True)
            )
        ],
        title="widths rounded to multiples of 8, before a group fix",
    )
    off = f"The line's blocks are off by a factor of {np.exp(e_fit):.2f} (geometric mean)"
    if is_line:
        print("\nIts widths are those of a RegNet: the line gives every one of them.")
    elif e_fit <= NEAR:
        print(f"\n{off}: near to a RegNet,\nas near as those whose widths a group fix has moved.")
    else:
        print(f"\n{off}: no RegNet.\nA group fix alone moves widths by less.")


def _runs(widths: Ints) -> str:
    """Widths that do not decrease, each with how many blocks have it."""
    values, counts = np.unique(widths, return_counts=True)
    return ", ".join(f"{v} ({n})" for v, n in zip(values.tolist(), counts.tolist(), strict=True))


def _regnet_of(source: str) -> regnet.RegNet | Network:
    """The settings of a RegNet, or where only its stages are known, the network."""
    if source in REGNETS:
        return REGNETS[source][1]
    if source in names():
        return _in_stages(source, export.load_network(source))
    if not source.endswith((".yaml", ".yml", ".json")):
        export.load_network(source)  # names the nearest known network, or the missing file
    data = parse_yaml(read_text(source), source)
    if isinstance(data, dict) and "MODEL" in data:
        network = _in_stages(source, export.load_network(source))  # the rest must hold too
        is_regnet = isinstance(data["MODEL"], dict) and data["MODEL"].get("TYPE") == "regnet"
        return pycls_regnet(data, source) if is_regnet else network
    if isinstance(data, dict) and ("stages" in data or "reference" in data):
        return _in_stages(source, export.load_network(source))
    return decode(data, regnet.RegNet, source)


def _in_stages(source: str, network: Network | Reference) -> Network:
    """The network, where it has stages that a line can be fitted to. Raises InputError."""
    if isinstance(network, Reference):
        raise InputError(f"{source}: has no stages of equal blocks that a line could be fitted to")
    return network
