"""Scores and reports: how good a fused cube is, and how one knows."""
