"""Bodies from what a network says: joints and keypoints in, SMPL-X parameters out."""

from model.body_fit.decoder import BodyDecoder
from model.body_fit.hypotheses import Hypotheses
from model.body_fit.records import Bodies, BodyFitSettings, Keypoints

__all__ = ["Bodies", "BodyDecoder", "BodyFitSettings", "Hypotheses", "Keypoints"]
