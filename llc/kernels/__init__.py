"""Kernels of wide and of trained networks, what they predict, and their spectra.

In the order of their use: kernels, predictions by them, what regression by them learns on average, what symmetric data
make of it, and what the tangent of a trained network says of its learning coefficient.
"""

from llc.kernels.convolutional import convolutional
from llc.kernels.curvature import Curvature
from llc.kernels.eigenlearning import dataset_learnabilities, eigenlearning
from llc.kernels.empirical import empirical_ntk, ntk_diagonal, ntk_vector_product
from llc.kernels.fully_connected import fully_connected
from llc.kernels.gram import gram_on_disk
from llc.kernels.mehler import Mehler
from llc.kernels.orbits import cyclic_shifts, normalized, orbit, permutations, rotations
from llc.kernels.polynomials import gradient_field, operator_eigenvalues, polynomial_kernel, symmetric_energy
from llc.kernels.prediction import Grams, gaussian_process, leave_one_out, nngp_gradient_flow, ntk_ensemble
from llc.kernels.spectra import circle_spectrum, hypercube_spectrum, spectrum_from_data, sphere_spectrum
from llc.kernels.symmetry import (
    circulant_row,
    class_errors,
    missing_errors,
    one_versus_one,
    orbit_error,
    orbit_rows,
    pairwise_errors,
    spectral_error,
)
from llc.kernels.tangent import hessian, ntk_coefficient, tangent

__all__ = [
    "Curvature",
    "Grams",
    "Mehler",
    "circle_spectrum",
    "circulant_row",
    "class_errors",
    "convolutional",
    "cyclic_shifts",
    "dataset_learnabilities",
    "eigenlearning",
    "empirical_ntk",
    "fully_connected",
    "gaussian_process",
    "gradient_field",
    "gram_on_disk",
    "hessian",
    "hypercube_spectrum",
    "leave_one_out",
    "missing_errors",
    "nngp_gradient_flow",
    "normalized",
    "ntk_coefficient",
    "ntk_diagonal",
    "ntk_ensemble",
    "ntk_vector_product",
    "one_versus_one",
    "operator_eigenvalues",
    "orbit",
    "orbit_error",
    "orbit_rows",
    "pairwise_errors",
    "permutations",
    "polynomial_kernel",
    "rotations",
    "spectral_error",
    "spectrum_from_data",
    "sphere_spectrum",
    "symmetric_energy",
    "tangent",
]
