import numpy as np
import pandas as pd
import pytest

from analysis.parameters import (
    PARAMETERS,
    parameter,
    parameter_table,
    population_parameters,
    settings,
    varying,
)
from analysis.results import COLUMNS
from anynet import DesignSpace, InputError


def population(name, n=30):
    space = DesignSpace.named(name)
    return space.sample(n, np.random.default_rng(0), flops=(360e6, 400e6))


def frame_of(networks, space="a"):
    rows = [
        dict.fromkeys(COLUMNS)
        | {name: networks.row(i)[name] for name in ("network", "drawn", "params", "flops")}
        | {"activations": int(networks.activations[i]), "space": space, "error": 10.0}
        for i in range(len(networks))
    ]
    return pd.DataFrame(rows, index=range(5, 5 + len(rows)))


@pytest.mark.parametrize("name", ["anynetx_a", "anynetx_c", "regnety"])
def test_trials_and_the_population_they_come_from_have_the_same_parameters(name):
    networks = population(name)
    table = parameter_table(frame_of(networks))
    assert table.index[0] == 5
    pd.testing.assert_frame_equal(table.reset_index(drop=True), population_parameters(networks))


def test_settings_are_those_drawn():
    networks = population("anynetx_a")
    table = population_parameters(networks)
    assert settings(table) == [
        f"{name}_{i}"
        for name in ("depth", "width", "bottleneck_ratio", "group_width")
        for i in (1, 2, 3, 4)
    ]
    assert (table["width_2"] == networks.drawn["widths"][:, 1]).all()
    assert (table["resolved_width_2"] == networks.widths[:, 1]).all()
    assert (table["width_2"] != table["resolved_width_2"]).any()
    assert (table["depth"] == networks.depths.sum(axis=1)).all()
    assert (table["width_growth_3"] == table["width_3"] / table["width_2"]).all()


def test_a_setting_that_stages_share_is_one_column():
    table = population_parameters(population("anynetx_c"))
    names = settings(table)
    assert "bottleneck_ratio" in names
    assert "group_width" in names
    assert not [name for name in names if name.startswith("group_width_")]
    assert "resolved_group_width_1" in table  # the group fix made them differ


def test_a_line_has_its_own_settings_and_any_other_network_the_nearest_line():
    regnets = population_parameters(population("regnetx"))
    assert settings(regnets) == ["depth", "w0", "wa", "wm", "bottleneck_ratio", "group_width"]
    assert "e_fit" not in regnets
    anynets = population_parameters(population("anynetx_e"))
    assert anynets["e_fit"].between(0, 3).all()
    assert "w0" not in anynets
    assert "e_fit" in varying(anynets, ("derived",))
    assert "e_fit" not in population_parameters(population("anynetx_e"), lines=False)


def test_every_column_is_documented():
    for name in ("anynetx_a", "anynetx_e", "regnety"):
        for column in population_parameters(population(name)):
            assert parameter(column).what
    assert parameter("width_3") is PARAMETERS["width"]
    with pytest.raises(InputError, match="parameter 'colour': must be one of depth,"):
        parameter("colour")


def test_columns_that_do_not_vary_or_repeat_another_are_not_listed():
    table = pd.DataFrame({"depth": [1.0, 2], "w0": [8.0, 8], "width_1": [1.0, 2], "wa": [3.0, 2]})
    assert varying(table) == ["depth", "wa"]


def test_one_space_at_a_time():
    frame = frame_of(population("anynetx_a", 4))
    frame.loc[5, "space"] = "b"
    with pytest.raises(InputError, match="one space at a time, not b, a"):
        parameter_table(frame)
