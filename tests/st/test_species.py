from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from hypergene.errors import DataError
from hypergene.st.genes import gene_table
from hypergene.st.species import species_of, take_species

HUMAN = ["ERBB2", "GRB7", "KRT8", "EPCAM", "COL1A1", "DCN", "IGKC", "CD74", "HLA-A", "MT-ND1"]
MOUSE = ["Erbb2", "Grb7", "Krt8", "Epcam", "Col1a1", "Dcn", "Igkc", "Cd74", "Trp53", "mt-Nd1"]
# What real references hold besides: reading frames, clones, RNA families, sequences, controls.
ODD_HUMAN = ["C1orf112", "CXorf40A", "AL627309.1", "RP11-34P13.7", "hsa-mir-1253", "Y_RNA", "7SK"]
ODD_MOUSE = ["1700001A01Rik", "H2-K1", "Gm1992", "AC133103.1", "BC005537", "A2m", "CAAA01118383.1"]
CONTROLS = [f"NegControlProbe_{n:05}" for n in range(9)] + [f"BLANK_{n:04}" for n in range(9)]

# As Cell Ranger, STAR, Seurat and Drop-seq write them for references of several genomes.
HUMAN_PREFIXES = [
    *("GRCh38_", "GRCh38__", "GRCh38______", "hg19_", "hg38_", "GRCh38-", "GRCh37_"),
    *("GRCh38-2020-A_", "GRCh38_2020A_v5_", "refdata-gex-GRCh38-2020-A_", "HUMAN_"),
]
MOUSE_PREFIXES = [
    *("mm10___", "mm10_", "mm10---", "GRCm39_", "GRCm39---", "GRCm38_", "MM10-----------"),
    *("refdata-gex-mm10__________", "mm10-2020-A_", "mm39_", "MOUSE_"),
]


def ids_of(species: str, number: int) -> list[str]:
    return [f"ENS{'' if species == 'human' else 'MUS'}G{n:011}" for n in range(number)]


def table(names: list[str], ids: list[str] | None = None) -> anndata.AnnData:
    counts = sparse.csr_matrix(np.arange(1, 2 * len(names) + 1, dtype=np.int32).reshape(2, -1))
    return anndata.AnnData(
        X=counts,
        obs=pd.DataFrame(index=["s1", "s2"]),
        var=gene_table(names, ids),
        uns={"hypergene": {"counts_from": "X"}},
    )


@pytest.mark.parametrize("prefix", HUMAN_PREFIXES)
def test_a_human_reference_is_known_by_its_prefix(prefix):
    # The symbols contradict it on purpose: the prefix counts.
    guess = species_of([prefix + name for name in MOUSE])
    assert (guess.species, guess.human, guess.evidence) == ("human", len(MOUSE), "prefixes")


@pytest.mark.parametrize("prefix", MOUSE_PREFIXES)
def test_a_mouse_reference_is_known_by_its_prefix(prefix):
    guess = species_of([prefix + name for name in HUMAN])
    assert (guess.species, guess.mouse, guess.evidence) == ("mouse", len(HUMAN), "prefixes")


@pytest.mark.parametrize("name", ["HGF", "HUMANIN", "MMP9", "MOUSTACHE-1", "MM1", "HG38"])
def test_symbols_that_begin_like_a_prefix_have_none(name):
    assert species_of([name, *HUMAN]).evidence == "capitals of the symbols"


def test_identifiers_count_before_capitals():
    shouted = [name.upper() for name in MOUSE]
    assert species_of(shouted).species == "human"
    assert species_of(shouted, ids_of("mouse", len(MOUSE))).species == "mouse"
    assert species_of(ids_of("mouse", 4)).species == "mouse"
    assert species_of(["DEPRECATED_" + each for each in ids_of("human", 4)]).species == "human"


def test_capitals_are_enough_in_spite_of_odd_names():
    assert species_of(HUMAN + ODD_HUMAN + CONTROLS).species == "human"
    assert species_of(MOUSE + ODD_MOUSE + CONTROLS).species == "mouse"


def test_open_reading_frames_are_human_and_clones_are_nobodys():
    assert species_of(["C1orf112", "C10orf95", "CXorf57"]).human == 3
    guess = species_of(["AC133103.1", "BC005537", "A", "F2", "NegControlProbe_00001", "BLANK_0001"])
    assert (guess.species, guess.human, guess.mouse) == ("unknown", 0, 0)
    assert str(guess) == "unknown (of 6 genes none says its species)"


def test_two_references_in_one_table_are_both():
    names = [f"GRCh38_{name}" for name in HUMAN] + [f"mm10___{name}" for name in MOUSE]
    assert species_of(names).species == "both"
    bare = HUMAN + MOUSE
    assert species_of(bare).species == "both"
    assert species_of(bare, ids_of("human", 10) + ids_of("mouse", 10)).species == "both"


def test_a_transgene_makes_no_second_species():
    ids = [*ids_of("mouse", 500), "ENSG00000141510"]
    guess = species_of([f"Gm{n}" for n in range(500)] + ["hTP53"], ids)
    assert (guess.species, guess.human, guess.mouse) == ("mouse", 1, 500)


