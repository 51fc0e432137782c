"""The web viewer: images read by windows, tiles and spectra made of them, and the server that hands these to one page. Nothing is written."""
