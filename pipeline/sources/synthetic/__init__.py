"""A synthetic capture of people in motion, written in Human3.6M's annotation layout.

It stands in for the real dataset where there is none: the demo and the tests read it through the same reader. Nothing here is
read by training; `truth` gives the true bodies to tests and reports only.
"""

from pipeline.sources.synthetic.settings import CaptureSettings
from pipeline.sources.synthetic.writer import write_capture

__all__ = ["CaptureSettings", "write_capture"]