def test_too_few_capitals_of_a_second_kind_decide_nothing():
    assert species_of(["ERBB2", "KRT8", "Erbb2"]).species == "unknown"


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["g1", "g2"],
        ["erbb2", "krt8"],
        [f"ENSRNOG{n:011}" for n in range(5)],
        [str(n) for n in range(40_000, 40_100)],
    ],
)
def test_other_species_and_other_names_are_unknown(names):
    assert species_of(names).species == "unknown"


def test_identifiers_of_another_species_silence_the_capitals():
    assert species_of(MOUSE, [f"ENSRNOG{n:011}" for n in range(len(MOUSE))]).species == "unknown"


@given(st.permutations(HUMAN + ODD_HUMAN + MOUSE))
def test_the_order_of_the_genes_does_not_matter(names):
    assert species_of(names) == species_of(HUMAN + ODD_HUMAN + MOUSE)


@given(st.lists(st.text(max_size=12), max_size=30))
def test_any_names_get_an_answer_that_adds_up(names):
    guess = species_of(names)
    assert guess.human + guess.mouse <= guess.genes == len(names)
    assert str(guess)


def test_a_wrong_number_of_identifiers_is_refused():
    with pytest.raises(ValueError, match="2 names but 1 identifiers"):
        species_of(["A", "B"], ["x"])


@pytest.mark.parametrize(("species", "names", "first"), [("human", HUMAN, 0), ("mouse", MOUSE, 10)])
def test_one_species_of_two_is_taken_with_its_counts_and_without_prefix(species, names, first):
    adata = table(
        [f"GRCh38_{name}" for name in HUMAN] + [f"mm10___{name}" for name in MOUSE] + ["EGFP"],
        [f"GRCh38_{each}.3" for each in ids_of("human", 10)]
        + [f"mm10___{each}.1" for each in ids_of("mouse", 10)]
        + ["EGFP"],
    )
    counts = adata.X.toarray()
    taken = take_species(adata, species, "mixed.h5")
    assert taken.var_names.tolist() == names
    assert taken.var["gene_ids"].tolist() == ids_of(species, 10)
    assert taken.X.dtype == np.int32
    np.testing.assert_array_equal(taken.X.toarray(), counts[:, first : first + 10])
    about = taken.uns["hypergene"]
    assert about["counts_from"] == "X"
    assert (about["species"], about["genes_of_another_species"]) == (species, 11)
    assert "10 are human and 10 mouse, by the prefixes" in about["species_from"]
    assert adata.n_vars == 21


def test_two_species_without_prefixes_are_told_by_identifier():
    names = [*HUMAN, *MOUSE]
    taken = take_species(table(names, ids_of("human", 10) + ids_of("mouse", 10)), "mouse", "f")
    assert taken.var_names.tolist() == MOUSE


def test_a_lone_prefix_is_taken_off_and_nothing_left_out():
    adata = table([f"GRCh38______{name}" for name in HUMAN] + ["wuhCor1__ORF1ab"])
    taken = take_species(adata, None, "sample.h5ad")
    assert taken.var_names.tolist() == [*HUMAN, "wuhCor1__ORF1ab"]
    np.testing.assert_array_equal(taken.X.toarray(), adata.X.toarray())
    assert "genes_of_another_species" not in taken.uns["hypergene"]
    assert adata.var_names[0] == "GRCh38______ERBB2"


def test_prefixed_identifiers_as_names_become_identifiers():
    taken = take_species(table([f"hg19_{each}" for each in ids_of("human", 3)]), None, "f")
    assert taken.var_names.tolist() == taken.var["gene_ids"].tolist() == ids_of("human", 3)


def test_other_columns_of_var_stay_with_their_genes():
    adata = table([f"mm10_{name}" for name in MOUSE[:2]] + [f"hg19_{name}" for name in HUMAN[:2]])
    adata.var["kind"] = ["a", "b", "c", "d"]
    assert take_species(adata, "human", "f").var["kind"].to_dict() == {"ERBB2": "c", "GRB7": "d"}


@pytest.mark.parametrize("species", [None, "human"])
def test_a_table_of_one_species_is_left_as_it_is(species):
    adata = table(HUMAN)
    taken = take_species(adata, species, "f")
    assert taken is adata
    assert taken.uns["hypergene"]["species"] == "human"
    assert take_species(table(["g1", "g2"]), species, "f").uns["hypergene"]["species"] == (
        species or "unknown"
    )


def test_two_species_and_none_said_name_the_file_and_the_column():
    with pytest.raises(
        DataError, match=r"/data/mixed\.h5 holds .* 10 of human and 10 of"
    ) as caught:
        take_species(table(HUMAN + MOUSE), None, "/data/mixed.h5")
    assert "column 'species'" in str(caught.value.hint)


def test_a_species_that_is_not_there_is_refused():
    with pytest.raises(DataError, match=r"m\.h5 is said to be human, but its genes are mouse"):
        take_species(table(MOUSE), "human", "m.h5")
