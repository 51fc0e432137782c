"""Methods to compare with. Each takes the two images and the PSF operator, all without gaps, and returns the fused image.

HySure and CNMF are also given the response. Where an image has no data, fill it before (the methods take sums over the whole image) and mask the result.
"""
