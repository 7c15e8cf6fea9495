from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from secure_rag.detection.contributor_burst import ContributorBurst, densest_group
from secure_rag.errors import ConfigError
from secure_rag.model.findings import Verdict


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def world(clean: int, copies: int, spread: float = 0.3, seed: int = 3) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    claim = rng.normal(size=64)
    near = claim + spread * rng.normal(size=(copies, 64))
    return unit(np.vstack([rng.normal(size=(clean, 64)), near]) if clean else near)


def test_five_versions_of_one_claim_are_a_burst() -> None:
    finding = ContributorBurst().inspect_vectors(world(0, 5))
    assert finding is not None
    assert (finding.detector, finding.verdict, finding.threshold) == (
        "contributor_burst",
        Verdict.ANNOTATE,
        0.75,
    )
    assert finding.score == pytest.approx(densest_group(world(0, 5), 5).cohesion)


def test_clean_documents_around_do_not_hide_the_group() -> None:
    vectors = world(15, 5)
    finding = ContributorBurst().inspect_vectors(vectors)
    assert finding is not None
    assert densest_group(vectors, 5).members == (15, 16, 17, 18, 19)
    assert finding.evidence.endswith("from the newest: 0, 1, 2, 3, 4")


def test_unrelated_documents_are_no_burst() -> None:
    assert ContributorBurst().inspect_vectors(world(20, 0)) is None


def test_an_old_group_does_not_mark_a_new_unrelated_document() -> None:
    vectors = np.vstack([world(0, 5), world(1, 0, seed=9)])
    assert ContributorBurst().inspect_vectors(vectors) is None


def test_two_documents_are_too_few_and_three_are_enough() -> None:
    assert ContributorBurst().inspect_vectors(world(0, 2)) is None
    assert ContributorBurst().inspect_vectors(world(0, 3)) is not None
    assert ContributorBurst().inspect_vectors(np.zeros((0, 64), np.float32)) is None


def test_only_the_window_counts() -> None:
    spread_out = np.vstack([world(0, 4), world(20, 0, seed=5), world(0, 5)[4:]])
    assert ContributorBurst(window=30).inspect_vectors(spread_out) is not None
    assert ContributorBurst(window=20).inspect_vectors(spread_out) is None


def test_cohesion_is_the_mean_pairwise_cosine() -> None:
    vectors = world(0, 4)
    cosines = (vectors.astype(np.float64) @ vectors.astype(np.float64).T)[np.triu_indices(4, 1)]
    assert densest_group(vectors, 4).cohesion == pytest.approx(cosines.mean())


def test_vectors_that_are_no_numbers_find_nothing() -> None:
    assert ContributorBurst().inspect_vectors(np.full((5, 8), np.nan, np.float32)) is None


@pytest.mark.parametrize("settings", [{"minimum": 1}, {"minimum": 6}, {"group": 21}])
def test_impossible_sizes_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        ContributorBurst(**settings)
