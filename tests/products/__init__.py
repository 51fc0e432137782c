"""Files as sensors' products are delivered, made true to the published specifications, of a scene that is known at every place and wavelength."""
