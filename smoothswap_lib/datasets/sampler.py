"""Which images are in a batch: several of each of several people."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np


class IdentityBatchSampler:
    """Batches with several images of each of several people (Sec. 5.1: 32 identities x 4).

    Batch b depends on (seed, b) only, so that a resumed run goes on with the batches it would have seen. No
    image comes twice in a batch: people with fewer images than wanted are never drawn; a warning counts them.

    Parameters
    ----------
    identities : (N,) the identity of every image.
    num_batches : how many batches one pass gives.

    Raises
    ------
    ValueError
        There are fewer people than a batch needs.
    """

    def __init__(
        self,
        identities: Sequence[int] | np.ndarray,
        identities_per_batch: int = 32,
        images_per_identity: int = 4,
        num_batches: int = 1000,
        seed: int = 0,
    ):
        people, inverse = np.unique(np.asarray(identities), return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
        self.members = [images for images in members if len(images) >= images_per_identity]
        self.left_out = len(people) - len(self.members)
        if len(self.members) < identities_per_batch:
            raise ValueError(
                f"a batch needs {identities_per_batch} identities, the data has {len(people)}, of which "
                f"{len(self.members)} have {images_per_identity} images; lower identities_per_batch or "
                "images_per_identity, or bring more"
            )
        if self.left_out:
            warnings.warn(
                f"{self.left_out} of {len(people)} people have fewer than {images_per_identity} images "
                "and are left out",
                stacklevel=2,
            )
        self.identities_per_batch, self.images_per_identity = identities_per_batch, images_per_identity
        self.num_batches, self.seed = num_batches, seed

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.batch(b) for b in range(self.num_batches))

    def batch(self, number: int) -> np.ndarray:
        """(identities_per_batch * images_per_identity,) image indices, an identity's side by side."""
        rng = np.random.default_rng([self.seed, number])
        people = rng.choice(len(self.members), self.identities_per_batch, replace=False)
        chosen = [rng.choice(self.members[p], self.images_per_identity, replace=False) for p in people]
        return np.concatenate(chosen)
