"""SMPLify-X in batches: instants in, bodies out."""

from pipeline.fit.fits_file import read_fits
from pipeline.fit.fitter import Fitter
from pipeline.fit.settings import FitSettings

__all__ = ["FitSettings", "Fitter", "read_fits"]
