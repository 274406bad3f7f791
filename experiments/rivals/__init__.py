"""Face swappers that Smooth-Swap is compared with (Table 1), each rebuilt small in a file of its own."""

from experiments.rivals.deepfakes import Deepfakes
from experiments.rivals.faceshifter import FaceShifter
from experiments.rivals.faceswap import FaceSwap
from experiments.rivals.hififace import HifiFace
from experiments.rivals.loop import Pairs, Rival, load_rival, make_pairs, train_rival
from experiments.rivals.measure import self_check, size_of, size_of_ours, swaps_of
from experiments.rivals.simswap import SimSwap

RIVALS = {
    "faceswap": FaceSwap,
    "deepfakes": Deepfakes,
    "faceshifter": FaceShifter,
    "simswap": SimSwap,
    "hififace": HifiFace,
}
