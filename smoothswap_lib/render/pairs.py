"""Who is compared with whom: verification pairs of a built split, in LFW's form, and those of twins."""

import numpy as np

TWINS = 4  # people of one group, numbered one after the other: identity // TWINS is the group
FOLDS, PAIRS_A_FOLD = 10, 600  # LFW's form: half of a fold's pairs show the same person


def verification_pairs(
    identities: np.ndarray, rng: np.random.Generator, in_matrix: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Pairs in LFW's form: 10 folds that share no identity, 300 same and 300 different pairs in each.

    Parameters
    ----------
    identities : (N,) the identity of every image.
    in_matrix : (N,) whether it is in the swap matrix. There a person has one state, so two such pictures of
        one person are no pair: colors that did not drift would give the answer away.

    Returns
    -------
    {"fold", "first", "second" (indices of images), "same"} of 6,000 rows, fewer where a fold has not as many;
    no pair comes twice.
    """
    people = rng.permutation(np.unique(identities))
    columns = {"fold": [], "first": [], "second": [], "same": []}
    for fold, members in enumerate(np.array_split(people, FOLDS)):
        indices = np.flatnonzero(np.isin(identities, members))
        first, second = (indices[part] for part in np.triu_indices(len(indices), 1))
        same = identities[first] == identities[second]
        drifted = True if in_matrix is None else ~(in_matrix[first] & in_matrix[second])
        for wanted in (True, False):
            candidates = np.flatnonzero((same & drifted) if wanted else ~same)
            count = min(PAIRS_A_FOLD // 2, len(candidates))
            chosen = rng.choice(candidates, count, replace=False)
            columns["first"] += first[chosen].tolist()
            columns["second"] += second[chosen].tolist()
            columns["fold"] += [fold] * count
            columns["same"] += [wanted] * count
    return {
        "fold": np.array(columns["fold"], np.int8),
        "first": np.array(columns["first"], np.int32),
        "second": np.array(columns["second"], np.int32),
        "same": np.array(columns["same"], bool),
    }


def twin_pairs(identities: np.ndarray) -> dict[str, np.ndarray]:
    """All pairs of images within groups of twins, in the form of `verification_pairs`; a group is a fold."""
    first, second = np.triu_indices(len(identities), 1)
    group = identities // TWINS
    within = group[first] == group[second]
    first, second = first[within], second[within]
    return {
        "fold": group[first].astype(np.int16),
        "first": first.astype(np.int32),
        "second": second.astype(np.int32),
        "same": identities[first] == identities[second],
    }
