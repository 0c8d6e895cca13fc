"""Scores, calibration and resampling that every module shares."""
