"""Registration: sub-pixel shift and PSF width, estimated from the pair."""
