import pytest

from benchmarks.fit_persons import make_persons
from pipeline.fit import FitSettings, Fitter


@pytest.fixture(scope="session")
def fitter(free_body):
    return Fitter(free_body, FitSettings())


@pytest.fixture(scope="session")
def monocular(free_body):
    """Eight persons in one image each, 25 OpenPose joints with 1 px noise."""
    return make_persons(free_body, 8, 3, "openpose_25")


@pytest.fixture(scope="session")
def monocular_fits(fitter, monocular):
    return fitter.fit(monocular.instants)


@pytest.fixture(scope="session")
def in_space(free_body):
    """Twelve moments of two subjects, 17 joints in 3D with 3 mm noise."""
    return make_persons(free_body, 12, 4, "human36m_17", subjects=2, noise_3d=0.003)
